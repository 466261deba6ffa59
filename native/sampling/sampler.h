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

struct SampledToken {
    TokenId token = 0;
    float logprob = 0;                        ///< of `token`; only with want_logprobs
    std::vector<TokenLogprob> top_logprobs;   ///< best first, ties by lower id; only with top_logprobs > 0
};

/// Processors run in transformers' order. The random stream is a counter-based generator keyed by
/// (seed, stream, index of the output token): preemption, batching and the calls of other sequences change nothing.
class Sampler {
   public:
    /// `prompt` is read by the repetition penalty and the n-gram ban. `stream` tells the choices of one request (n > 1) apart.
    Sampler(SamplingParams params, std::span<const TokenId> prompt, std::int32_t vocab_size, std::uint64_t stream);
    ~Sampler();
    Sampler(Sampler&&) noexcept;
    Sampler& operator=(Sampler&&) noexcept;

    /// `logits` holds vocab_size floats and is overwritten. `output` are the tokens generated so far.
    /// Depends on nothing but the arguments, the parameters and output.size(). Never fails: NaN counts as -inf,
    /// and a row without a finite entry gives token 0.
    SampledToken sample(std::span<float> logits, std::span<const TokenId> output);

   private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tfserve
