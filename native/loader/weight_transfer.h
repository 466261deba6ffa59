// Makes llama.cpp's model from a description and tensors that are written one by one.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "ggml.h"
#include "gguf.h"
#include "loader/llama_log.h"
#include "loader/load_error.h"
#include "loader/mapped_file.h"
#include "loader/model_loader.h"
#include "loader/target_types.h"
#include "loader/tensor_plan.h"
#include "loader/weight_writer.h"

namespace tfserve {

struct FreeGguf {
    void operator()(gguf_context* context) const { gguf_free(context); }
};
struct FreeGgml {
    void operator()(ggml_context* context) const { ggml_free(context); }
};
using GgufPtr = std::unique_ptr<gguf_context, FreeGguf>;
using GgmlPtr = std::unique_ptr<ggml_context, FreeGgml>;

/// What to throw when llama.cpp does not take a description, for a reason that its log tells.
using Refusal = std::function<LoadError(const LlamaLogCapture& log)>;

/// What a model is made of. All of it must outlive the transfer; `files` the model too, where weights stay in place.
struct TransferSource {
    gguf_context* description;  ///< metadata, and the tensors with their target types
    const std::vector<PlannedTensor>& tensors;
    const TargetTypes& types;
    const std::vector<std::shared_ptr<const MappedFile>>& files;  ///< where SafeTensor::file points
    const Refusal& refusal;
};

/// Adds tensors to a description, in their target types.
void describe_tensors(gguf_context* description, const std::vector<PlannedTensor>& tensors, const std::vector<ggml_type>& types);

/// Pages of tensors that were copied are given back to the system. Throws LoadError. `stats` is what was written.
LoadedModel::ModelPtr transfer_weights(const TransferSource& source, const LoadOptions& options, const ProgressFn& progress,
                                       const std::atomic<bool>* cancel, WriteStats& stats);

/// The sentence about weights that float16 does not hold; empty when there are none.
std::string overflow_warning(const WriteStats& stats);

}  // namespace tfserve
