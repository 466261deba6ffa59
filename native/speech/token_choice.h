// From the decoder's logits to the next token of a transcript.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/types.h"
#include "speech/decoding_rules.h"

namespace tfserve::speech {

inline constexpr std::int32_t kMaxSpeechTopLogprobs = 20;

struct TokenLogprob {
    TokenId id = 0;
    float logprob = 0;
};

struct ChosenToken {
    TokenId id = 0;
    float logprob = 0;              ///< of the model's own distribution
    float rules_logprob = 0;        ///< of the distribution that the rules leave, at temperature 1
    std::vector<TokenLogprob> top;  ///< of the model's own distribution, the likeliest first
};

struct ChoiceOptions {
    float temperature = 0;  ///< 0: the likeliest token, of equals the first
    std::uint64_t seed = 0;
    std::int32_t top_logprobs = 0;  ///< 0 to kMaxSpeechTopLogprobs
};

/// Logarithm of the sum of exp(logits); -inf when all are.
double log_sum_exp(std::span<const float> logits);

/// Applies the rules to `logits` and chooses the token after `output`. Random numbers are those of (seed, output.size()), so that neither
/// what else is decoded nor when makes a difference. Throws std::runtime_error when no token is left or a logit is not a number.
ChosenToken choose_token(std::span<float> logits, const DecodingRules& rules, std::span<const TokenId> output,
                         const ChoiceOptions& options);

}  // namespace tfserve::speech
