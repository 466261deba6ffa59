#include "speech/decoding_rules.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace tfserve::speech {

namespace {

constexpr float kBarred = -std::numeric_limits<float>::infinity();

void bar(std::span<float> logits, const std::vector<TokenId>& tokens) {
    for (const TokenId token : tokens) {
        if (token >= 0 && static_cast<std::size_t>(token) < logits.size()) logits[static_cast<std::size_t>(token)] = kBarred;
    }
}

/// Bars the ids from `first` up to, but without, `last`.
void bar_range(std::span<float> logits, std::int64_t first, std::int64_t last) {
    const auto size = static_cast<std::int64_t>(logits.size());
    first = std::clamp<std::int64_t>(first, 0, size);
    last = std::clamp<std::int64_t>(last, first, size);
    std::fill(logits.begin() + first, logits.begin() + last, kBarred);
}

/// Whether all of `times` together are likelier than each of `text`.
bool time_is_likelier(std::span<const float> text, std::span<const float> times) {
    const float best_text = text.empty() ? kBarred : *std::max_element(text.begin(), text.end());
    const float best_time = times.empty() ? kBarred : *std::max_element(times.begin(), times.end());
    if (!std::isfinite(best_time)) return best_time > best_text;
    double sum = 0;
    for (const float logit : times) sum += std::exp(static_cast<double>(logit - best_time));
    return static_cast<double>(best_time) + std::log(sum) > static_cast<double>(best_text);
}

void apply_timestamp_rules(std::span<float> logits, const TimestampRules& rules, TokenId eos, std::span<const TokenId> output) {
    const auto everything = static_cast<std::int64_t>(logits.size());
    const auto is_time = [&](TokenId token) { return token >= rules.begin; };
    bar(logits, {rules.no_timestamps});

    const bool last_was_time = !output.empty() && is_time(output.back());
    const bool one_before_was_time = output.size() < 2 || is_time(output[output.size() - 2]);
    if (last_was_time) {
        if (one_before_was_time) {
            bar_range(logits, rules.begin, everything);
        } else {
            bar_range(logits, 0, eos);
        }
    }
    const auto latest = std::find_if(output.rbegin(), output.rend(), is_time);
    if (latest != output.rend()) {
        // a segment may begin where the one before it ended, but it may not be empty
        const bool may_repeat = last_was_time && !one_before_was_time;
        bar_range(logits, rules.begin, static_cast<std::int64_t>(*latest) + (may_repeat ? 0 : 1));
    }
    if (output.empty()) {
        bar_range(logits, 0, rules.begin);
        if (rules.max_initial_index) bar_range(logits, std::int64_t{rules.begin} + *rules.max_initial_index + 1, everything);
    }

    const std::size_t text_size = std::min(logits.size(), static_cast<std::size_t>(std::max(rules.begin, 0)));
    if (time_is_likelier(logits.first(text_size), logits.subspan(text_size))) bar_range(logits, 0, rules.begin);
}

}  // namespace

void apply_decoding_rules(std::span<float> logits, const DecodingRules& rules, std::span<const TokenId> output) {
    for (float& logit : logits) {
        if (std::isnan(logit)) logit = kBarred;
    }
    if (output.empty()) bar(logits, rules.begin_suppress);
    bar(logits, rules.suppress);
    if (rules.timestamps) apply_timestamp_rules(logits, *rules.timestamps, rules.eos, output);
}

}  // namespace tfserve::speech
