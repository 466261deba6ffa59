#include "speech/token_choice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "sampling/philox.h"

namespace tfserve::speech {

namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

std::vector<TokenLogprob> likeliest(std::span<const float> logits, double total, std::int32_t count) {
    const std::size_t n = std::min(static_cast<std::size_t>(count), logits.size());
    std::vector<TokenId> ids(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
    const auto before = [&](TokenId a, TokenId b) {
        const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
        return x != y ? x > y : a < b;
    };
    std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n), ids.end(), before);
    std::vector<TokenLogprob> top;
    for (std::size_t i = 0; i < n; ++i) {
        top.push_back({ids[i], static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(ids[i])]) - total)});
    }
    return top;
}

/// A token of softmax(logits / temperature), by inverting the cumulative distribution at `uniform`.
TokenId sample(std::span<const float> logits, double temperature, double uniform) {
    const double largest = static_cast<double>(*std::ranges::max_element(logits));
    const auto weight = [&](float logit) { return std::exp((static_cast<double>(logit) - largest) / temperature); };
    double total = 0;
    for (float logit : logits) total += weight(logit);
    double left = uniform * total;
    TokenId last = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        const double w = weight(logits[i]);
        if (w <= 0) continue;
        last = static_cast<TokenId>(i);
        if (left < w) break;
        left -= w;
    }
    return last;
}

}  // namespace

double log_sum_exp(std::span<const float> logits) {
    const double largest = static_cast<double>(*std::ranges::max_element(logits));
    if (largest == kNothing) return kNothing;
    double sum = 0;
    for (float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
    return largest + std::log(sum);
}

ChosenToken choose_token(std::span<float> logits, const DecodingRules& rules, std::span<const TokenId> output,
                         const ChoiceOptions& options) {
    const double own_total = log_sum_exp(logits);
    if (!std::isfinite(own_total)) throw std::runtime_error("The model's output is not a number.");
    ChosenToken chosen;
    if (options.top_logprobs > 0) chosen.top = likeliest(logits, own_total, options.top_logprobs);
    const std::vector<float> own(logits.begin(), logits.end());
    apply_decoding_rules(logits, rules, output);
    const double total = log_sum_exp(logits);
    if (!std::isfinite(total)) throw std::runtime_error("The rules of decoding leave no token.");
    if (options.temperature > 0) {
        chosen.id = sample(logits, static_cast<double>(options.temperature), philox_uniform(options.seed, 0, output.size()));
    } else {
        chosen.id = static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
    }
    const auto at = static_cast<std::size_t>(chosen.id);
    chosen.logprob = static_cast<float>(static_cast<double>(own[at]) - own_total);
    chosen.rules_logprob = static_cast<float>(static_cast<double>(logits[at]) - total);
    return chosen;
}

}  // namespace tfserve::speech
