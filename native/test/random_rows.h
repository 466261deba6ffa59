// Random logits and parameters for the samplers' tests.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include "sampling/sampling_params.h"

namespace tfserve::rows {

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
using Rng = std::mt19937_64;

inline int pick(Rng& rng, int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng); }
inline float real(Rng& rng, float low, float high) { return std::uniform_real_distribution<float>(low, high)(rng); }

/// Rows of many shapes: flat and peaked, without and with ties, with some or nearly all tokens barred.
inline std::vector<float> random_row(Rng& rng, std::size_t size) {
    std::vector<float> row(size);
    std::normal_distribution<float> normal(real(rng, -20, 20), real(rng, 0.01F, 6));
    const int kind = pick(rng, 0, 5);
    for (float& logit : row) {
        logit = normal(rng);
        if (kind == 1) logit = std::round(logit);
        if (kind == 2 && pick(rng, 0, 2) == 0) logit = -kInf;
        if (kind == 3 && pick(rng, 0, 9) == 0) logit = kNan;
        if (kind == 4 && pick(rng, 0, 99) != 0) logit = -kInf;
    }
    return row;
}

inline std::size_t random_size(Rng& rng) { return static_cast<std::size_t>(pick(rng, 0, 3) == 0 ? pick(rng, 1, 8) : pick(rng, 1, 1000)); }

inline SamplingParams sampling() {
    SamplingParams params;
    params.do_sample = true;
    return params;
}

inline std::vector<TokenId> random_tokens(Rng& rng, int count, int vocabulary) {
    std::vector<TokenId> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back(pick(rng, 0, vocabulary - 1));
    return tokens;
}

inline SamplingParams random_processors(Rng& rng, int vocabulary) {
    SamplingParams params;
    if (pick(rng, 0, 1) == 0) params.repetition_penalty = real(rng, 0.5F, 2);
    if (pick(rng, 0, 1) == 0) params.presence_penalty = real(rng, -2, 2);
    if (pick(rng, 0, 1) == 0) params.frequency_penalty = real(rng, -2, 2);
    if (pick(rng, 0, 1) == 0) params.no_repeat_ngram_size = pick(rng, 1, 4);
    for (int i = pick(rng, 0, 3); i > 0; --i) params.logit_bias.emplace_back(pick(rng, 0, vocabulary - 1), real(rng, -100, 100));
    for (int i = pick(rng, 0, 4); i > 0; --i) params.bad_words_ids.push_back(random_tokens(rng, pick(rng, 1, 3), vocabulary));
    for (int i = pick(rng, 0, 2); i > 0; --i) params.eos_token_ids.push_back(pick(rng, 0, vocabulary - 1));
    params.min_new_tokens = pick(rng, 0, 20);
    params.ignore_eos = pick(rng, 0, 3) == 0;
    return params;
}

}  // namespace tfserve::rows
