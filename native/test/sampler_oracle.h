// The samplers' definitions in the plainest way: sort everything, in doubles. What the real ones are compared with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
#include <span>
#include <vector>

#include "sampling/sampling_params.h"

namespace tfserve::oracle {

inline constexpr double kInf = std::numeric_limits<double>::infinity();
using Scores = std::vector<double>;

inline Scores softmax(const Scores& scores) {
    const double maximum = *std::max_element(scores.begin(), scores.end());
    Scores result;
    double sum = 0;
    for (const double score : scores) {
        result.push_back(score == -kInf ? 0 : std::exp(score - maximum));
        sum += result.back();
    }
    for (double& p : result) p /= sum;
    return result;
}

inline std::vector<std::size_t> indices(std::size_t size) {
    std::vector<std::size_t> order(size);
    std::iota(order.begin(), order.end(), std::size_t{0});
    return order;
}

inline void top_k(Scores& scores, std::size_t k) {
    Scores sorted = scores;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const double kth = sorted[std::min(k, sorted.size()) - 1];
    for (double& score : scores) {
        if (score < kth) score = -kInf;
    }
}

/// Ascending by probability and, among equals, by descending id: the lower id is the last to go.
inline void top_p(Scores& scores, double p) {
    const Scores probabilities = softmax(scores);
    std::vector<std::size_t> order = indices(scores.size());
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return scores[a] != scores[b] ? scores[a] < scores[b] : a > b; });
    double cumulative = 0;
    for (std::size_t i = 0; i + 1 < order.size(); ++i) {
        cumulative += probabilities[order[i]];
        if (cumulative <= 1 - p) scores[order[i]] = -kInf;
    }
}

inline void min_p(Scores& scores, double p) {
    const Scores probabilities = softmax(scores);
    const double best = *std::max_element(probabilities.begin(), probabilities.end());
    for (std::size_t i = 0; i < scores.size(); ++i) {
        if (probabilities[i] < p * best) scores[i] = -kInf;
    }
}

inline void typical_p(Scores& scores, double mass) {
    const Scores probabilities = softmax(scores);
    double entropy = 0;
    for (const double p : probabilities) entropy -= p > 0 ? p * std::log(p) : 0;
    std::vector<float> shifted;
    for (const double p : probabilities) shifted.push_back(static_cast<float>(std::fabs(-std::log(p) - entropy)));
    std::vector<std::size_t> order = indices(scores.size());
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return shifted[a] < shifted[b]; });
    std::size_t last = 0;
    double cumulative = 0;
    for (const std::size_t i : order) {
        cumulative += probabilities[i];
        if (cumulative < mass) ++last;
    }
    const float border = shifted[order[std::min(last, order.size() - 1)]];
    for (std::size_t i = 0; i < scores.size(); ++i) {
        if (shifted[i] > border) scores[i] = -kInf;
    }
}

/// Probabilities of what is left after all warpers; empty when nothing was above -inf to begin with.
inline Scores warp(std::span<const float> logits, const SamplingParams& params) {
    Scores scores;
    for (const float logit : logits) scores.push_back(std::isnan(logit) ? -kInf : static_cast<double>(logit));
    if (*std::max_element(scores.begin(), scores.end()) == -kInf) return {};
    for (double& score : scores) score /= static_cast<double>(params.temperature);
    if (params.top_k > 0) top_k(scores, static_cast<std::size_t>(params.top_k));
    if (params.top_p < 1) top_p(scores, static_cast<double>(params.top_p));
    if (params.min_p > 0) min_p(scores, static_cast<double>(params.min_p));
    if (params.typical_p < 1) typical_p(scores, static_cast<double>(params.typical_p));
    return softmax(scores);
}

/// All processors, from definitions; `prompt` and `output` hold only ids of the row.
inline std::vector<float> process(std::vector<float> logits, const SamplingParams& params, const std::vector<TokenId>& prompt,
                                  const std::vector<TokenId>& output) {
    constexpr float kBarred = -std::numeric_limits<float>::infinity();
    std::vector<TokenId> context = prompt;
    context.insert(context.end(), output.begin(), output.end());
    const auto at = [&](TokenId token) -> float& { return logits[static_cast<std::size_t>(token)]; };
    for (const auto& [token, bias] : params.logit_bias) at(token) += bias;
    if (params.repetition_penalty != 1.0F) {
        for (const TokenId token : std::set<TokenId>(context.begin(), context.end())) {
            at(token) = at(token) < 0 ? at(token) * params.repetition_penalty : at(token) / params.repetition_penalty;
        }
    }
    for (const TokenId token : std::set<TokenId>(output.begin(), output.end())) {
        const auto count = static_cast<float>(std::count(output.begin(), output.end(), token));
        at(token) -= count * params.frequency_penalty + params.presence_penalty;
    }
    const auto n = static_cast<std::size_t>(params.no_repeat_ngram_size);
    if (n > 0 && context.size() >= n) {
        const std::vector<TokenId> prefix(context.end() - static_cast<std::ptrdiff_t>(n - 1), context.end());
        for (std::size_t i = 0; i + n <= context.size(); ++i) {
            const auto begin = context.begin() + static_cast<std::ptrdiff_t>(i);
            const std::vector<TokenId> ngram(begin, begin + static_cast<std::ptrdiff_t>(n));
            if (std::vector<TokenId>(ngram.begin(), ngram.end() - 1) == prefix) at(ngram.back()) = kBarred;
        }
    }
    for (const auto& word : params.bad_words_ids) {
        const bool is_eos = word.size() == 1 && std::count(params.eos_token_ids.begin(), params.eos_token_ids.end(), word[0]) > 0;
        if (is_eos) continue;
        const std::size_t size = word.size() - 1;
        if (size > 0 && word.size() > context.size()) continue;
        bool matches = true;
        for (std::size_t i = 0; i < size; ++i) matches = matches && context[context.size() - size + i] == word[i];
        if (matches) at(word.back()) = kBarred;
    }
    if (!params.ignore_eos && output.size() < static_cast<std::size_t>(params.min_new_tokens)) {
        for (const TokenId token : params.eos_token_ids) at(token) = kBarred;
    }
    return logits;
}

}  // namespace tfserve::oracle
