// The engine's state without its thread: which operation of which slot is computed next, and what came of it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "speech/speech_engine.h"
#include "speech/whisper_model.h"

namespace tfserve::speech {

/// What speaks against an operation on this model, a sentence; or nothing.
std::optional<std::string> objection(const SpeechOp& op, const WhisperConfig& config);

class SpeechCore {
   public:
    explicit SpeechCore(std::unique_ptr<WhisperModel> model);

    const WhisperModelInfo& info() const { return model_->info(); }
    bool has_work() const;

    void submit(std::int32_t slot, std::int64_t id, SpeechOp op);
    /// Ends all operations of a slot; with `release` its memory is given back.
    void abort(std::int32_t slot, bool release);
    /// The slot whose long operation the next step runs, or -1: what can be ended before the step is over.
    std::int32_t next_long_slot() const;
    /// One turn: a long operation (encode, align) or a step of the decoder for all slots that write, in turns where both are wanted.
    void step(const WhisperModel::Abort& abort);
    /// Ends everything that is under way with an error.
    void fail_all(const std::string& what);

    std::vector<SpeechResult>& results() { return results_; }
    SpeechStats stats() const;

   private:
    struct Task {
        std::int64_t id = 0;
        std::uint64_t order = 0;  ///< of submission
        SpeechOp op;
        std::size_t computed = 0;  ///< tokens of prompt and output that the slot's memory holds
        std::vector<TokenId> output;
        double logprobs = 0, no_speech_prob = 0;
    };
    struct Slot {
        std::deque<Task> tasks;
        bool encoded = false;
    };
    /// A slot's part of a decoder step.
    struct Part {
        std::int32_t slot = 0;
        bool no_speech = false;  ///< has logits for the probability of silence
        bool last = false;       ///< has logits of its last token
    };

    void run_encode(std::int32_t slot, const WhisperModel::Abort& abort);
    void run_align(std::int32_t slot, const WhisperModel::Abort& abort);
    void run_decoder();
    void add_rows(std::int32_t slot, std::vector<DecodeRow>& rows, std::vector<Part>& parts);
    void advance(Task& task, const Part& part, std::span<float>& logits);
    void finish(std::int32_t slot, SpeechResult result);
    bool is_long(const Slot& slot) const;

    std::unique_ptr<WhisperModel> model_;
    std::vector<Slot> slots_;
    std::vector<SpeechResult> results_;
    std::vector<float> logits_;
    std::uint64_t submitted_ = 0;
    std::size_t first_slot_ = 0;  ///< whose rows come first in the next step
    bool decoder_is_due_ = false;
    SpeechStats stats_;
};

}  // namespace tfserve::speech
