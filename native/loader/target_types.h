// In which type each weight lies in memory.
#pragma once

#include <string>
#include <vector>

#include "ggml.h"
#include "loader/model_loader.h"
#include "loader/tensor_plan.h"

namespace tfserve {

/// Types of the tensors of a plan, in its order, and what is to be said of them.
struct TargetTypes {
    std::vector<ggml_type> types;
    std::uint64_t bytes = 0;  ///< of all tensors together
    std::string main_type;    ///< of most bytes: bfloat16, float16, float32, or ggml's name of a quantised one
    std::string note;         ///< a sentence about tensors that do not have the type that was asked for; empty: none
};

/// `layers`: of the model.
TargetTypes target_types(const std::vector<PlannedTensor>& tensors, const LoadOptions& options, std::int32_t layers);

/// "bfloat16", "float16", "float32", or ggml's own name.
std::string type_name(ggml_type type);

}  // namespace tfserve
