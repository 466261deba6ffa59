#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/sample_pool.h"
#include "engine/stand_in_runner.h"
#include "testing.h"

using namespace tfserve;
using namespace std::chrono_literals;

namespace {

constexpr int kVocab = 50;

std::shared_ptr<const TokenTable> table(int vocab = kVocab) {
    std::vector<std::string> pieces;
    for (int i = 0; i < vocab; ++i)
        pieces.push_back(std::string(1, static_cast<char>('A' + i % 26)) + static_cast<char>('a' + i / 26 % 26));
    return TokenTable::from_pieces(pieces, std::vector<bool>(pieces.size(), false), false);
}

RunnerCapabilities capabilities(std::vector<KvGroupSpec> groups = {{400, 0}}, int seqs = 32, int budget = 256) {
    RunnerCapabilities c;
    c.block_size = 4;
    c.groups = std::move(groups);
    c.max_num_seqs = seqs;
    c.max_batch_tokens = budget;
    c.max_model_len = 300;
    c.vocab_size = kVocab;
    return c;
}

/// Passes on to a stand-in, but for the steps that a test wants to see fail.
class FailingRunner : public ModelRunner {
   public:
    FailingRunner(StandInOptions options, std::function<void(const StepPlan&)> before)
        : inner_(std::move(options)), before_(std::move(before)) {}
    const RunnerCapabilities& capabilities() const override { return inner_.capabilities(); }
    void execute(const StepPlan& plan) override {
        if (before_) before_(plan);
        inner_.execute(plan);
    }
    std::span<float> logits(std::size_t row, std::size_t index) override { return inner_.logits(row, index); }

   private:
    StandInRunner inner_;
    std::function<void(const StepPlan&)> before_;
};

struct Result {
    std::vector<TokenId> tokens;
    std::string text;
    FinishReason finish = FinishReason::none;
    int finals = 0;
    int cached = 0;
    std::size_t logprobs = 0;
    TokenId stop_token = -1;
    int stop_string = -1;
    std::string error;
    bool same_as(const Result& other) const { return tokens == other.tokens && text == other.text && finish == other.finish; }
};
using Key = std::pair<SequenceId, int>;
using Results = std::map<Key, Result>;

/// An engine on a stand-in runner, and what it has said.
class Fixture {
   public:
    explicit Fixture(RunnerCapabilities c, EngineConfig config = {}, std::chrono::microseconds delay = 0us,
                     std::function<void(const StepPlan&)> before = {}) {
        StandInOptions options;
        options.capabilities = std::move(c);
        options.base_delay = delay;
        options.read_history = true;
        engine = std::make_unique<Engine>(std::make_unique<FailingRunner>(options, std::move(before)),
                                          table(options.capabilities.vocab_size), config, [this] {
                                              const std::lock_guard lock(mutex_);
                                              ++wakes;
                                              woken_ = true;
                                              changed_.notify_one();
                                          });
    }

    /// Waits for all answers to the requests that were accepted.
    const Results& wait(std::size_t n_answers) {
        const auto end = std::chrono::steady_clock::now() + 60s;
        while (n_finished() < n_answers) {
            {
                std::unique_lock lock(mutex_);
                if (!changed_.wait_until(lock, end, [this] { return woken_; })) {
                    tfserve::testing::report(__FILE__, __LINE__, "the engine does not answer");
                    throw tfserve::testing::Abandoned{};
                }
                woken_ = false;
            }
            drain();
        }
        return results;
    }
    void drain() {
        for (Delta& delta : engine->take()) {
            Result& r = results[{delta.id, delta.choice}];
            r.tokens.insert(r.tokens.end(), delta.tokens.begin(), delta.tokens.end());
            r.text += delta.text;
            r.logprobs += delta.logprobs.size();
            r.cached = delta.num_cached_tokens;
            if (r.finals > 0) tfserve::testing::report(__FILE__, __LINE__, "a delta after the last one");
            if (std::cmp_not_equal(delta.num_output_tokens, r.tokens.size()))
                tfserve::testing::report(__FILE__, __LINE__, "output tokens are miscounted");
            if (delta.finish_reason == FinishReason::none) continue;
            r.finish = delta.finish_reason;
            r.stop_token = delta.stop_token;
            r.stop_string = delta.stop_string;
            r.error = delta.error;
            ++r.finals;
        }
    }
    std::size_t n_finished() const {
        return static_cast<std::size_t>(std::ranges::count_if(results, [](const auto& entry) { return entry.second.finals > 0; }));
    }
    /// After everything has ended: no page is referenced.
    void check_idle() const {
        EngineStats stats;
        for (int i = 0; i < 2000; ++i) {
            stats = engine->stats();
            if (stats.running + stats.waiting == 0) break;
            std::this_thread::sleep_for(1ms);
        }
        CHECK_EQ(stats.running + stats.waiting, 0);
        CHECK_EQ(stats.blocks_free + stats.blocks_cached, stats.blocks_total);
    }

    Results results;
    int wakes = 0;

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool woken_ = false;

   public:
    std::unique_ptr<Engine> engine;  // last: its thread uses the above
};

EngineRequest request(SequenceId id, int n_prompt, int max_new, unsigned seed = 0) {
    EngineRequest r;
    r.id = id;
    std::mt19937 random(seed);
    for (int i = 0; i < n_prompt; ++i) r.prompt.push_back(static_cast<TokenId>(random() % kVocab));
    r.sampling.max_new_tokens = max_new;
    r.sampling.ignore_eos = true;
    return r;
}

/// Mixed lengths, shared prefixes, greedy and sampled, some with several choices.
std::vector<EngineRequest> workload(int max_choices = 3) {
    std::vector<EngineRequest> all;
    for (int i = 0; i < 28; ++i) {
        EngineRequest r = request(static_cast<SequenceId>(i + 1), 3 + i * 37 % 90, 5 + i * 13 % 40,
                                  static_cast<unsigned>(i % 4));  // seeds: 4 families of prefixes
        r.prompt.back() = static_cast<TokenId>(i);
        r.sampling.do_sample = i % 2 == 1;
        r.sampling.temperature = 1.5F;
        r.sampling.seed = static_cast<std::uint64_t>(1000 + i);
        r.sampling.repetition_penalty = i % 3 == 0 ? 1.2F : 1.0F;
        r.n = i % 5 == 0 ? max_choices : 1;
        r.sampling.want_logprobs = i % 4 == 0;
        all.push_back(r);
    }
    return all;
}

std::size_t answers(const std::vector<EngineRequest>& requests) {
    return std::accumulate(requests.begin(), requests.end(), std::size_t{0},
                           [](std::size_t n, const auto& r) { return n + static_cast<std::size_t>(r.n); });
}

/// One after the other, nothing shared.
const Results& alone() {
    static const Results reference = [] {
        Results all;
        EngineConfig config;
        config.prefix_cache = false;
        Fixture fixture(capabilities(), config);
        for (const EngineRequest& r : workload()) {
            fixture.engine->submit(r);
            all = fixture.wait(fixture.n_finished() + static_cast<std::size_t>(r.n));
        }
        return all;
    }();
    return reference;
}

void expect_as_alone(const char* what, RunnerCapabilities c, EngineConfig config,
                     const std::function<void(const EngineStats&)>& also = {}) {
    Fixture fixture(std::move(c), config);
    const std::vector<EngineRequest> requests = workload();
    for (const EngineRequest& r : requests) CHECK(fixture.engine->submit(r).error == SubmitError::none);
    fixture.wait(answers(requests));
    for (const auto& [key, expected] : alone()) {
        const Result& r = fixture.results[key];
        if (!r.same_as(expected) || r.logprobs != expected.logprobs) {
            tfserve::testing::report(__FILE__, __LINE__,
                                     std::string(what) + ": request " + std::to_string(key.first) + " choice " +
                                         std::to_string(key.second) + " is " + tfserve::testing::shown(r.tokens) + ", alone it is " +
                                         tfserve::testing::shown(expected.tokens) + " " + r.error);
        }
    }
    fixture.check_idle();
    if (also) also(fixture.engine->stats());
}

}  // namespace

TEST(engine_answers_alone) {
    const Results& results = alone();
    for (const EngineRequest& r : workload()) {
        for (int choice = 0; choice < r.n; ++choice) {
            const Result& result = results.at({r.id, choice});
            CHECK(result.finish == FinishReason::length);
            CHECK_EQ(result.tokens.size(), static_cast<std::size_t>(r.sampling.max_new_tokens));
            CHECK_EQ(result.text.size(), 2 * result.tokens.size());
            CHECK_EQ(result.logprobs, r.sampling.want_logprobs ? result.tokens.size() : 0);
        }
        // choices of a sampled request differ, greedy ones do not
        if (r.n > 1) CHECK_EQ(results.at({r.id, 0}).tokens == results.at({r.id, 1}).tokens, !r.sampling.do_sample);
    }
}

TEST(engine_batch_changes_nothing) {
    expect_as_alone("batch", capabilities(), {}, [](const EngineStats& stats) {
        CHECK(stats.prefix_hits > 0);
        CHECK(stats.block_copies > 0);
        CHECK(stats.steps > 0 && stats.last_step_end_s > 0);
        CHECK_EQ(stats.preemptions, 0U);
    });
    EngineConfig config;
    config.prefix_cache = false;
    expect_as_alone("batch without prefix cache", capabilities(), config,
                    [](const EngineStats& stats) { CHECK_EQ(stats.prefix_hits, 0U); });
    config.continuous_batching = false;
    expect_as_alone("one at a time", capabilities(), config);
    config = {};
    config.max_prefill_chunk = 5;
    expect_as_alone("small chunks", capabilities(), config);
}

TEST(engine_preemption_changes_nothing) {
    for (const bool prefix_cache : {true, false}) {
        EngineConfig config;
        config.prefix_cache = prefix_cache;
        for (int blocks : {36, 45, 60}) {
            expect_as_alone("tiny pool", capabilities({{blocks, 0}}, 16, 64), config,
                            [](const EngineStats& stats) { CHECK(stats.preemptions > 0); });
        }
    }
}

TEST(engine_any_budget_changes_nothing) {
    for (int budget : {1, 16, 17, 31, 64, 100, 1000}) expect_as_alone("budget", capabilities({{300, 0}}, 32, budget), {});
}

TEST(engine_windows_change_nothing) {
    // a second group whose window sees everything reads the same history; it only has to hold it
    const auto twice = [](int blocks) { return capabilities({{blocks, 0}, {blocks, 0}}); };
    Fixture reference(twice(400), {});
    const std::vector<EngineRequest> requests = workload();
    for (const EngineRequest& r : requests) reference.engine->submit(r);
    reference.wait(answers(requests));
    for (const bool prefix_cache : {true, false}) {
        EngineConfig config;
        config.prefix_cache = prefix_cache;
        Fixture window(capabilities({{45, 0}, {30, 24}}, 16, 20), config);
        Fixture wide(capabilities({{400, 0}, {400, 24}}, 16, 256), config);
        for (const EngineRequest& r : requests) {
            CHECK(window.engine->submit(r).error == SubmitError::none);
            CHECK(wide.engine->submit(r).error == SubmitError::none);
        }
        window.wait(answers(requests));
        wide.wait(answers(requests));
        for (const auto& [key, expected] : wide.results) CHECK(window.results[key].same_as(expected));
        CHECK(window.engine->stats().preemptions > 0);
        window.check_idle();
        wide.check_idle();
    }
}

TEST(engine_without_pages) {
    RunnerCapabilities c = capabilities({{60, 0}}, 8, 64);
    c.paged = false;
    expect_as_alone("a runner without pages", c, {}, [](const EngineStats& stats) {
        CHECK_EQ(stats.prefix_hits, 0U);
        CHECK_EQ(stats.block_copies, 0U);
        CHECK(stats.preemptions > 0);
    });
}

TEST(engine_prefix_hits_are_counted) {
    Fixture fixture(capabilities());
    EngineRequest r = request(1, 41, 4, 7);
    fixture.engine->submit(r);
    fixture.wait(1);
    r.id = 2;
    fixture.engine->submit(r);
    fixture.wait(2);
    r.id = 3;
    r.cache_salt = "somebody else";
    fixture.engine->submit(r);
    fixture.wait(3);
    CHECK_EQ(fixture.results[Key(1, 0)].cached, 0);
    CHECK_EQ(fixture.results[Key(2, 0)].cached, 40);
    CHECK_EQ(fixture.results[Key(3, 0)].cached, 0);
    CHECK(fixture.results[Key(1, 0)].same_as(fixture.results[Key(2, 0)]));
    const EngineStats stats = fixture.engine->stats();
    CHECK_EQ(stats.prompt_tokens, 123U);
    CHECK_EQ(stats.cached_prompt_tokens, 40U);
    CHECK_EQ(stats.prefix_queries, 30U);
    CHECK_EQ(stats.prefix_hits, 10U);
    CHECK_EQ(stats.output_tokens, 12U);
}

TEST(engine_ends_for_each_reason) {
    Fixture fixture(capabilities());
    const Result whole = (fixture.engine->submit(request(1, 10, 30, 1)), fixture.wait(1).at({1, 0}));
    const TokenId eos = whole.tokens[7];
    const auto first = static_cast<std::size_t>(std::ranges::find(whole.tokens, eos) - whole.tokens.begin());

    EngineRequest r = request(2, 10, 30, 1);  // an end-of-sequence token: counted, its text not sent
    r.sampling.ignore_eos = false;
    r.sampling.eos_token_ids = {eos};
    fixture.engine->submit(r);
    const Result by_eos = fixture.wait(2).at({2, 0});
    CHECK(by_eos.finish == FinishReason::stop);
    CHECK_EQ(by_eos.stop_token, eos);
    CHECK_EQ(by_eos.tokens.size(), first + 1);
    CHECK_EQ(by_eos.text, whole.text.substr(0, 2 * first));

    r.id = 3;
    r.sampling.ignore_eos = true;
    fixture.engine->submit(r);
    CHECK(fixture.wait(3).at({3, 0}).same_as(whole));

    r = request(4, 10, 30, 1);  // a stop string across a token border
    r.sampling.stop = {"never seen", whole.text.substr(9, 3)};
    fixture.engine->submit(r);
    const Result by_stop = fixture.wait(4).at({4, 0});
    CHECK(by_stop.finish == FinishReason::stop);
    CHECK_EQ(by_stop.stop_string, 1);
    CHECK_EQ(by_stop.text, whole.text.substr(0, whole.text.find(r.sampling.stop[1])));

    fixture.engine->submit(request(5, 290, 1000, 2));  // the model's context
    const Result by_length = fixture.wait(5).at({5, 0});
    CHECK(by_length.finish == FinishReason::length);
    CHECK_EQ(by_length.tokens.size(), 10U);

    Fixture small(capabilities({{5, 0}}));  // the whole pool
    small.engine->submit(request(1, 10, 1000, 2));
    const Result by_pool = small.wait(1).at({1, 0});
    CHECK(by_pool.finish == FinishReason::length);
    CHECK_EQ(by_pool.tokens.size(), 10U);
    CHECK_EQ(small.engine->stats().preemptions, 0U);
    small.check_idle();
}

TEST(engine_refuses_what_can_never_run) {
    Fixture fixture(capabilities({{20, 0}}));
    const auto error = [&](EngineRequest r) {
        const SubmitResult result = fixture.engine->submit(std::move(r));
        CHECK_EQ(result.message.empty(), result.error == SubmitError::none);
        return result.error;
    };
    CHECK(error(request(1, 300, 1)) == SubmitError::too_long);
    CHECK(error(request(1, 299, 1)) == SubmitError::does_not_fit);
    CHECK(error(request(1, 80, 1)) == SubmitError::does_not_fit);
    CHECK(error(request(1, 0, 1)) == SubmitError::invalid);
    CHECK(error(request(0, 4, 1)) == SubmitError::invalid);
    CHECK(error(request(1, 4, -1)) == SubmitError::invalid);
    CHECK(error(request(1, 81, 0)) == SubmitError::does_not_fit);
    CHECK(error(request(1, 301, 0)) == SubmitError::too_long);
    EngineRequest r = request(1, 4, 1);
    r.prompt[2] = kVocab;
    CHECK(error(r) == SubmitError::invalid);
    r.prompt[2] = -1;
    CHECK(error(r) == SubmitError::invalid);
    r = request(1, 4, 1);
    r.n = 0;
    CHECK(error(r) == SubmitError::invalid);
    r.n = 1'000'000'000;
    CHECK(error(r) == SubmitError::invalid);
    r = request(1, 4, 1);
    r.sampling.prompt_logprobs = 21;
    CHECK(error(r) == SubmitError::invalid);
    r.sampling.prompt_logprobs = -2;
    CHECK(error(r) == SubmitError::invalid);
    CHECK(error(request(1, 79, 5)) == SubmitError::none);
    CHECK_EQ(fixture.wait(1).at({1, 0}).tokens.size(), 1U);
    CHECK_THROWS(Fixture(capabilities({})), std::invalid_argument);
}

TEST(engine_bounds_who_waits) {
    EngineConfig config;
    config.max_waiting = 3;
    Fixture fixture(capabilities({{400, 0}}, 2, 64), config, 2ms);
    int accepted = 0, refused = 0;
    for (SequenceId id = 1; id <= 20; ++id) {
        const SubmitResult result = fixture.engine->submit(request(id, 5, 200, 1));
        ++(result.error == SubmitError::none ? accepted : refused);
        if (result.error != SubmitError::none) CHECK(result.error == SubmitError::queue_full);
        std::this_thread::sleep_for(1ms);
    }
    CHECK_EQ(accepted, 5);  // 2 run, 3 wait
    CHECK_EQ(refused, 15);
    CHECK(fixture.engine->submit(request(1, 5, 5)).error == SubmitError::invalid);  // its id is live
    for (SequenceId id = 1; id <= 20; ++id) fixture.engine->abort(id);
    fixture.wait(5);
    fixture.check_idle();
    CHECK(fixture.engine->submit(request(1, 5, 5)).error == SubmitError::none);
    fixture.wait(5);
}

TEST(engine_bounds_the_tokens_that_wait) {
    EngineConfig config;
    config.max_waiting_tokens = 100;
    Fixture fixture(capabilities({{400, 0}}, 2, 64), config, 2ms);
    int accepted = 0;
    for (SequenceId id = 1; id <= 12; ++id) {
        const SubmitResult result = fixture.engine->submit(request(id, 40, 200, 1));
        if (result.error == SubmitError::none)
            ++accepted;
        else
            CHECK(result.error == SubmitError::queue_full);
        std::this_thread::sleep_for(5ms);
    }
    CHECK_EQ(accepted, 4);  // 2 run, 2 of 40 tokens wait
    for (SequenceId id = 1; id <= 12; ++id) fixture.engine->abort(id);
    fixture.wait(4);
    fixture.check_idle();
    // who finds a free slot does not wait
    CHECK(fixture.engine->submit(request(20, 150, 5)).error == SubmitError::none);
    fixture.wait(5);
}

TEST(engine_aborts_at_every_stage) {
    Fixture fixture(capabilities({{60, 0}}, 4, 16), {}, 300us);
    std::mt19937 random(3);
    SequenceId id = 0;
    std::size_t n_answers = 0;
    for (int round = 0; round < 12; ++round) {
        std::vector<SequenceId> live;
        for (int i = 0; i < 12; ++i) {
            EngineRequest r = request(++id, 1 + static_cast<int>(random() % 120), 1 + static_cast<int>(random() % 60), random() % 4);
            r.n = random() % 4 == 0 ? 3 : 1;
            n_answers += static_cast<std::size_t>(r.n);
            REQUIRE(fixture.engine->submit(r).error == SubmitError::none);
            live.push_back(id);
        }
        std::ranges::shuffle(live, random);
        for (SequenceId victim : live) {
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 1500));
            if (random() % 8 != 0) fixture.engine->abort(victim);
        }
        fixture.engine->abort(999'999);  // nobody
        fixture.drain();
    }
    fixture.wait(n_answers);
    fixture.check_idle();
    for (const auto& [key, r] : fixture.results) CHECK(r.finals == 1 && r.finish != FinishReason::error);
    const EngineStats stats = fixture.engine->stats();
    CHECK(stats.aborts_waiting > 0);
    CHECK(stats.aborts_prefill > 0);
    CHECK(stats.aborts_decode > 0);
}

TEST(engine_survives_a_failing_runner) {
    int step = 0;
    Fixture fixture(capabilities({{60, 0}}, 8, 32), {}, 0us, [&step](const StepPlan&) {
        ++step;
        if (step % 7 == 0) throw RunnerError("the device is on fire");
        if (step % 19 == 0) throw std::bad_alloc();
    });
    const std::vector<EngineRequest> requests = workload();
    for (const EngineRequest& r : requests) fixture.engine->submit(r);
    fixture.wait(answers(requests));
    int errors = 0, good = 0;
    for (const auto& [key, r] : fixture.results) {
        CHECK_EQ(r.finals, 1);
        if (r.finish == FinishReason::error) {
            CHECK(!r.error.empty());
            ++errors;
        } else {
            CHECK(r.same_as(alone().at(key)));
            ++good;
        }
    }
    CHECK(errors > 0 && good > 0);
    fixture.check_idle();
}

TEST(engine_wakes_once_until_taken) {
    Fixture fixture(capabilities());
    fixture.engine->submit(request(1, 5, 100));
    for (int i = 0; i < 2000 && fixture.engine->stats().output_tokens < 100; ++i) std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(2ms);
    CHECK_EQ(fixture.wakes, 1);
    fixture.wait(1);
    CHECK_EQ(fixture.results[Key(1, 0)].tokens.size(), 100U);
    // an idle engine sleeps
    const std::clock_t before = std::clock();
    const std::uint64_t steps = fixture.engine->stats().steps;
    std::this_thread::sleep_for(100ms);
    CHECK(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC < 0.05);
    CHECK_EQ(fixture.engine->stats().steps, steps);
}

TEST(engine_can_be_destroyed_at_any_time) {
    for (int i = 0; i < 40; ++i) {
        Fixture fixture(capabilities({{40, 0}}, 4, 16), {}, 100us);
        for (SequenceId id = 1; id <= 10; ++id) fixture.engine->submit(request(id, 30, 50, 1));
        std::this_thread::sleep_for(std::chrono::microseconds(100 * i));
    }
}

TEST(engine_samples_large_rows_together) {
    RunnerCapabilities c = capabilities({{100, 0}}, 8, 64);
    c.vocab_size = 70'000;
    const auto run = [&](bool together) {
        Fixture fixture(c);
        for (SequenceId id = 1; id <= 6; ++id) {
            EngineRequest r = request(id, 5, 6, static_cast<unsigned>(id));
            r.sampling.do_sample = id % 2 == 0;
            r.sampling.seed = id;
            fixture.engine->submit(r);
            if (!together) fixture.wait(static_cast<std::size_t>(id));
        }
        return fixture.wait(6);
    };
    const Results batch = run(true);
    for (const auto& [key, expected] : run(false)) CHECK(batch.at(key).same_as(expected));
}

TEST(sample_pool_does_every_job_once) {
    SamplePool pool;
    for (int round = 0; round < 3000; ++round) {
        std::vector<int> done(static_cast<std::size_t>(round % 9));
        pool.run(done.size(), [&](std::size_t i) { ++done[i]; });
        for (int n : done) REQUIRE(n == 1);
    }
}
