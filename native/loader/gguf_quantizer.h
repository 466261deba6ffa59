// GGUF files of float weights, quantised while they are loaded.
#pragma once

#include <memory>
#include <vector>

#include "loader/gguf_check.h"
#include "loader/model_loader.h"
#include "loader/target_types.h"
#include "loader/weight_transfer.h"

namespace tfserve {

/// A model whose weights are no longer, or only in part, those of its file.
struct QuantizedGguf {
    LoadedModel::ModelPtr model;
    std::vector<std::shared_ptr<const MappedFile>> files;  ///< in which weights stay; empty: none do
    TargetTypes types;
    WriteStats stats;
    std::uint64_t num_parameters = 0;
};

/// `options.quantization` must be given. Throws LoadError, also where a part of the file is quantised already; `refusal` as in
/// TransferSource.
QuantizedGguf load_quantized_gguf(const LoadOptions& options, const GgufSummary& summary, const Refusal& refusal,
                                  const ProgressFn& progress, const std::atomic<bool>* cancel);

}  // namespace tfserve
