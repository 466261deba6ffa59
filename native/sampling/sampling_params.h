// Generation parameters of one sequence, resolved: the model's generation_config.json, then the request.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/types.h"

namespace tfserve {

/// Names and definitions are those of transformers' GenerationConfig, but for presence_penalty,
/// frequency_penalty, logit_bias and logprobs, which are OpenAI's. Neutral values switch a part off.
struct SamplingParams {
    bool do_sample = false;
    float temperature = 1.0F;         ///< > 0
    std::int32_t top_k = 0;           ///< 0 = off
    float top_p = 1.0F;               ///< (0, 1]
    float min_p = 0.0F;               ///< [0, 1]
    float typical_p = 1.0F;           ///< (0, 1]
    float repetition_penalty = 1.0F;  ///< > 0; over prompt and output, as in transformers
    float presence_penalty = 0.0F;    ///< [-2, 2]; over the output, as in OpenAI's API
    float frequency_penalty = 0.0F;   ///< [-2, 2]; over the output, times the count
    std::int32_t no_repeat_ngram_size = 0;
    std::vector<std::pair<TokenId, float>> logit_bias;  ///< added to the logits
    std::vector<std::vector<TokenId>> bad_words_ids;    ///< sequences that must not be completed
    std::uint64_t seed = 0;
    std::int32_t max_new_tokens = 0;  ///< 0: only the prompt is computed
    std::int32_t min_new_tokens = 0;  ///< end-of-sequence tokens are barred until then
    std::vector<TokenId> eos_token_ids;
    bool ignore_eos = false;                    ///< end-of-sequence tokens neither end the sequence nor are they barred
    std::vector<std::string> stop;              ///< UTF-8, none empty; the text that matched is not sent
    bool skip_special_tokens = true;            ///< leave special tokens out of the text
    std::vector<TokenId> shown_special_tokens;  ///< those that are not left out: the markup of reasoning and tool calls
    bool want_logprobs = false;
    std::int32_t top_logprobs = 0;      ///< alternatives a token, 0 .. 20
    std::int32_t prompt_logprobs = -1;  ///< alternatives a prompt token, 0 .. 20; -1: no log probabilities of the prompt
};

}  // namespace tfserve
