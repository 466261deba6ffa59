#include "engine/scheduler.h"

#include <algorithm>
#include <string>
#include <vector>

#include "scheduler_world.h"
#include "test_peer.h"
#include "testing.h"

using namespace tfserve;
using namespace tfserve::test;

namespace {

RunnerCapabilities capabilities(std::vector<KvGroupSpec> groups, int seqs, int budget, int max_len = 1000, bool paged = true,
                                int prompt_logits = 0) {
    RunnerCapabilities c;
    c.paged = paged;
    c.block_size = 4;
    c.groups = std::move(groups);
    c.max_num_seqs = seqs;
    c.max_batch_tokens = budget;
    c.max_model_len = max_len;
    c.vocab_size = 6;
    c.max_prompt_logits = prompt_logits;
    return c;
}

Sequence sequence(SequenceId id, int n_prompt, int max_new, int priority = 0) {
    Sequence s;
    s.id = id;
    s.tokens.assign(static_cast<std::size_t>(n_prompt), static_cast<TokenId>(id % 6));
    s.num_prompt_tokens = n_prompt;
    s.max_tokens = n_prompt + max_new;
    s.arrival = id;
    s.priority = priority;
    return s;
}

/// Computes the step and appends a token to every sequence that sampled one; ends those that are full.
void finish_step(Scheduler& scheduler, const StepPlan& plan) {
    scheduler.commit();
    for (const PlanRow& row : plan.rows) {
        if (row.n_logits == 0) continue;
        const Sequence& s = scheduler.sequence(row.sequence);
        if (s.num_tokens() + 1 >= s.max_tokens) {
            scheduler.finish(row.sequence, KeepPages::all);
        } else {
            scheduler.append(row.sequence, 1);
        }
    }
}

std::vector<std::pair<SequenceId, int>> shape(const StepPlan& plan) {
    std::vector<std::pair<SequenceId, int>> rows;
    for (const PlanRow& row : plan.rows) rows.emplace_back(row.sequence, row.n_tokens);
    return rows;
}
using Shape = std::vector<std::pair<SequenceId, int>>;

}  // namespace

TEST(scheduler_equals_naive_over_random_steps) {
    struct Layout {
        RunnerCapabilities capabilities;
        SchedulerConfig config;
    };
    const HashKey key{5, 6};
    RunnerCapabilities slot_state = capabilities({{24, 0}, {16, 9}}, 6, 20);  // pages, and a state that stays with the slot
    slot_state.pages_are_all = false;
    const std::vector<Layout> layouts{
        {capabilities({{24, 0}}, 6, 16), {true, true, 0, key}},
        {capabilities({{12, 0}}, 8, 9), {true, true, 3, key}},
        {capabilities({{40, 0}}, 4, 3), {true, true, 0, key}},
        {capabilities({{30, 0}, {16, 9}}, 6, 20), {true, true, 4, key}},
        {capabilities({{14, 10}}, 5, 16), {true, true, 0, key}},
        {capabilities({{30, 0}, {4, 12}}, 5, 16, 60), {true, true, 0, key}},  // a window larger than its pool
        {capabilities({{16, 0}}, 6, 16), {false, true, 0, key}},
        {capabilities({{16, 0}}, 6, 16, 40, false), {true, true, 5, key}},
        {capabilities({{16, 0}}, 6, 16), {true, false, 0, key}},
        {capabilities({{3, 0}}, 6, 16), {true, true, 0, key}},
        {slot_state, {true, true, 4, key}},
        {capabilities({{20, 0}}, 6, 16, 1000, true, 5), {true, true, 0, key}},  // prompts that are scored
        {capabilities({{30, 0}, {16, 9}}, 6, 20, 1000, true, 1), {true, true, 4, key}},
        {capabilities({{16, 0}}, 6, 16, 40, false, 7), {true, true, 0, key}},
    };
    std::uint64_t preemptions = 0, evictions = 0, copies = 0, hits = 0;
    int forks = 0, full = 0, steps = 0;
    for (std::size_t i = 0; i < layouts.size(); ++i) {
        SchedulerWorld world({layouts[i].capabilities, layouts[i].config, static_cast<unsigned>(i + 1)});
        std::string error;
        for (int step = 0; step < 11'000 && error.empty(); ++step) {
            error = world.step();
            if (step % 2000 == 1999 && error.empty()) {
                error = world.drain();
                world.arrivals = true;
            }
        }
        if (error.empty()) error = world.drain();
        if (!error.empty()) error = "layout " + std::to_string(i) + ", after " + std::to_string(world.steps) + " steps: " + error;
        if (!CHECK_EQ(error, std::string())) return;
        const KvManager& kv = world.scheduler.kv();
        for (std::int32_t g = 0; g < kv.num_groups(); ++g) {
            CHECK_EQ(kv.available(g), kv.pool(g).num_blocks());  // free + cached = all
            evictions += kv.pool(g).evictions();
        }
        preemptions += world.scheduler.preemptions();
        copies += kv.block_copies();
        hits += kv.prefix_hits();
        forks += world.forks;
        full += world.finished_in_full;
        steps += world.steps;
    }
    CHECK(steps >= 100'000);
    CHECK(preemptions > 1000);
    CHECK(evictions > 1000);
    CHECK(copies > 1000);
    CHECK(hits > 1000);
    CHECK(forks > 1000);
    CHECK(full > 1000);
}

TEST(scheduler_serves_decodes_first_then_chunks) {
    Scheduler scheduler(capabilities({{100, 0}}, 4, 10), {true, true, 0, {1, 1}});
    scheduler.add(sequence(1, 4, 10));
    scheduler.add(sequence(2, 20, 10));
    CHECK_EQ(shape(scheduler.schedule()) == (Shape{{1, 4}, {2, 6}}), true);
    finish_step(scheduler, scheduler.schedule());  // what schedule() gives before a commit is the same again
    CHECK(shape(scheduler.schedule()) == (Shape{{1, 1}, {2, 9}}));
}

TEST(scheduler_limits_prompt_tokens_beside_decodes) {
    Scheduler scheduler(capabilities({{100, 0}}, 4, 10), {true, true, 3, {1, 1}});
    scheduler.add(sequence(1, 4, 10));
    finish_step(scheduler, scheduler.schedule());
    scheduler.add(sequence(2, 20, 10));
    CHECK(shape(scheduler.schedule()) == (Shape{{1, 1}, {2, 3}}));
    scheduler.commit();
    scheduler.finish(1, KeepPages::all);
    CHECK(shape(scheduler.schedule()) == (Shape{{2, 10}}));
}

TEST(scheduler_preempts_the_youngest_and_readmits_it_first) {
    Scheduler scheduler(capabilities({{6, 0}}, 4, 32), {false, true, 0, {1, 1}});
    for (SequenceId id : {1, 2}) scheduler.add(sequence(id, 7, 40));
    scheduler.add(sequence(3, 5, 5));
    std::vector<SequenceId> ended;
    bool preempted = false;
    for (int step = 0; step < 200 && scheduler.has_work(); ++step) {
        const StepPlan& plan = scheduler.schedule();
        preempted = preempted || scheduler.preemptions() > 0;
        for (SequenceId id : {1, 2}) {
            if (!scheduler.contains(id)) continue;
            // 3 came last: it never runs while 1 or 2 waits
            if (scheduler.contains(3) && scheduler.sequence(3).status == SequenceStatus::running) {
                CHECK(scheduler.sequence(id).status == SequenceStatus::running);
            }
        }
        finish_step(scheduler, plan);
        for (SequenceId id : {1, 2, 3}) {
            if (!scheduler.contains(id) && std::ranges::find(ended, id) == ended.end()) ended.push_back(id);
        }
        REQUIRE(scheduler.check().empty());
    }
    CHECK(preempted);
    CHECK(ended == (std::vector<SequenceId>{1, 2, 3}));
}

TEST(scheduler_respects_priority) {
    Scheduler scheduler(capabilities({{100, 0}}, 1, 32), {true, true, 0, {1, 1}});
    scheduler.add(sequence(1, 5, 3, 1));
    scheduler.add(sequence(2, 5, 3, 1));
    scheduler.add(sequence(3, 5, 3, 0));
    CHECK(shape(scheduler.schedule()) == (Shape{{3, 5}}));
    scheduler.finish(3, KeepPages::all);
    CHECK(shape(scheduler.schedule()) == (Shape{{1, 5}}));
}

TEST(scheduler_ends_a_sequence_that_fills_the_whole_pool) {
    Scheduler scheduler(capabilities({{4, 0}}, 4, 8), {true, true, 0, {1, 1}});
    scheduler.add(sequence(1, 10, 1000));
    CHECK_EQ(scheduler.sequence(1).max_tokens, 16);
    for (int step = 0; step < 40 && scheduler.has_work(); ++step) finish_step(scheduler, scheduler.schedule());
    CHECK(!scheduler.has_work());
    CHECK_EQ(scheduler.preemptions(), 0U);
}

TEST(scheduler_names_released_slots_until_a_step_succeeds) {
    Scheduler scheduler(capabilities({{100, 0}}, 3, 32, 100, false), {true, true, 0, {1, 1}});
    for (SequenceId id : {1, 2}) scheduler.add(sequence(id, 5, 9));
    finish_step(scheduler, scheduler.schedule());
    scheduler.finish(1, KeepPages::all);
    CHECK_EQ(scheduler.schedule().released_slots, (std::vector<SlotId>{0}));
    scheduler.step_failed();
    CHECK_EQ(scheduler.schedule().released_slots, (std::vector<SlotId>{0}));
    scheduler.commit();
    CHECK_EQ(scheduler.schedule().released_slots, (std::vector<SlotId>{}));
}

TEST(capacity_of_pools_and_windows) {
    CHECK_EQ(Capacity(capabilities({{10, 0}}, 2, 8)).max_sequence_tokens(), 40);
    CHECK_EQ(Capacity(capabilities({{10, 0}}, 2, 8, 20)).max_sequence_tokens(), 20);
    const Capacity window(capabilities({{5, 9}}, 2, 100));
    CHECK_EQ(window.max_sequence_tokens(), 1000);  // pages leave at its other end
    CHECK_EQ(window.max_chunk(), 9);
    CHECK_EQ(window.max_held(0, 100, 100), 5);
    CHECK_EQ(window.max_held(0, 100, 1), 3);  // nine cells lie in three pages at most
    CHECK_EQ(window.max_held(0, 6, 6), 2);
    CHECK_EQ(Capacity(capabilities({{5, 9}}, 2, 100, 20)).max_chunk(), 100);  // no sequence ever fills it
    const Capacity small(capabilities({{2, 9}}, 2, 100));
    CHECK_EQ(small.max_sequence_tokens(), 8);  // the window does not fit: the pool is all there is
    CHECK_THROWS(Capacity(capabilities({{0, 0}}, 2, 8)), std::invalid_argument);
    CHECK_THROWS(Capacity(capabilities({}, 2, 8)), std::invalid_argument);
    CHECK_THROWS(Capacity(capabilities({{8, 0}}, 0, 8)), std::invalid_argument);
}

namespace {

void expect_found(const char* name, const std::function<bool(SchedulerWorld&)>& plant, int window = 0, unsigned seed = 3) {
    WorldOptions options{capabilities({{24, window}}, 6, 16), {true, true, 0, {5, 6}}};
    options.oracle = false;  // found by the checks, not by comparison
    options.seed = seed;
    SchedulerWorld world(options);
    bool planted = false;
    for (int step = 0; step < 5000; ++step) {
        // again from time to time: the sequence that a fault was planted in may have been the next to leave
        if (step > 200 && (!planted || step % 50 == 0)) planted = plant(world) || planted;
        const std::string error = world.step();
        if (!planted) REQUIRE(error.empty());
        if (planted && !error.empty()) return;
    }
    tfserve::testing::report(__FILE__, __LINE__, std::string("not found: ") + name);
}

/// Some running sequence that fits, or null.
Sequence* running(SchedulerWorld& world, const std::function<bool(const Sequence&)>& wanted) {
    for (SequenceId id : world.scheduler.ids()) {
        Sequence& s = TestPeer::sequence(world.scheduler, id);
        if (s.status == SequenceStatus::running && wanted(s)) return &s;
    }
    return nullptr;
}

}  // namespace

TEST(scheduler_checks_find_planted_faults) {
    const auto any = [](const Sequence&) { return true; };
    expect_found("a lost reference", [&](SchedulerWorld& w) {
        const Sequence* s = running(w, any);
        if (s == nullptr) return false;
        KvManager& kv = TestPeer::kv(w.scheduler);
        if (kv.table(s->id, 0).empty()) return false;
        TestPeer::pool(kv, 0).unref(kv.table(s->id, 0).back());
        return true;
    });
    expect_found("a skipped copy", [](SchedulerWorld& w) {
        w.tamper = [](StepPlan& plan) { plan.copies.clear(); };
        return true;
    });
    expect_found("a copy of too few cells", [](SchedulerWorld& w) {
        w.tamper = [](StepPlan& plan) {
            for (BlockCopy& copy : plan.copies) --copy.n_cells;
        };
        return true;
    });
    expect_found("a copy to another page", [](SchedulerWorld& w) {
        w.tamper = [](StepPlan& plan) {
            for (BlockCopy& copy : plan.copies) std::swap(copy.src, copy.dst);
        };
        return true;
    });
    expect_found("a stale hash", [](SchedulerWorld& w) {
        TestPeer::forget_evictions(TestPeer::pool(TestPeer::kv(w.scheduler), 0));
        return true;
    });
    expect_found("tokens that changed after they were computed", [&](SchedulerWorld& w) {
        Sequence* s = running(w, [](const Sequence& x) { return x.num_computed_tokens > 6; });
        if (s == nullptr) return false;
        s->tokens[5] ^= 1;
        return true;
    });
    expect_found("a sequence that skips a token", [&](SchedulerWorld& w) {
        Sequence* s = running(w, [](const Sequence& x) { return x.num_uncomputed() > 3; });
        if (s == nullptr) return false;
        ++s->num_computed_tokens;
        return true;
    });
    expect_found("a slot given twice", [&](SchedulerWorld& w) {
        Sequence* s = running(w, any);
        if (s == nullptr) return false;
        TestPeer::free_slots(w.scheduler).push_back(s->slot);
        return true;
    });
    expect_found("a wrong block table", [](SchedulerWorld& w) {
        w.tamper = [](StepPlan& plan) {
            if (plan.rows.size() > 1) std::swap(plan.rows[0].tables, plan.rows[1].tables);
        };
        return true;
    });
    expect_found(
        "a window that is released too early",
        [&](SchedulerWorld& w) {
            const Sequence* s = running(w, [](const Sequence& x) { return x.num_computed_tokens > 12; });
            if (s == nullptr) return false;
            KvManager& kv = TestPeer::kv(w.scheduler);
            auto& table = TestPeer::table(kv, s->id, 0);
            BlockId& page = table[static_cast<std::size_t>(s->num_computed_tokens / 4 - 1)];
            TestPeer::pool(kv, 0).unref(std::exchange(page, kNoBlock));
            return true;
        },
        10);
}
