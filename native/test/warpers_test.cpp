#include "sampling/warpers.h"

#include <cmath>
#include <utility>
#include <vector>

#include "random_rows.h"
#include "sampler_oracle.h"
#include "sampling/philox.h"
#include "sampling/row.h"
#include "sampling/sampler.h"
#include "testing.h"

using namespace tfserve;
using namespace tfserve::rows;

namespace {

TokenId draw(const std::vector<float>& row, const SamplingParams& params, double uniform) {
    SamplingScratch scratch;
    return draw_token(row, block_maxima(row, scratch.maxima), params, uniform, scratch);
}

/// The candidates that are left, and the middle of the share of a good number of them, and the very ends.
void compare_with_oracle(Rng& rng, const std::vector<float>& row, const SamplingParams& params) {
    const oracle::Scores probabilities = oracle::warp(row, params);
    if (probabilities.empty()) {
        CHECK_EQ(draw(row, params, 0.5), 0);
        return;
    }
    const bool narrowed =
        (params.top_k > 0 && params.top_k < static_cast<int>(row.size())) || params.top_p < 1 || params.min_p > 0 || params.typical_p < 1;
    if (narrowed) {
        SamplingScratch scratch;
        std::vector<bool> left(row.size());
        draw_token(row, block_maxima(row, scratch.maxima), params, 0.5, scratch);
        for (const TokenId id : scratch.ids) left[static_cast<std::size_t>(id)] = true;
        // probabilities below the smallest float are zero to one side and not to the other
        for (std::size_t i = 0; i < row.size(); ++i) CHECK(probabilities[i] > 0 ? left[i] || probabilities[i] < 1e-30 : !left[i]);
    }
    const int stride = 1 + static_cast<int>(probabilities.size() / 20);
    double before = 0;
    for (std::size_t i = 0; i < probabilities.size(); ++i) {
        const bool asked = probabilities[i] > 0.02 || (probabilities[i] > 1e-5 && pick(rng, 1, stride) == 1);
        if (asked) CHECK_EQ(draw(row, params, before + probabilities[i] / 2), static_cast<TokenId>(i));
        before += probabilities[i];
    }
    for (const double uniform : {0.0, 1.0 - 0x1p-53}) {
        CHECK(probabilities[static_cast<std::size_t>(draw(row, params, uniform))] > 0);
    }
}

/// Which tokens can be drawn at all from these probabilities.
std::vector<TokenId> survivors(const std::vector<double>& probabilities, const SamplingParams& params) {
    std::vector<float> row;
    for (const double p : probabilities) row.push_back(static_cast<float>(std::log(p)));
    std::vector<TokenId> result;
    for (int i = 0; i < 1000; ++i) {
        const TokenId token = draw(row, params, (i + 0.5) / 1000);
        if (result.empty() || result.back() != token) result.push_back(token);
    }
    return result;
}

}  // namespace

TEST(exponential_is_accurate) {
    CHECK_EQ(exp_nonpositive(0.0F), 1.0F);
    CHECK_EQ(exp_nonpositive(-kInf), 0.0F);
    CHECK_EQ(exp_nonpositive(kNan), 0.0F);
    double worst = 0;
    for (float z = 0; z > -86.9F; z -= 0.00137F) {
        const double exact = std::exp(static_cast<double>(z));
        worst = std::max(worst, std::fabs(static_cast<double>(exp_nonpositive(z)) - exact) / exact);
    }
    CHECK(worst < 3e-7);
}

TEST(extreme_parameters_do_not_break) {
    Rng rng(2);
    for (const float temperature : {1e-38F, 1e-20F, 1e-3F, 1e20F, 3e38F, kInf, 0.0F, -1.0F, kNan}) {
        for (const float p : {1e-30F, 1e-7F, 0.5F, 0.99999994F, 1.0F, 2.0F, 0.0F, -1.0F, kNan}) {
            SamplingParams params = sampling();
            params.temperature = temperature;
            params.top_p = p;
            params.typical_p = p;
            params.min_p = p;
            params.top_k = pick(rng, -1, 5);
            std::vector<float> row = random_row(rng, 150);
            const TokenId token = Sampler(params, {}, 150, 0).sample(row, {}).token;
            CHECK(token >= 0 && token < 150);
        }
    }
    SamplingParams cold = sampling();
    cold.temperature = 1e-6F;
    std::vector<float> row = {1, 1.001F, 0.5F};
    CHECK_EQ(Sampler(cold, {}, 3, 0).sample(row, {}).token, 1);
}

TEST(warpers_by_hand) {
    const std::vector<double> row = {0.1, 0.2, 0.3, 0.4};
    using Ids = std::vector<TokenId>;
    SamplingParams params = sampling();
    CHECK((survivors(row, params) == Ids{0, 1, 2, 3}));
    for (const auto& [p, expected] :
         std::vector<std::pair<float, Ids>>{{0.65F, {2, 3}}, {0.75F, {1, 2, 3}}, {0.3F, {3}}, {0.95F, {0, 1, 2, 3}}}) {
        params = sampling();
        params.top_p = p;
        CHECK(survivors(row, params) == expected);
    }
    params = sampling();
    params.top_k = 3;
    CHECK((survivors(row, params) == Ids{1, 2, 3}));
    params.top_p = 0.7F;  // of 2/9, 3/9, 4/9
    CHECK((survivors(row, params) == Ids{2, 3}));
    params = sampling();
    params.min_p = 0.6F;
    CHECK((survivors(row, params) == Ids{2, 3}));
    // entropy 1.2799; |surprise - entropy| = 1.0227, 0.3296, 0.0759, 0.3636
    for (const auto& [p, expected] :
         std::vector<std::pair<float, Ids>>{{0.2F, {2}}, {0.4F, {1, 2}}, {0.6F, {1, 2, 3}}, {0.95F, {0, 1, 2, 3}}}) {
        params = sampling();
        params.typical_p = p;
        CHECK(survivors(row, params) == expected);
    }
    params = sampling();
    params.temperature = 0.5F;  // 1/30, 4/30, 9/30, 16/30
    params.min_p = 0.5F;
    CHECK((survivors(row, params) == Ids{2, 3}));
    params = sampling();
    params.top_k = 1;  // ties at the border stay
    CHECK((survivors({0.3, 0.3, 0.1, 0.3}, params) == Ids{0, 1, 3}));
    params = sampling();
    params.top_p = 0.5F;  // the lower ids of the ties at the border stay
    CHECK((survivors({0.3, 0.3, 0.1, 0.3}, params) == Ids{0, 1}));
}

TEST(each_warper_against_sorting) {
    Rng rng(3);
    for (int round = 0; round < 1500; ++round) {
        const std::vector<float> row = random_row(rng, random_size(rng));
        SamplingParams params = sampling();
        params.temperature = real(rng, 0.2F, 3);
        switch (round % 5) {
            case 0: break;
            case 1: params.top_k = pick(rng, 1, pick(rng, 0, 1) == 0 ? 10 : 1100); break;
            case 2: params.top_p = real(rng, 0.001F, 0.9999F); break;
            case 3: params.min_p = real(rng, 0.0001F, 1); break;
            default: params.typical_p = real(rng, 0.001F, 0.9999F); break;
        }
        compare_with_oracle(rng, row, params);
    }
}

TEST(all_warpers_together_against_sorting) {
    Rng rng(4);
    for (int round = 0; round < 1500; ++round) {
        const std::vector<float> row = random_row(rng, random_size(rng));
        SamplingParams params = sampling();
        params.temperature = real(rng, 0.2F, 3);
        if (pick(rng, 0, 1) == 0) params.top_k = pick(rng, 1, 100);
        if (pick(rng, 0, 1) == 0) params.top_p = real(rng, 0.1F, 0.9999F);
        if (pick(rng, 0, 1) == 0) params.min_p = real(rng, 0.0001F, 0.5F);
        if (pick(rng, 0, 1) == 0) params.typical_p = real(rng, 0.1F, 0.9999F);
        compare_with_oracle(rng, row, params);
    }
}

TEST(frequencies_fit_the_distribution) {
    Rng rng(6);
    for (int which = 0; which < 4; ++which) {
        SamplingParams params = sampling();
        params.temperature = 1.3F;
        params.top_k = which == 1 ? 20 : 0;
        params.top_p = which == 2 ? 0.9F : 1.0F;
        params.typical_p = which == 3 ? 0.8F : 1.0F;
        std::vector<float> row(40);
        for (float& logit : row) logit = real(rng, -2, 2);
        const oracle::Scores expected = oracle::warp(row, params);
        constexpr int kDraws = 40000;
        std::vector<int> counts(row.size());
        std::vector<TokenId> output;
        for (int i = 0; i < kDraws; ++i) {
            // every way of getting another number: index, stream and seed
            params.seed = static_cast<std::uint64_t>(i / 4000);
            std::vector<float> copy = row;
            output.resize(static_cast<std::size_t>(i % 40));
            ++counts[static_cast<std::size_t>(Sampler(params, {}, 40, static_cast<std::uint64_t>(i / 40)).sample(copy, output).token)];
        }
        double statistic = 0;
        int degrees = -1;
        for (std::size_t i = 0; i < expected.size(); ++i) {
            if (expected[i] == 0) {
                CHECK_EQ(counts[i], 0);
                continue;
            }
            const double mean = expected[i] * kDraws;
            statistic += (counts[i] - mean) * (counts[i] - mean) / mean;
            ++degrees;
        }
        CHECK(statistic < degrees + 4 * std::sqrt(2.0 * degrees));
        CHECK(statistic > degrees - 4 * std::sqrt(2.0 * degrees));
    }
}

TEST(small_changes_of_logits_rarely_change_the_token) {
    Rng rng(8);
    int changed = 0;
    for (int i = 0; i < 1000; ++i) {
        std::vector<float> row(500);
        std::normal_distribution<float> normal(0, 3);
        for (float& logit : row) logit = normal(rng);
        std::vector<float> moved = row;
        for (float& logit : moved) logit += real(rng, -1e-4F, 1e-4F);
        SamplingParams params = sampling();
        params.top_p = 0.95F;
        const double uniform = philox_uniform(5, 0, static_cast<std::uint64_t>(i));
        changed += draw(row, params, uniform) != draw(moved, params, uniform) ? 1 : 0;
    }
    CHECK(changed < 15);
}
