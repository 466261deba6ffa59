// Chooses the next token of one sequence from a row of logits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/types.h"
#include "sampling/sampling_params.h"

namespace tfserve {

/// Log probability (natural) of a token under the raw distribution: softmax of the logits as the model gave them.
struct TokenLogprob {
    TokenId token;
    float logprob;
};

/// Stands for the logarithm of zero, as in OpenAI's API: JSON has no infinity.
inline constexpr float kLowestLogprob = -9999.0F;

/// Most alternatives a token.
inline constexpr std::int32_t kMaxTopLogprobs = 20;

struct SampledToken {
    TokenId token = 0;
    float logprob = 0;                       ///< of `token`, kLowestLogprob or above; only with want_logprobs
    std::vector<TokenLogprob> top_logprobs;  ///< best first, ties by lower id; fewer where the rest is -inf; only with top_logprobs > 0
};

/// The log probability of a given token and its `top_logprobs` best alternatives, by the rules of Sampler::sample(). Of `logits` only +inf
/// is overwritten. A token outside the row has kLowestLogprob. Any thread.
SampledToken score_token(std::span<float> logits, TokenId token, std::int32_t top_logprobs);

/// Processors and warpers run in transformers' order and by its definitions (see logits_processors.h and warpers.h); the warpers
/// only with do_sample. Greedy choice takes the lowest of equal ids. The random stream is Philox4x32-10 keyed by
/// (seed, stream, index of the output token), one number a token: preemption, batching and the calls of other sequences change nothing.
/// A sampler is used by one thread at a time; different samplers may run at the same time.
class Sampler {
   public:
    /// `prompt` is read by the repetition penalty and the n-gram ban. `stream` tells the choices of one request (n > 1) apart.
    Sampler(SamplingParams params, std::span<const TokenId> prompt, std::int32_t vocab_size, std::uint64_t stream);
    ~Sampler();
    Sampler(Sampler&&) noexcept;
    Sampler& operator=(Sampler&&) noexcept;

    /// `logits` holds vocab_size floats and is overwritten. `output` are the tokens generated so far.
    /// A pure function of the arguments, the parameters, the prompt and the stream: calls may come in any order, and an output that
    /// continues that of the call before is only the quick case. Log probabilities are of the row as given, before all processors.
    /// Never fails: NaN counts as -inf, +inf as the largest float, and a row with nothing above -inf (or all barred) gives token 0.
    /// `allowed`, unless empty: a mask of the vocabulary (see mask_words()) with a bit set at least; no other token is chosen, whatever the
    /// logits are. Where the processors bar all that it allows, they do not count.
    SampledToken sample(std::span<float> logits, std::span<const TokenId> output, std::span<const std::uint64_t> allowed = {});

   private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tfserve
