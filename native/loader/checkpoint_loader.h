// Hugging Face checkpoints, without a GGUF file in between.
#pragma once

#include "loader/model_loader.h"

namespace tfserve {

/// As load_model(), for a directory.
LoadedModel load_checkpoint(const LoadOptions& options, const ProgressFn& progress, const std::atomic<bool>* cancel);

}  // namespace tfserve
