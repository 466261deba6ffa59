#include "speech/alignment.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>

#include "speech_fixtures.h"
#include "testing.h"

using namespace tfserve::speech;

namespace {

using Rows = std::vector<std::vector<double>>;

/// The mean over heads of attention, normalised over tokens: by the definitions, in double precision, without a filter.
Rows naive_fit(const AttentionWeights& weights, std::size_t positions) {
    Rows fit(weights.tokens, std::vector<double>(positions));
    for (std::size_t h = 0; h < weights.heads; ++h) {
        for (std::size_t p = 0; p < positions; ++p) {
            const auto at = [&](std::size_t t) {
                return static_cast<double>(weights.values[(h * weights.tokens + t) * weights.positions + p]);
            };
            double mean = 0;
            double variance = 0;
            for (std::size_t t = 0; t < weights.tokens; ++t) mean += at(t) / static_cast<double>(weights.tokens);
            for (std::size_t t = 0; t < weights.tokens; ++t) variance += std::pow(at(t) - mean, 2) / static_cast<double>(weights.tokens);
            for (std::size_t t = 0; t < weights.tokens; ++t) {
                fit[t][p] += (at(t) - mean) / std::sqrt(variance) / static_cast<double>(weights.heads);
            }
        }
    }
    return fit;
}

/// The best sum of fits over all ways from (t, p) to the last token and position, each tried.
double best_way(const Rows& fit, std::size_t t, std::size_t p) {
    if (t == fit.size() || p == fit[0].size()) return -std::numeric_limits<double>::infinity();
    if (t + 1 == fit.size() && p + 1 == fit[0].size()) return fit[t][p];
    return fit[t][p] + std::max({best_way(fit, t + 1, p + 1), best_way(fit, t + 1, p), best_way(fit, t, p + 1)});
}

/// The best sum over ways on which each token begins at its position of `first`.
double way_through(const Rows& fit, const std::vector<std::size_t>& first) {
    double sum = 0;
    for (std::size_t t = 0; t < fit.size(); ++t) {
        const std::size_t end = t + 1 < fit.size() ? first[t + 1] : fit[0].size() - 1;
        for (std::size_t p = first[t]; p < end; ++p) sum += fit[t][p];
        // the next token begins below the last position of this one, or after it
        const bool may_stop_before = t + 1 < fit.size() && end > first[t];
        sum += may_stop_before ? std::max(0.0, fit[t][end]) : fit[t][end];
    }
    return sum;
}

}  // namespace

TEST(alignment_is_that_of_transformers) {
    for (const auto& golden : tfserve::fixtures::speech_goldens().at("alignment")) {
        AttentionWeights weights{{}, golden.at("heads"), golden.at("tokens"), golden.at("positions")};
        const std::size_t used = golden.at("used");
        std::vector<float> values(weights.heads * weights.tokens * weights.positions);
        for (std::size_t i = 0; i < values.size(); ++i) {
            const std::size_t t = i / weights.positions % weights.tokens;
            const std::size_t p = i % weights.positions;
            const auto noise = static_cast<double>((i * 7919 + golden.at("seed").get<std::size_t>() * 104729) % 2003);
            const double off = std::abs(static_cast<double>(p * weights.tokens) - static_cast<double>(t * used + used / 2));
            const double ridge = std::max(0.0, 1 - off / (2 * static_cast<double>(used)));
            values[i] = static_cast<float>((noise / 2003 + golden.at("sharp").get<double>() * ridge) / 64);
        }
        weights.values = values;
        const auto times = align_tokens(weights, used, golden.at("median_width"));
        REQUIRE(times.size() == weights.tokens);
        for (std::size_t t = 0; t < times.size(); ++t) CHECK(std::abs(times[t] - golden.at("times")[t].get<double>()) < 1e-9);
    }
}

TEST(alignment_is_the_best_of_all_ways) {
    std::mt19937 rng(5);
    std::uniform_real_distribution<float> uniform(0, 1);
    const auto pick = [&](std::size_t low, std::size_t high) { return std::uniform_int_distribution<std::size_t>(low, high)(rng); };
    for (int round = 0; round < 300; ++round) {
        // neither two tokens (+1 and -1 everywhere) nor medians of neighbours: where steps tie, transformers does not take the best
        AttentionWeights weights{{}, pick(1, 3), pick(3, 5), pick(1, 7)};
        std::vector<float> values(weights.heads * weights.tokens * weights.positions);
        for (float& value : values) value = uniform(rng);
        weights.values = values;
        const std::size_t positions = pick(1, weights.positions);
        std::vector<std::size_t> first;
        for (const double time : align_tokens(weights, positions, 1)) {
            first.push_back(static_cast<std::size_t>(std::lround(time / kSecondsPerPosition)));
        }
        REQUIRE(first.size() == weights.tokens);
        CHECK_EQ(first[0], 0);
        CHECK(std::is_sorted(first.begin(), first.end()));
        REQUIRE(first.back() < positions);
        const Rows fit = naive_fit(weights, positions);
        CHECK(std::abs(way_through(fit, first) - best_way(fit, 0, 0)) < 1e-4);
    }
}

TEST(alignment_of_attention_that_says_nothing) {
    const std::vector<float> flat(3 * 4 * 10, 0.1F);
    const auto times = align_tokens({flat, 3, 4, 10}, 10, 7);
    CHECK_EQ(times.size(), 4);
    CHECK(std::is_sorted(times.begin(), times.end()));
    CHECK_EQ(align_tokens({flat, 12, 1, 10}, 10, 7), std::vector<double>{0});
    CHECK_EQ(align_tokens({flat, 3, 4, 10}, 0, 7), std::vector<double>(4, 0.0));
    CHECK(align_tokens({{}, 3, 0, 10}, 10, 7).empty());

    std::vector<float> wild(flat);
    for (std::size_t i = 0; i < wild.size(); i += 3) wild[i] = i % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : 3e38F;
    for (const double time : align_tokens({wild, 3, 4, 10}, 10, 7)) CHECK(time >= 0 && time < 0.2);
}

TEST(alignment_refuses_shapes_that_do_not_fit) {
    const std::vector<float> values(24, 0.5F);
    constexpr std::size_t kLargest = std::numeric_limits<std::size_t>::max();
    CHECK_THROWS(align_tokens({values, 2, 3, 5}, 5, 7), std::invalid_argument);
    CHECK_THROWS(align_tokens({values, 2, 3, 4}, 5, 7), std::invalid_argument);
    CHECK_THROWS(align_tokens({values, 0, 3, 4}, 4, 7), std::invalid_argument);
    CHECK_THROWS(align_tokens({values, 2, 0, 4}, 4, 7), std::invalid_argument);
    CHECK_THROWS(align_tokens({values, 2, 3, 0}, 0, 7), std::invalid_argument);
    CHECK_THROWS(align_tokens({values, kLargest, kLargest, kLargest}, 4, 7), std::invalid_argument);
    CHECK_THROWS(align_tokens({values, std::size_t{1} << 63, 12, 4}, 4, 7), std::invalid_argument);
    for (const int width : {-7, 0, 2, 8, 129}) CHECK_THROWS(align_tokens({values, 2, 3, 4}, 4, width), std::invalid_argument);
    CHECK_EQ(align_tokens({values, 2, 3, 4}, 4, 127).size(), 3);
}
