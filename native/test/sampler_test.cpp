#include "sampling/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "random_rows.h"
#include "sampler_oracle.h"
#include "sampling/logits_processors.h"
#include "sampling/philox.h"
#include "testing.h"

using namespace tfserve;
using namespace tfserve::rows;

TEST(philox_known_answers) {
    using Block = std::array<std::uint32_t, 4>;
    CHECK((philox4x32({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}));
    CHECK((philox4x32({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}) == Block{0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU}));
    CHECK((philox4x32({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U}, {0xa4093822U, 0x299f31d0U}) ==
           Block{0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U}));
}

TEST(greedy_takes_the_lowest_of_the_best) {
    Rng rng(1);
    for (int round = 0; round < 3000; ++round) {
        std::vector<float> row = random_row(rng, random_size(rng));
        TokenId expected = 0;
        float best = -kInf;
        for (std::size_t i = 0; i < row.size(); ++i) {
            if (row[i] > best) {
                best = row[i];
                expected = static_cast<TokenId>(i);
            }
        }
        Sampler sampler({}, {}, static_cast<std::int32_t>(row.size()), 0);
        CHECK_EQ(sampler.sample(row, {}).token, expected);
    }
}

TEST(greedy_ignores_warpers) {
    SamplingParams params;
    params.top_k = 1;
    params.temperature = 100;
    params.typical_p = 0.01F;
    std::vector<float> row = {1, 5, 4.9F, 5};
    CHECK_EQ(Sampler(params, {}, 4, 0).sample(row, {}).token, 1);
}

TEST(rows_without_a_choice) {
    const std::vector<std::vector<float>> rows = {{-kInf, -kInf, -kInf}, {kNan, kNan}, {-kInf}, std::vector<float>(200, kNan)};
    for (const bool do_sample : {false, true}) {
        for (const float top_p : {1.0F, 0.5F}) {
            for (const auto& original : rows) {
                SamplingParams params;
                params.do_sample = do_sample;
                params.top_p = top_p;
                params.min_p = top_p < 1 ? 0.3F : 0.0F;
                params.typical_p = top_p;
                params.want_logprobs = true;
                params.top_logprobs = 5;
                std::vector<float> row = original;
                const SampledToken sampled = Sampler(params, {}, static_cast<std::int32_t>(row.size()), 0).sample(row, {});
                CHECK_EQ(sampled.token, 0);
                CHECK_EQ(sampled.logprob, kLowestLogprob);
                CHECK(sampled.top_logprobs.empty());
            }
        }
    }
    std::vector<float> none;
    CHECK_EQ(Sampler({}, {}, 0, 0).sample(none, {}).token, 0);
    for (const bool do_sample : {false, true}) {  // all barred
        SamplingParams params;
        params.do_sample = do_sample;
        params.no_repeat_ngram_size = 1;
        std::vector<float> row = {1, 2, 3};
        const std::vector<TokenId> prompt = {0, 1, 2};
        CHECK_EQ(Sampler(params, prompt, 3, 0).sample(row, {}).token, 0);
    }
}

TEST(infinite_logits_win) {
    for (int index = 0; index < 50; ++index) {
        SamplingParams params = sampling();
        params.want_logprobs = true;
        std::vector<float> row = {1, kInf, -kInf, kNan, 3e38F};
        const std::vector<TokenId> output(static_cast<std::size_t>(index), 0);
        const SampledToken sampled = Sampler(params, {}, 5, 0).sample(row, output);
        CHECK_EQ(sampled.token, 1);
        CHECK_EQ(sampled.logprob, 0.0F);
    }
}

TEST(processors_against_definitions) {
    Rng rng(5);
    for (int round = 0; round < 400; ++round) {
        const int vocabulary = pick(rng, 1, 60);
        const SamplingParams params = random_processors(rng, vocabulary);
        const std::vector<TokenId> prompt = random_tokens(rng, pick(rng, 0, 30), vocabulary);
        LogitsProcessors processors(params, prompt, vocabulary);
        std::vector<TokenId> output;
        for (int step = 0; step < 30; ++step) {
            std::vector<float> row = random_row(rng, static_cast<std::size_t>(vocabulary));
            for (float& logit : row) logit = std::isnan(logit) ? 0.0F : logit;
            const std::vector<float> expected = oracle::process(row, params, prompt, output);
            processors.apply(row, output);
            CHECK(row == expected);
            const int what = pick(rng, 0, 9);  // mostly one token more; sometimes another sequence altogether
            if (what == 0) output = random_tokens(rng, pick(rng, 0, 20), vocabulary);
            if (what == 1 && !output.empty()) output.pop_back();
            if (what == 2 && !output.empty()) output[output.size() / 2] = pick(rng, 0, vocabulary - 1);
            output.push_back(pick(rng, 0, vocabulary - 1));
        }
    }
}

TEST(processors_by_hand) {
    const std::vector<TokenId> prompt = {1, 2, 3, 1};
    const auto processed = [&](const SamplingParams& params, const std::vector<TokenId>& output) {
        std::vector<float> row = {-1, 2, 4, -2, 8};
        LogitsProcessors(params, prompt, 5).apply(row, output);
        return row;
    };
    SamplingParams params;
    params.repetition_penalty = 2;
    CHECK((processed(params, {4, 4}) == std::vector<float>{-1, 1, 2, -4, 4}));
    params = {};
    params.presence_penalty = 0.5F;
    params.frequency_penalty = 1;
    CHECK((processed(params, {4, 4, 0}) == std::vector<float>{-2.5F, 2, 4, -2, 5.5F}));
    params = {};
    params.no_repeat_ngram_size = 2;
    CHECK((processed(params, {}) == std::vector<float>{-1, 2, -kInf, -2, 8}));
    params = {};
    params.bad_words_ids = {{3, 1, 4}, {0}, {2, 1}};
    params.eos_token_ids = {0};
    CHECK((processed(params, {}) == std::vector<float>{-1, 2, 4, -2, -kInf}));
    params.min_new_tokens = 1;
    CHECK((processed(params, {}) == std::vector<float>{-kInf, 2, 4, -2, -kInf}));
    CHECK((processed(params, {2}) == std::vector<float>{-1, -kInf, 4, -2, 8}));
    params = {};
    params.logit_bias = {{3, 100}, {99, 5}, {-1, 5}, {0, kNan}};
    params.bad_words_ids = {{}, {77}, {-5}};
    CHECK((processed(params, {}) == std::vector<float>{-1, 2, 4, 98, 8}));
}

TEST(foreign_ids_in_the_context_are_passed_over) {
    SamplingParams params;
    params.repetition_penalty = 2;
    params.frequency_penalty = 1;
    params.no_repeat_ngram_size = 1;
    const std::vector<TokenId> prompt = {-1, 70000, 2};
    std::vector<float> row = {1, 3, 9};
    CHECK_EQ(Sampler(params, prompt, 3, 0).sample(row, std::vector<TokenId>{-7, 3, 1}).token, 0);
}

TEST(choices_depend_on_nothing_else) {
    Rng rng(7);
    constexpr int kVocabulary = 300;
    std::vector<std::vector<float>> rows;
    for (int i = 0; i < 40; ++i) rows.push_back(random_row(rng, kVocabulary));
    const std::vector<TokenId> prompt = random_tokens(rng, 10, kVocabulary);
    const std::vector<TokenId> output = random_tokens(rng, 40, kVocabulary);
    SamplingParams params = random_processors(rng, kVocabulary);
    params.do_sample = true;
    params.repetition_penalty = 1.2F;
    params.no_repeat_ngram_size = 2;
    params.top_p = 0.9F;
    params.seed = 99;
    const auto at = [&](Sampler& sampler, std::size_t i) {
        std::vector<float> row = rows[i];
        return sampler.sample(row, std::span(output).first(i)).token;
    };
    Sampler forwards(params, prompt, kVocabulary, 3);
    std::vector<TokenId> expected;
    for (std::size_t i = 0; i < rows.size(); ++i) expected.push_back(at(forwards, i));
    Sampler backwards(params, prompt, kVocabulary, 3);
    for (std::size_t i = rows.size(); i-- > 0;) CHECK_EQ(at(backwards, i), expected[i]);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Sampler fresh(params, prompt, kVocabulary, 3);
        CHECK_EQ(at(fresh, i), expected[i]);
    }
    Sampler moved(std::move(backwards));
    for (int i = 0; i < 100; ++i) {
        const auto step = static_cast<std::size_t>(pick(rng, 0, 39));
        CHECK_EQ(at(moved, step), expected[step]);
    }
}

TEST(seeds_and_streams_differ) {
    const auto tokens = [](std::uint64_t seed, std::uint64_t stream) {
        SamplingParams params = sampling();
        params.seed = seed;
        Sampler sampler(params, {}, 1000, stream);
        std::vector<TokenId> output;
        for (int i = 0; i < 20; ++i) {
            std::vector<float> row(1000, 0.0F);
            output.push_back(sampler.sample(row, output).token);
        }
        return output;
    };
    CHECK(tokens(1, 0) == tokens(1, 0));
    std::vector<std::vector<TokenId>> seen;
    for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32, ~std::uint64_t{0}}) {
        for (const std::uint64_t stream : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32})
            seen.push_back(tokens(seed, stream));
    }
    for (std::size_t i = 0; i < seen.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) CHECK(seen[i] != seen[j]);
    }
}

TEST(logprobs_are_of_the_raw_distribution) {
    Rng rng(9);
    for (int round = 0; round < 500; ++round) {
        const std::size_t size = random_size(rng);
        const std::vector<float> row = random_row(rng, size);
        SamplingParams raw_only = sampling();
        const oracle::Scores probabilities = oracle::warp(row, raw_only);
        SamplingParams params = random_processors(rng, static_cast<int>(size));
        params.do_sample = pick(rng, 0, 1) == 0;
        params.temperature = 0.7F;
        params.top_k = 5;
        params.want_logprobs = true;
        params.top_logprobs = pick(rng, 0, 20);
        std::vector<float> copy = row;
        const SampledToken sampled =
            Sampler(params, {}, static_cast<std::int32_t>(size), 0).sample(copy, random_tokens(rng, 5, static_cast<int>(size)));
        if (probabilities.empty()) continue;
        const auto expected = [&](TokenId token) {
            const double p = probabilities[static_cast<std::size_t>(token)];
            return p > 0 ? std::log(p) : static_cast<double>(kLowestLogprob);
        };
        if (expected(sampled.token) > -80) CHECK(std::fabs(static_cast<double>(sampled.logprob) - expected(sampled.token)) < 1e-4);
        std::vector<std::size_t> order = oracle::indices(size);
        const auto value = [&](std::size_t i) { return std::isnan(row[i]) ? -kInf : row[i]; };
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return value(a) > value(b); });
        const auto finite = static_cast<std::size_t>(std::count_if(row.begin(), row.end(), [](float logit) { return logit > -kInf; }));
        const std::size_t count = std::min(finite, static_cast<std::size_t>(params.top_logprobs));
        CHECK_EQ(sampled.top_logprobs.size(), count);
        for (std::size_t i = 0; i < sampled.top_logprobs.size(); ++i)
            CHECK_EQ(sampled.top_logprobs[i].token, static_cast<TokenId>(order[i]));
    }
}

TEST(logprobs_sum_to_one) {
    Rng rng(10);
    SamplingParams params;
    params.top_logprobs = 300;
    std::vector<float> row(300);
    for (float& logit : row) logit = real(rng, -5, 5);
    double sum = 0;
    const SampledToken sampled = Sampler(params, {}, 300, 0).sample(row, {});
    for (const TokenLogprob& entry : sampled.top_logprobs) sum += std::exp(static_cast<double>(entry.logprob));
    CHECK_EQ(sampled.top_logprobs.size(), std::size_t{300});
    CHECK(std::fabs(sum - 1) < 1e-5);
}
