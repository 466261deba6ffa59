// A whisper model in memory: its weights, the slots of the recordings that are being transcribed, and the graphs that run on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/types.h"
#include "speech/whisper_config.h"
#include "speech/whisper_weights.h"

namespace tfserve::speech {

struct WhisperModelOptions {
    std::filesystem::path path;  ///< a directory with config.json and safetensors, or a ggml file
    WeightDType dtype = WeightDType::as_stored;
    int threads = 0;                   ///< 0: as many as the machine gives
    std::int32_t max_slots = 8;        ///< recordings at once, at least 1
    std::uint64_t slot_memory = 0;     ///< bytes of all slots together; 0: no bound but max_slots
    std::uint64_t compute_memory = 0;  ///< bytes of activations at most; 0: what the machine has left
    bool float32_cells = false;        ///< keys and values in float32 in place of float16
    std::string kernel;                ///< a name of the linear kernels, for tests; empty: the best
};

/// The vocabulary of a ggml file, which has no tokenizer.json beside it.
struct GgmlVocabulary {
    std::vector<std::string> tokens;  ///< bytes of text tokens by id; ids behind them are special
};

struct WhisperModelInfo {
    WhisperConfig config;
    std::string dtype;
    std::uint64_t parameters = 0;
    std::uint64_t weight_bytes = 0;
    std::int32_t slots = 0;
    std::uint64_t bytes_per_slot = 0;
    int threads = 0;
    std::string kernel;
    double files_ms = 0, weights_ms = 0, context_ms = 0;
    std::vector<std::string> warnings;
    std::shared_ptr<const GgmlVocabulary> ggml;  ///< null for a checkpoint directory
};

/// One token to be computed. Rows of a slot are neighbours and their positions follow each other.
struct DecodeRow {
    std::int32_t slot = 0;
    TokenId token = 0;
    std::int32_t position = 0;
    bool logits = false;
};

/// (layer, head) of the decoder's cross-attention.
using DecoderHead = std::pair<std::int32_t, std::int32_t>;

enum class RunStatus : std::uint8_t { done, aborted };

/// Preconditions are the caller's: slots, tokens, positions, layers and heads in range. One thread at a time.
class WhisperModel {
   public:
    using Progress = std::function<void(std::size_t done, std::size_t total)>;
    /// Asked between the operations of a graph, on the thread that computes.
    using Abort = std::function<bool()>;

    /// Throws LoadError.
    static std::unique_ptr<WhisperModel> load(const WhisperModelOptions& options, const Progress& progress);
    ~WhisperModel();
    WhisperModel(const WhisperModel&) = delete;
    WhisperModel& operator=(const WhisperModel&) = delete;

    const WhisperModelInfo& info() const;

    /// Takes or gives back the memory of a slot; a slot whose memory was given back must be encoded again. Throws std::bad_alloc.
    void reserve(std::int32_t slot);
    void release(std::int32_t slot);

    /// Computes the encoder over a window's spectrogram [num_mel_bins][mel_frames] and keeps what the decoder needs of it. `output` (may
    /// be null) gets the encoder's output [max_source_positions][d_model]. After an abort the slot must be encoded again.
    RunStatus encode(std::int32_t slot, std::span<const float> mel, const Abort& abort, std::vector<float>* output = nullptr);

    /// One step of the decoder. `logits` gets a row of vocab_size for each row that wants one, in order. Keys and values of earlier
    /// positions are those of the last step that computed them.
    void decode(std::span<const DecodeRow> rows, std::vector<float>& logits);

    /// Cross-attention probabilities [heads][tokens][max_source_positions] of a pass over `tokens` from position 0 on.
    RunStatus cross_attention(std::int32_t slot, std::span<const TokenId> tokens, std::span<const DecoderHead> heads, const Abort& abort,
                              std::vector<float>& weights);

   private:
    struct Impl;
    explicit WhisperModel(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace tfserve::speech
