// The engine of a speech model: one thread that encodes windows and decodes the windows of all recordings together, step by step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/types.h"
#include "speech/decoding_rules.h"
#include "speech/token_choice.h"
#include "speech/whisper_model.h"

namespace tfserve::speech {

/// Hears a window. All other operations of a slot are on the window that was encoded last.
struct EncodeOp {
    std::vector<float> mel;  ///< [num_mel_bins][mel_frames]
};

/// Where the probability of silence is read.
struct NoSpeech {
    TokenId token = 0;
    std::int32_t position = 0;  ///< of the prompt: the logits after this token
};

/// Writes what follows the prompt.
struct DecodeOp {
    std::vector<TokenId> prompt;
    std::int32_t max_new_tokens = 0;
    DecodingRules rules;
    ChoiceOptions choice;
    std::optional<NoSpeech> no_speech;
};

/// Logits of `ids` after `tokens`.
struct ScoreOp {
    std::vector<TokenId> tokens;
    std::vector<TokenId> ids;
};

/// Seconds at which each of `tokens` begins when they follow `prompt`.
struct AlignOp {
    std::vector<TokenId> prompt;
    std::vector<TokenId> tokens;
    std::int32_t positions = 0;  ///< of the encoder's output that are sound
    std::vector<DecoderHead> heads;
    std::int32_t median_width = 7;
};

using SpeechOp = std::variant<EncodeOp, DecodeOp, ScoreOp, AlignOp>;

enum class SpeechFinish : std::uint8_t {
    none,     ///< goes on
    done,     ///< encode, score, align
    eos,      ///< decode: the model ended its answer
    length,   ///< decode: max_new_tokens
    aborted,  ///< by abort() or close()
    error,
};

/// What a step brought to an operation; the last one has a finish.
struct SpeechResult {
    std::int64_t op = 0;
    std::int32_t slot = 0;
    std::vector<ChosenToken> tokens;  ///< decode: new ones, the one that ends the answer included
    SpeechFinish finish = SpeechFinish::none;
    double avg_logprob = 0;      ///< decode, at the end: mean of rules_logprob, the end's included
    double no_speech_prob = 0;   ///< decode, at the end, where it was asked for
    std::vector<double> values;  ///< score, align
    std::string error;           ///< a sentence, with SpeechFinish::error
};

/// Counters and gauges; read at any time from any thread.
struct SpeechStats {
    std::int32_t running = 0;  ///< operations under way
    std::int32_t waiting = 0;  ///< operations behind others
    std::int32_t open_slots = 0;
    std::uint64_t steps = 0;  ///< of the decoder
    std::uint64_t encodes = 0;
    std::uint64_t progress = 0;       ///< parts of long operations that were computed: grows inside of an encode, too
    std::uint64_t prompt_tokens = 0;  ///< computed
    std::uint64_t output_tokens = 0;
    std::uint64_t aborts = 0;  ///< operations
    double last_step_ms = 0;
    double last_step_end_s = 0;  ///< steady clock, seconds; 0 before the first step
};

class SpeechEngine {
   public:
    /// Called on the engine's thread after a step that brought results, and never again until take() was called.
    using Wake = std::function<void()>;

    /// Gets what is not for users: why everything failed.
    using Log = std::function<void(std::string_view)>;

    SpeechEngine(std::unique_ptr<WhisperModel> model, Wake wake, Log log);
    ~SpeechEngine();  ///< aborts everything and joins the thread
    SpeechEngine(const SpeechEngine&) = delete;
    SpeechEngine& operator=(const SpeechEngine&) = delete;

    const WhisperModelInfo& info() const;

    /// A slot for one recording, or -1 when all are taken. Thread safe, as all that follow.
    std::int32_t open();
    /// Ends whatever runs in the slot and gives it back; its results still come.
    void close(std::int32_t slot);
    /// Queues an operation behind those of the slot. Returns what speaks against it, a sentence, or nothing. `id` comes back in results.
    std::optional<std::string> submit(std::int32_t slot, std::int64_t id, SpeechOp op);
    /// Ends all operations of a slot: between two steps, or inside an encode.
    void abort(std::int32_t slot);
    /// The results since the last call, in order.
    std::vector<SpeechResult> take();
    SpeechStats stats() const;

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace tfserve::speech
