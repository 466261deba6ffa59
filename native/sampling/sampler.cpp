#include "sampling/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "sampling/logits_processors.h"
#include "sampling/philox.h"
#include "sampling/row.h"
#include "sampling/token_constraint.h"
#include "sampling/warpers.h"

namespace tfserve {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// block_maxima() into the scratch, with +inf made the largest float first.
float finite_block_maxima(std::span<float> logits, SamplingScratch& scratch) {
    const float maximum = block_maxima(logits, scratch.maxima);
    if (maximum != kInfinity) return maximum;
    std::replace(logits.begin(), logits.end(), kInfinity, std::numeric_limits<float>::max());
    return block_maxima(logits, scratch.maxima);
}

/// log(sum(exp(logits))) is maximum + log_sum; computed before the row is overwritten.
struct RawDistribution {
    float maximum = 0;
    double log_sum = 0;

    float logprob(float logit) const {
        if (!(logit > -kInfinity)) return kLowestLogprob;
        const double value = static_cast<double>(logit) - static_cast<double>(maximum) - log_sum;
        return value > static_cast<double>(kLowestLogprob) ? static_cast<float>(value) : kLowestLogprob;
    }
};

RawDistribution raw_distribution(std::span<const float> logits, float maximum, SamplingScratch& scratch) {
    if (maximum == -kInfinity) return {0.0F, 0.0};
    return {maximum, std::log(block_sums(logits, maximum, 1.0F, scratch.sums))};
}

/// Needs the block maxima in `scratch`.
std::vector<TokenLogprob> top_logprobs_of(std::span<const float> logits, const RawDistribution& raw, std::size_t count,
                                          SamplingScratch& scratch) {
    scratch.ids.clear();
    scratch.values.clear();
    collect_at_least(logits, scratch.maxima, kth_largest(logits, scratch.maxima, count, scratch.floats), scratch.ids, scratch.values);
    std::vector<std::pair<float, TokenId>> best(scratch.ids.size());
    for (std::size_t i = 0; i < best.size(); ++i) best[i] = {-scratch.values[i], scratch.ids[i]};
    count = std::min(count, best.size());
    std::partial_sort(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(count), best.end());
    std::vector<TokenLogprob> result(count);
    for (std::size_t i = 0; i < count; ++i) result[i] = {best[i].second, raw.logprob(-best[i].first)};
    return result;
}

/// -inf for every token that is not allowed.
void bar_others(std::span<float> logits, std::span<const std::uint64_t> allowed) {
    for (std::size_t begin = 0; begin < logits.size(); begin += 64) {
        const std::uint64_t word = begin / 64 < allowed.size() ? allowed[begin / 64] : 0;
        if (word == ~std::uint64_t{0}) continue;
        const std::size_t count = std::min<std::size_t>(64, logits.size() - begin);
        for (std::size_t i = 0; i < count; ++i) logits[begin + i] = (word >> i & 1) != 0 ? logits[begin + i] : -kInfinity;
    }
}

bool all_barred(std::span<const float> logits) {
    return std::ranges::none_of(logits, [](float logit) { return logit > -kInfinity; });
}

TokenId first_allowed(std::span<const std::uint64_t> allowed) {
    const auto word = std::ranges::find_if(allowed, [](std::uint64_t w) { return w != 0; });
    return word == allowed.end() ? 0 : static_cast<TokenId>(64 * (word - allowed.begin()) + std::countr_zero(*word));
}

/// Of the thread, not of the sampler: rows are megabytes, and there are many more sequences than threads.
SamplingScratch& thread_scratch() {
    static thread_local SamplingScratch scratch;
    return scratch;
}

}  // namespace

SampledToken score_token(std::span<float> logits, TokenId token, std::int32_t top_logprobs) {
    SamplingScratch& scratch = thread_scratch();
    SampledToken result;
    result.token = token;
    result.logprob = kLowestLogprob;
    if (token < 0 || std::cmp_greater_equal(token, logits.size())) return result;
    const RawDistribution raw = raw_distribution(logits, finite_block_maxima(logits, scratch), scratch);
    result.logprob = raw.logprob(logits[static_cast<std::size_t>(token)]);
    if (top_logprobs > 0) result.top_logprobs = top_logprobs_of(logits, raw, static_cast<std::size_t>(top_logprobs), scratch);
    return result;
}

struct Sampler::State {
    SamplingParams params;
    std::size_t vocab_size;
    std::uint64_t stream;
    LogitsProcessors processors;
};

Sampler::Sampler(SamplingParams params, std::span<const TokenId> prompt, std::int32_t vocab_size, std::uint64_t stream) {
    LogitsProcessors processors(params, prompt, vocab_size);
    const auto size = static_cast<std::size_t>(std::max(vocab_size, 0));
    state_ = std::make_unique<State>(State{std::move(params), size, stream, std::move(processors)});
}

Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

SampledToken Sampler::sample(std::span<float> logits, std::span<const TokenId> output, std::span<const std::uint64_t> allowed) {
    const SamplingParams& params = state_->params;
    SamplingScratch& scratch = thread_scratch();
    SampledToken result;
    logits = logits.first(std::min(logits.size(), state_->vocab_size));
    if (logits.empty()) return result;

    const bool greedy = !params.do_sample || !(params.temperature > 0);
    const bool with_logprobs = params.want_logprobs || params.top_logprobs > 0;
    RawDistribution raw;
    std::vector<float> raw_logits;
    if (with_logprobs) {
        raw = raw_distribution(logits, finite_block_maxima(logits, scratch), scratch);
        if (params.top_logprobs > 0)
            result.top_logprobs = top_logprobs_of(logits, raw, static_cast<std::size_t>(params.top_logprobs), scratch);
    }
    const bool constrained = !allowed.empty();
    if (state_->processors.active() && (with_logprobs || constrained)) raw_logits.assign(logits.begin(), logits.end());

    state_->processors.apply(logits, output);
    if (constrained) {
        // transformers' place for it: behind all that changes single tokens, before the warpers
        bar_others(logits, allowed);
        if (all_barred(logits) && !raw_logits.empty()) {
            std::ranges::copy(raw_logits, logits.begin());
            bar_others(logits, allowed);
        }
    }

    if (constrained && all_barred(logits)) {
        result.token = first_allowed(allowed);
    } else if (greedy) {
        result.token = argmax(logits);
    } else {
        const float maximum = finite_block_maxima(logits, scratch);
        result.token = draw_token(logits, maximum, params, philox_uniform(params.seed, state_->stream, output.size()), scratch);
    }
    if (params.want_logprobs) {
        const std::span<const float> row = raw_logits.empty() ? std::span<const float>(logits) : std::span<const float>(raw_logits);
        const float logit = row[static_cast<std::size_t>(result.token)];
        result.logprob = raw.logprob(logit);
    }
    return result;
}

}  // namespace tfserve
