// GGUF files.
#pragma once

#include "loader/model_loader.h"

namespace tfserve {

/// As load_model(), for a file.
LoadedModel load_gguf(const LoadOptions& options, const ProgressFn& progress, const std::atomic<bool>* cancel);

}  // namespace tfserve
