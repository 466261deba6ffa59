// Fills llama.cpp's tensors from planned ones: converted, reordered, or left where they are.
#pragma once

#include <cstdint>

#include "ggml.h"
#include "loader/tensor_plan.h"

namespace tfserve {

/// What has been written so far.
struct WriteStats {
    std::uint64_t copied_bytes = 0;
    std::uint64_t mapped_bytes = 0;
    std::uint64_t overflows = 0;  ///< finite values that became infinite in float16
};

/// The ggml type of a DType. Precondition: bfloat16, float16 or float32.
ggml_type ggml_type_of(DType type);

/// Writes all of `target`, whose type and element count fit the plan. With `zero_copy`, a tensor in plain CPU memory that needs no change
/// points into the checkpoint afterwards. Throws LoadError when `target` has another shape than the plan.
void write_tensor(const PlannedTensor& planned, ggml_tensor* target, bool zero_copy, WriteStats& stats);

}  // namespace tfserve
