// The processors: change a row of logits by what the sequence has said so far.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/types.h"
#include "sampling/sampling_params.h"

namespace tfserve {

/// Processors of one sequence, in transformers' order: logit_bias (its sequence_bias of single tokens), repetition_penalty,
/// then OpenAI's presence and frequency penalties, then no_repeat_ngram_size, bad_words_ids and min_new_tokens.
/// Keeps counts that grow with the output; an output that does not continue the last one makes it count again.
class LogitsProcessors {
   public:
    LogitsProcessors(const SamplingParams& params, std::span<const TokenId> prompt, std::int32_t vocab_size);

    /// Whether any processor can change a logit at all; false spares the caller a copy of the row.
    bool active() const { return active_; }

    /// Ids outside the row, in parameters or in tokens, are passed over. Barred tokens get -inf.
    void apply(std::span<float> logits, std::span<const TokenId> output);

   private:
    void follow(std::span<const TokenId> output);
    void add_to_counts(TokenId token, bool from_output);
    void penalise(std::span<float> logits) const;
    void bar_repeated_ngrams(std::span<float> logits) const;
    void bar_bad_words(std::span<float> logits) const;

    std::vector<std::pair<TokenId, float>> logit_bias_;
    std::vector<std::vector<TokenId>> bad_words_;
    std::vector<TokenId> eos_token_ids_;
    float repetition_penalty_;
    float presence_penalty_;
    float frequency_penalty_;
    std::size_t ngram_size_;
    std::size_t min_new_tokens_;
    std::size_t vocab_size_;
    bool needs_counts_;
    bool needs_context_;
    bool active_;

    std::size_t prompt_size_ = 0;
    std::vector<TokenId> context_;                       ///< the prompt and the output seen so far
    std::unordered_map<TokenId, std::uint32_t> counts_;  ///< token -> occurrences in the output; 0 for those of the prompt alone
};

}  // namespace tfserve
