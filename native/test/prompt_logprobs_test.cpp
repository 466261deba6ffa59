// Log probabilities of prompts: the engine's, whatever it does around them, beside a prompt that is computed at once and a softmax in
// doubles.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine_core.h"
#include "engine/stand_in_runner.h"
#include "testing.h"

using namespace tfserve;

namespace {

constexpr int kVocab = 70;

StandInOptions stand_in(std::vector<KvGroupSpec> groups, int seqs, int budget, int prompt_logits = 0, bool paged = true) {
    StandInOptions options;
    options.capabilities.paged = paged;
    options.capabilities.block_size = 4;
    options.capabilities.groups = std::move(groups);
    options.capabilities.max_num_seqs = seqs;
    options.capabilities.max_batch_tokens = budget;
    options.capabilities.max_model_len = 200;
    options.capabilities.vocab_size = kVocab;
    options.capabilities.max_prompt_logits = prompt_logits;
    options.read_history = true;
    return options;
}

std::shared_ptr<const TokenTable> table() {
    return TokenTable::from_pieces(std::vector<std::string>(kVocab, "x"), std::vector<bool>(kVocab, false), false);
}

/// The oracle: one row with the whole prompt, and log(exp(x) / sum(exp)) for every token of the vocabulary.
std::vector<std::vector<double>> log_distributions(const std::vector<TokenId>& prompt) {
    StandInRunner runner(stand_in({{60, 0}}, 1, 200));
    std::vector<BlockId> pages;
    for (BlockId page = 0; page < 60; ++page) pages.push_back(page);
    StepPlan plan;
    plan.tokens = prompt;
    const auto n = static_cast<std::int32_t>(prompt.size());
    plan.rows.push_back({1, 0, 0, 0, n, n, {&pages}});
    runner.execute(plan);
    std::vector<std::vector<double>> all;
    for (std::size_t i = 0; i < prompt.size(); ++i) {
        const std::span<float> logits = runner.logits(0, i);
        double sum = 0;
        for (float logit : logits) sum += std::exp(static_cast<double>(logit));
        std::vector<double> distribution;
        for (float logit : logits) distribution.push_back(static_cast<double>(logit) - std::log(sum));
        all.push_back(std::move(distribution));
    }
    return all;
}

/// Everything that was said to one choice.
struct Answer {
    std::vector<std::optional<SampledToken>> prompt;
    std::vector<TokenId> tokens;
    FinishReason finish = FinishReason::none;
    int finals = 0, chunks = 0;
};
using Answers = std::map<std::pair<SequenceId, int>, Answer>;

void take(EngineCore& core, Answers& answers) {
    for (Delta& delta : core.deltas()) {
        Answer& a = answers[{delta.id, delta.choice}];
        if (!delta.prompt_logprobs.empty()) {
            CHECK_EQ(delta.choice, 0);
            CHECK(a.tokens.empty());  // before the first new token
            ++a.chunks;
        }
        std::ranges::move(delta.prompt_logprobs, std::back_inserter(a.prompt));
        a.tokens.insert(a.tokens.end(), delta.tokens.begin(), delta.tokens.end());
        if (delta.finish_reason == FinishReason::none) continue;
        a.finish = delta.finish_reason;
        ++a.finals;
    }
    core.deltas().clear();
}

EngineRequest request(SequenceId id, int n_prompt, int max_new, int alternatives) {
    EngineRequest r;
    r.id = id;
    std::mt19937 random(static_cast<unsigned>(id % 3));  // shared beginnings
    for (int i = 0; i < n_prompt; ++i) r.prompt.push_back(static_cast<TokenId>(random() % kVocab));
    r.sampling.max_new_tokens = max_new;
    r.sampling.ignore_eos = true;
    r.sampling.prompt_logprobs = alternatives;
    return r;
}

/// Scored and plain requests, with and without new tokens, some with several choices.
std::vector<EngineRequest> workload() {
    std::vector<EngineRequest> all;
    for (int i = 0; i < 24; ++i) {
        EngineRequest r =
            request(static_cast<SequenceId>(i + 1), 1 + i * 29 % 90, i % 4 == 3 ? 0 : 3 + i * 13 % 30, i % 5 == 4 ? -1 : i % 4);
        r.n = i % 6 == 0 ? 3 : 1;
        all.push_back(std::move(r));
    }
    return all;
}

void expect_naive(const EngineRequest& r, const Answer& a) {
    if (r.sampling.prompt_logprobs < 0) return void(CHECK(a.prompt.empty()));
    const auto expected = log_distributions(r.prompt);
    if (!CHECK_EQ(a.prompt.size(), r.prompt.size())) return;
    CHECK(!a.prompt[0].has_value());
    for (std::size_t i = 1; i < r.prompt.size(); ++i) {
        if (!CHECK(a.prompt[i].has_value())) return;
        const SampledToken& got = *a.prompt[i];
        std::vector<double> sorted = expected[i - 1];
        CHECK_EQ(got.token, r.prompt[i]);
        CHECK(std::abs(static_cast<double>(got.logprob) - sorted[static_cast<std::size_t>(got.token)]) < 1e-5);
        CHECK_EQ(got.top_logprobs.size(), static_cast<std::size_t>(r.sampling.prompt_logprobs));
        for (const TokenLogprob& top : got.top_logprobs) {
            CHECK(std::abs(static_cast<double>(top.logprob) - expected[i - 1][static_cast<std::size_t>(top.token)]) < 1e-5);
        }
        std::ranges::sort(sorted, std::greater<>());
        for (std::size_t k = 0; k < got.top_logprobs.size(); ++k) {
            CHECK(std::abs(static_cast<double>(got.top_logprobs[k].logprob) - sorted[k]) < 1e-5);
        }
    }
}

/// Runs the workload, a few new requests a step; the counters at its end.
EngineStats expect_naive(const StandInOptions& options, const EngineConfig& config) {
    EngineCore core(std::make_unique<StandInRunner>(options), table(), config);
    const std::vector<EngineRequest> requests = workload();
    Answers answers;
    std::size_t next = 0;
    for (int step = 0; step < 5000 && (next < requests.size() || core.has_work()); ++step) {
        for (int i = 0; i < 3 && next < requests.size(); ++i) {
            CHECK(core.validate(requests[next]).error == SubmitError::none);
            core.submit(requests[next++]);
        }
        core.step();
        take(core, answers);
        const std::string error = core.scheduler().check();
        if (!CHECK_EQ(error, std::string())) return {};
    }
    CHECK(!core.has_work());
    for (const EngineRequest& r : requests) {
        for (int choice = 0; choice < r.n; ++choice) {
            const Answer& a = answers[{r.id, choice}];
            CHECK_EQ(a.finals, 1);
            CHECK(a.finish == FinishReason::length);
            CHECK_EQ(a.tokens.size(), static_cast<std::size_t>(r.sampling.max_new_tokens));
            if (choice > 0) CHECK(a.prompt.empty());
        }
        expect_naive(r, answers[{r.id, 0}]);
    }
    return core.stats();
}

}  // namespace

TEST(prompt_logprobs_equal_naive) {
    const EngineStats stats = expect_naive(stand_in({{400, 0}}, 16, 128), {});
    CHECK(stats.prefix_hits > 0);  // by the requests that are not scored
    EngineConfig config;
    config.prefix_cache = false;
    expect_naive(stand_in({{400, 0}}, 16, 128), config);
    expect_naive(stand_in({{400, 0}}, 16, 1), {});
    config = {};
    config.max_prefill_chunk = 5;
    expect_naive(stand_in({{400, 0}}, 16, 64), config);
    for (int rows : {1, 2, 17}) expect_naive(stand_in({{400, 0}}, 16, 64, rows), {});
}

TEST(prompt_logprobs_equal_naive_under_preemption) {
    for (const bool prefix_cache : {true, false}) {
        for (int rows : {0, 7}) {
            EngineConfig config;
            config.prefix_cache = prefix_cache;
            CHECK(expect_naive(stand_in({{32, 0}}, 16, 24, rows), config).preemptions > 0);
            CHECK(expect_naive(stand_in({{32, 0}}, 16, 24, rows, false), config).preemptions > 0);
        }
    }
}

TEST(prompt_logprobs_come_in_chunks_of_bounded_size) {
    EngineCore core(std::make_unique<StandInRunner>(stand_in({{100, 0}}, 4, 128, 8)), table(), {});
    const EngineRequest r = request(1, 60, 2, 0);
    core.submit(r);
    Answers answers;
    std::size_t known = 0;
    while (core.has_work()) {
        core.step();
        take(core, answers);
        CHECK(answers[{1, 0}].prompt.size() <= known + 9);  // the first token needs no logits
        known = answers[{1, 0}].prompt.size();
    }
    CHECK_EQ(answers[std::pair(SequenceId{1}, 0)].chunks, 8);
    expect_naive(r, answers[{1, 0}]);
}

TEST(prompt_logprobs_leave_the_prefix_cache_to_others) {
    EngineCore core(std::make_unique<StandInRunner>(stand_in({{100, 0}}, 4, 128)), table(), {});
    Answers answers;
    const auto run = [&](SequenceId id, int alternatives) {
        EngineRequest r = request(3 * id, 41, 2, alternatives);
        core.submit(std::move(r));
        while (core.has_work()) core.step();
        take(core, answers);
        return core.stats();
    };
    CHECK_EQ(run(1, 0).prefix_hits, 0U);
    CHECK_EQ(run(2, 0).prefix_hits, 0U);    // its own logits are needed
    CHECK_EQ(run(3, -1).prefix_hits, 10U);  // all but the page of the last token
    CHECK_EQ(core.stats().cached_prompt_tokens, 40U);
}

TEST(a_prompt_alone_can_be_computed) {
    EngineCore core(std::make_unique<StandInRunner>(stand_in({{60, 0}}, 4, 64)), table(), {});
    Answers answers;
    EngineRequest r = request(1, 200, 0, 1);  // the whole context
    CHECK(core.validate(r).error == SubmitError::none);
    core.submit(r);
    while (core.has_work()) core.step();
    take(core, answers);
    expect_naive(r, answers[{1, 0}]);
    CHECK(answers[std::pair(SequenceId{1}, 0)].tokens.empty());
    CHECK_EQ(core.stats().output_tokens, 0U);
    EngineRequest again = request(4, 200, 0, -1);  // without scores its pages are found
    core.submit(again);
    while (core.has_work()) core.step();
    take(core, answers);
    CHECK(answers[std::pair(SequenceId{4}, 0)].finish == FinishReason::length);
    CHECK_EQ(core.stats().cached_prompt_tokens, 196U);
}

TEST(score_token_survives_odd_rows) {
    const float infinity = std::numeric_limits<float>::infinity();
    std::vector<float> row(kVocab, -infinity);
    CHECK_EQ(score_token(row, 3, 2).logprob, kLowestLogprob);
    CHECK(score_token(row, 3, 2).top_logprobs.empty());
    row[5] = 1;
    row[6] = std::numeric_limits<float>::quiet_NaN();
    CHECK_EQ(score_token(row, 5, 20).logprob, 0.0F);
    CHECK_EQ(score_token(row, 5, 20).top_logprobs.size(), 1U);
    CHECK_EQ(score_token(row, 6, 0).logprob, kLowestLogprob);
    row[7] = infinity;
    CHECK_EQ(score_token(row, 7, 1).logprob, 0.0F);
    CHECK_EQ(score_token(row, -1, 1).logprob, kLowestLogprob);
    CHECK_EQ(score_token(row, kVocab, 1).logprob, kLowestLogprob);
}
