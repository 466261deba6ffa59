// LlamaRunner on a real model, against upstream's unified cache: tfserve_runner_test model.gguf [tolerance]
// make_hybrid.py writes a model of attention and convolution layers.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "llama.h"
#include "runtime/llama_runner.h"
#include "runtime/log.h"
#include "runtime/machine.h"
#include "step_driver.h"

namespace {

using namespace tfserve;
using tfserve::test::Sequence;
using tfserve::test::StepDriver;
using tfserve::test::Want;

int failures = 0;

void expect(bool ok, const std::string& what) {
    std::printf("%s  %s\n", ok ? "ok  " : "FAIL", what.c_str());
    std::fflush(stdout);
    if (!ok) ++failures;
}

using Model = std::shared_ptr<llama_model>;

LlamaRunnerOptions options(const Model& model, bool paged, KvType type) {
    LlamaRunnerOptions o;
    o.paged = paged;
    o.num_blocks.assign(kv_groups(*model, o).size(), 256);
    o.max_num_seqs = 16;
    o.max_batch_tokens = 512;
    o.max_model_len = 2048;
    o.type_k = o.type_v = type;
    return o;
}

std::vector<TokenId> random_tokens(std::mt19937& random, std::int32_t vocab, std::size_t n) {
    std::vector<TokenId> tokens(n);
    for (auto& t : tokens) t = static_cast<TokenId>(random() % static_cast<std::uint32_t>(vocab));
    return tokens;
}

/// Distance of two sets of logits, in standard deviations of the logits.
class Distance {
   public:
    void add(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
        if (a.size() != b.size()) {
            bad_ = true;
            return;
        }
        for (std::size_t r = 0; r < a.size(); ++r) {
            for (std::size_t i = 0; i < a[r].size(); ++i) {
                const double x = a[r][i], y = b[r][i];
                if (!std::isfinite(x)) bad_ = true;
                error_ += (x - y) * (x - y);
                sum_ += y;
                square_ += y * y;
                worst_ = std::max(worst_, std::abs(x - y));
                ++n_;
            }
            ++rows_;
        }
    }
    double rms() const {
        if (bad_ || n_ == 0) return INFINITY;
        const double mean = sum_ / n_;
        return std::sqrt(error_ / n_) / std::sqrt(square_ / n_ - mean * mean);
    }
    std::string text() const {
        char line[160];
        std::snprintf(line, sizeof(line), "%d rows, rms %.2e of a standard deviation, worst %.2e", rows_, rms(), worst_);
        return line;
    }

   private:
    double error_ = 0, sum_ = 0, square_ = 0, worst_ = 0, n_ = 0;
    int rows_ = 0;
    bool bad_ = false;
};

/// Computes the rows of a step one after another.
class OneByOne final : public ModelRunner {
   public:
    explicit OneByOne(ModelRunner& runner) : runner_(runner) {}
    const RunnerCapabilities& capabilities() const override { return runner_.capabilities(); }
    void execute(const StepPlan& plan) override {
        rows_.clear();
        StepPlan one;
        one.released_slots = plan.released_slots;
        for (const PlanRow& row : plan.rows) {
            one.rows = {row};
            one.rows[0].token_offset = 0;
            one.tokens.assign(plan.tokens.begin() + row.token_offset, plan.tokens.begin() + row.token_offset + row.n_tokens);
            runner_.execute(one);
            one.released_slots.clear();
            auto& logits = rows_.emplace_back();
            for (std::int32_t i = 0; i < row.n_logits; ++i) {
                const auto values = runner_.logits(0, static_cast<std::size_t>(i));
                logits.emplace_back(values.begin(), values.end());
            }
        }
    }
    std::span<float> logits(std::size_t row, std::size_t index) override { return rows_.at(row).at(index); }

   private:
    ModelRunner& runner_;
    std::vector<std::vector<std::vector<float>>> rows_;
};

/// The same random steps (chunks of prompts and decodes of several sequences, which come and go) on both runners.
Distance mixed_steps(ModelRunner& tested, ModelRunner& oracle, int n_steps) {
    std::mt19937 random(7);
    StepDriver a(tested, 1), b(oracle, 2);
    const std::int32_t vocab = tested.capabilities().vocab_size;
    struct Pair {
        Sequence a, b;
    };
    std::vector<Pair> live;
    std::vector<SlotId> slots(12);
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<SlotId>(i);
    Distance distance;
    for (int step = 0; step < n_steps; ++step) {
        if (live.size() < 5 || (live.size() < 12 && random() % 3 == 0)) {
            const SlotId slot = slots.back();
            slots.pop_back();
            const auto tokens = random_tokens(random, vocab, 20 + random() % 300);
            live.push_back({a.start(slot, tokens), b.start(slot, tokens)});
        }
        std::shuffle(live.begin(), live.end(), random);
        std::vector<Want> wants_a, wants_b;
        std::int32_t budget = 200;
        for (Pair& p : live) {
            const auto left = static_cast<std::int32_t>(p.a.tokens.size()) - p.a.computed;
            if (left == 0 || budget == 0) continue;
            const bool decode = p.a.computed > 40 && random() % 2 == 0;
            const std::int32_t n = decode ? 1 : std::min({left, budget, static_cast<std::int32_t>(1 + random() % 90)});
            const std::int32_t n_logits = decode ? 1 : static_cast<std::int32_t>(random() % 3) * (n > 2 ? 1 : 0);
            wants_a.push_back({&p.a, n, n_logits});
            wants_b.push_back({&p.b, n, n_logits});
            budget -= n;
        }
        distance.add(a.step(wants_a), b.step(wants_b));
        for (std::size_t i = 0; i < live.size();) {
            if (live[i].a.computed < static_cast<std::int32_t>(live[i].a.tokens.size()) && random() % 40 != 0) {
                ++i;
                continue;
            }
            slots.push_back(live[i].a.slot);
            a.finish(live[i].a);
            b.finish(live[i].b);
            live.erase(live.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }
    return distance;
}

/// A fork shares the pages of its parent and writes to a copy; the oracle computes both sequences from the start.
Distance forks(ModelRunner& tested, ModelRunner& oracle) {
    std::mt19937 random(11);
    StepDriver a(tested, 3), b(oracle, 4);
    Distance distance;
    for (const std::size_t prompt : {16u, 37u, 120u}) {
        const auto tokens = random_tokens(random, tested.capabilities().vocab_size, prompt + 8);
        auto other = tokens;
        for (std::size_t i = prompt; i < other.size(); ++i) other[i] = random_tokens(random, tested.capabilities().vocab_size, 1)[0];
        const auto n = static_cast<std::int32_t>(prompt);
        Sequence parent = a.start(0, tokens), oracle_parent = b.start(0, tokens), oracle_child = b.start(1, other);
        a.step({{&parent, n, 1}});
        b.step({{&oracle_parent, n, 1}});
        b.step({{&oracle_child, n, 1}});
        Sequence child = a.fork(parent, 1);
        child.tokens = other;
        for (int i = 0; i < 8; ++i) {
            distance.add(a.step({{&parent, 1, 1}, {&child, 1, 1}}), b.step({{&oracle_parent, 1, 1}, {&oracle_child, 1, 1}}));
        }
        a.finish(parent);
        a.finish(child);
        b.finish(oracle_parent);
        b.finish(oracle_child);
    }
    return distance;
}

/// Exact in float32. Other types round keys and values: then the paged cache may be off by as much as upstream's own.
void same_as_upstream(const Model& model, KvType type, int n_steps, double tolerance) {
    LlamaRunner tested(model, options(model, true, type)), exact(model, options(model, false, KvType::float32));
    const std::string name = std::string(kv_type_name(type)) + ", kernel " + tested.info().kernel;
    // upstream's pair of caches goes wrong when a hybrid model's step is cut into several batches: one sequence at a time then
    OneByOne alone(exact);
    const Distance mixed = mixed_steps(tested, llama_model_is_hybrid(model.get()) ? static_cast<ModelRunner&>(alone) : exact, n_steps);
    double most = tolerance;
    if (type != KvType::float32) {
        LlamaRunner upstream(model, options(model, false, type)), again(model, options(model, false, KvType::float32));
        // BF16 products round queries and probabilities, too
        const bool rounds_all = type == KvType::bfloat16 && tested.info().kernel == "avx512bf16";
        most = (rounds_all ? 2.5 : 1.5) * mixed_steps(upstream, again, n_steps).rms();
    }
    expect(mixed.rms() < most, name + ": mixed steps: " + mixed.text() + ", allowed " + std::to_string(most));
    LlamaRunner fork_oracle(model, options(model, false, KvType::float32));
    if (!tested.capabilities().pages_are_all) return;
    const Distance forked = forks(tested, fork_oracle);
    expect(forked.rms() < most, name + ": forks: " + forked.text());
}

/// A head's size must be a multiple of the type's 32 entries.
bool takes_q8_0(const Model& model) {
    try {
        LlamaRunner runner(model, options(model, true, KvType::q8_0));
        return true;
    } catch (const RunnerError& e) {
        std::printf("skip  q8_0: %s\n", e.what());
        return false;
    }
}

/// Mixed steps against each sequence computed alone.
void unpaged_steps(const Model& model, int n_steps, double tolerance) {
    LlamaRunner tested(model, options(model, true, KvType::float32)), oracle(model, options(model, false, KvType::float32));
    OneByOne alone(oracle);
    const Distance mixed = mixed_steps(tested, alone, n_steps);
    expect(mixed.rms() < tolerance, "not paged: mixed steps: " + mixed.text());
}

std::uint64_t resident_bytes() {
    std::ifstream in("/proc/self/status");
    for (std::string line; std::getline(in, line);) {
        if (line.rfind("VmRSS:", 0) == 0) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
    }
    return 0;
}

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

void memory_is_committed_on_use(const Model& model) {
    LlamaRunnerOptions o = options(model, true, KvType::float16);
    for (std::size_t g = 0; g < o.num_blocks.size(); ++g) {
        o.num_blocks[g] = static_cast<std::int32_t>((std::uint64_t{4} << 30) / o.num_blocks.size() / kv_groups(*model, o)[g].block_bytes);
    }
    const std::uint64_t before = resident_bytes();
    LlamaRunner runner(model, o);
    const std::uint64_t made = resident_bytes();
    StepDriver driver(runner, StepDriver::kInOrder);  // scattered over the pool, each page would commit a huge page
    std::mt19937 random(1);
    Sequence s = driver.start(0, random_tokens(random, runner.capabilities().vocab_size, 400));
    driver.step({{&s, 400, 1}});
    const std::uint64_t used = resident_bytes();
    char text[160];
    std::snprintf(text, sizeof(text), "a pool of %.1f GiB: %.0f MiB more after making it, %.0f MiB after 400 tokens",
                  static_cast<double>(runner.info().kv_bytes) / (1 << 30),
                  (static_cast<double>(made) - static_cast<double>(before)) / (1 << 20),
                  (static_cast<double>(used) - static_cast<double>(before)) / (1 << 20));
    expect(made < before + (std::uint64_t{64} << 20) && used < before + (std::uint64_t{512} << 20), text);
}

void graphs_and_threads(const Model& model) {
    LlamaRunnerOptions o = options(model, true, KvType::float16);
    o.n_threads = std::max(2, usable_cores());
    LlamaRunner runner(model, o);
    StepDriver driver(runner, 6);
    std::mt19937 random(2);
    std::vector<Sequence> all;
    for (SlotId i = 0; i < 4; ++i) all.push_back(driver.start(i, random_tokens(random, runner.capabilities().vocab_size, 200)));
    for (auto& s : all) driver.step({{&s, 60 + s.slot, 0}});
    const std::int32_t reused = runner.graphs_reused();
    std::vector<Want> wants;
    for (auto& s : all) wants.push_back({&s, 1, 1});
    for (int i = 0; i < 40; ++i) driver.step(wants);
    expect(runner.graphs_reused() - reused >= 37,
           "decode steps reuse the graph: " + std::to_string(runner.graphs_reused() - reused) + " of 40");

    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const double before = cpu_seconds();
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const double used = cpu_seconds() - before;
    expect(used < 0.02, "an idle runner uses " + std::to_string(used * 100) + " % of a core");
}

bool refuses(const std::function<void()>& action) {
    try {
        action();
    } catch (const RunnerError&) {
        return true;
    } catch (const std::invalid_argument&) {
        return true;
    }
    return false;
}

void errors(const Model& model, bool paged) {
    const std::string kind = paged ? "paged: " : "unpaged: ";
    LlamaRunner runner(model, options(model, paged, KvType::float16));
    StepDriver driver(runner, 8);
    std::mt19937 random(3);
    const auto tokens = random_tokens(random, runner.capabilities().vocab_size, 50);
    Sequence s = driver.start(0, tokens);
    driver.step({{&s, 20, 1}});

    StepPlan plan;
    plan.tokens = {runner.capabilities().vocab_size + 5};
    plan.rows = {{0, 0, 20, 0, 1, 1, {}}};
    for (const auto& table : s.tables) plan.rows[0].tables.push_back(&table);
    expect(refuses([&] { runner.execute(plan); }), kind + "a token outside of the vocabulary is refused");
    if (paged) {
        plan.tokens = {1};
        for (std::size_t g = 0; g < s.tables.size(); ++g) {
            const std::string group = " (group " + std::to_string(g) + ")";
            std::vector<BlockId> bad = {s.tables[g][0], 1 << 20};
            const auto* good = std::exchange(plan.rows[0].tables[g], &bad);
            expect(refuses([&] { runner.execute(plan); }), kind + "a page outside of the pool is refused" + group);
            bad[1] = kNoBlock;
            expect(refuses([&] { runner.execute(plan); }), kind + "a page that was given back is refused" + group);
            bad.resize(1);
            expect(refuses([&] { runner.execute(plan); }), kind + "a table that is too short is refused" + group);
            plan.rows[0].tables[g] = good;
        }
        plan.copies = {{static_cast<std::int32_t>(s.tables.size()), 0, 1, 4}};
        expect(refuses([&] { runner.execute(plan); }), kind + "a copy in a group that is not there is refused");
        plan.copies.clear();
    }
    plan.rows[0].slot = runner.capabilities().max_num_seqs;
    expect(refuses([&] { runner.execute(plan); }), kind + "a slot out of range is refused");

    LlamaRunnerOptions o = options(model, paged, KvType::float16);
    o.block_size = 12;
    expect(refuses([&] { LlamaRunner r(model, o); }), kind + "a block size that is no power of two is refused");

    // the failed step of this sequence left nothing behind; a recurrent state is gone with it
    if (llama_model_is_hybrid(model.get())) return;
    const auto after = driver.step({{&s, 20, 1}});
    LlamaRunner fresh(model, options(model, paged, KvType::float16));
    StepDriver other(fresh, 9);
    Sequence t = other.start(0, tokens);
    other.step({{&t, 20, 1}});
    Distance d;
    d.add(after, other.step({{&t, 20, 1}}));
    expect(d.rms() < 1e-3, kind + "a failed step leaves the sequence as it was: " + d.text());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: tfserve_runner_test model.gguf [tolerance]\n");
        return 2;
    }
    const double tolerance = argc > 2 ? std::atof(argv[2]) : 1e-4;
    llama_backend_init();
    set_log_level(LogLevel::off);  // refusals are logged, too
    capture_llama_log();
    llama_model_params params = llama_model_default_params();
    const Model model(llama_model_load_from_file(argv[1], params), llama_model_free);
    if (!model) return 2;
    const int n_steps = llama_model_n_params(model.get()) > 50'000'000 ? 8 : 60;
    const bool paged = LlamaRunner(model, options(model, true, KvType::float16)).info().paged;
    std::printf("the model's memory %s paged", paged ? "is" : "is not");
    for (const KvGroupShape& group : kv_groups(*model, {})) std::printf(", window %d", group.window);
    std::printf("\n");
    if (paged) {
        for (const KvType type : {KvType::float32, KvType::float16, KvType::bfloat16}) same_as_upstream(model, type, n_steps, tolerance);
        if (takes_q8_0(model)) same_as_upstream(model, KvType::q8_0, n_steps, tolerance);
        memory_is_committed_on_use(model);
        graphs_and_threads(model);
        errors(model, true);
    } else {
        unpaged_steps(model, n_steps, tolerance);
    }
    errors(model, false);
    std::printf("%s\n", failures == 0 ? "passed" : "FAILED");
    return failures == 0 ? 0 : 1;
}
