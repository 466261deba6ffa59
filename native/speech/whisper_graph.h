// The computations of whisper as graphs of ggml: the encoder, the keys and values that the decoder takes from it, and a step of the
// decoder for rows of many recordings at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "engine/types.h"
#include "ggml.h"
#include "speech/cpu_ops.h"
#include "speech/whisper_model.h"
#include "speech/whisper_weights.h"

namespace tfserve::speech {

/// Keys and values of one recording. A cell is a position: d_model keys, then d_model values.
class SlotMemory {
   public:
    SlotMemory(const WhisperConfig& config, const CellLayout& layout);

    std::byte* cross(std::int32_t layer, std::int32_t cell) const;
    std::byte* self(std::int32_t layer, std::int32_t cell) const;
    static std::uint64_t bytes(const WhisperConfig& config, const CellLayout& layout);

   private:
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    std::size_t cell_bytes_;
    std::int32_t source_positions_, target_positions_, layers_;
    std::unique_ptr<std::byte, Free> data_;  ///< committed as it is written
};

/// Consecutive rows of one slot.
struct RowRun {
    const SlotMemory* memory = nullptr;
    std::int32_t first_row = 0;
    std::int32_t rows = 0;
    std::int32_t position = 0;  ///< of the first row
};

struct FreeGgmlContext {
    void operator()(ggml_context* context) const { ggml_free(context); }
};

/// A graph that has been built; its operations are those of the CpuOps it was built with.
struct BuiltGraph {
    std::unique_ptr<ggml_context, FreeGgmlContext> context;
    ggml_cgraph* graph = nullptr;
    ggml_tensor* input = nullptr;  ///< encoder: [num_mel_bins, mel_frames + 2]; decoder: [d_model, rows]
    ggml_tensor* output =
        nullptr;  ///< encoder: [d_model, max_source_positions]; decoder: logits [vocab_size, rows that want them], or null
    std::vector<ggml_tensor*> watched;  ///< decoder: probabilities of the watched heads of a layer, where there are any
};

/// Writes the encoder's output and, layer by layer, its keys and values to `memory`.
BuiltGraph build_encoder(const WhisperWeights& weights, CpuOps& ops, const CellLayout& layout, const SlotMemory& memory);

/// `logit_rows`: those that want logits, in order. The input's rows are token and position embeddings added.
/// `watched`: for each layer the heads whose cross-attention is wanted; empty: none. All rows are then of one run.
BuiltGraph build_decoder(const WhisperWeights& weights, CpuOps& ops, const CellLayout& layout, std::span<const RowRun> runs,
                         std::int32_t rows, std::span<const std::int32_t> logit_rows, std::span<const std::vector<std::int32_t>> watched);

}  // namespace tfserve::speech
