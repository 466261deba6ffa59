#include "runtime/paged/paged_plan.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "paged_reference.h"
#include "runtime/paged/paged_kernel.h"
#include "runtime/paged/paged_merge.h"
#include "testing.h"

using namespace tfserve::paged;
using namespace tfserve::paged::test;

namespace {

/// A step: sequences with block tables of their own.
struct Step {
    int page_shift = 4;
    std::vector<std::vector<std::int32_t>> tables;
    std::vector<PlanSequence> sequences;
    int n_tokens = 0, n_pages = 0;

    /// The last `n` tokens of a sequence of `length` cells; `window` 0: all earlier ones are visible.
    void add(int length, int n, int window = 0) {
        const int page = 1 << page_shift;
        std::vector<std::int32_t> table(static_cast<std::size_t>((length + page - 1) / page));
        for (std::int32_t& p : table) {
            p = n_pages++;
        }
        std::reverse(table.begin(), table.end());
        tables.push_back(table);
        PlanSequence sequence;
        for (int t = length - n; t < length; ++t) {
            sequence.token_row.push_back(n_tokens++);
            sequence.first_cell.push_back(window > 0 ? std::max(0, t + 1 - window) : 0);
            sequence.end_cell.push_back(t + 1);
        }
        sequences.push_back(sequence);
    }

    std::vector<std::int32_t> fill(const PlanShape& shape) {
        std::size_t n_table = 0;
        for (std::size_t i = 0; i < sequences.size(); ++i) {
            sequences[i].table = tables[i];
            n_table += tables[i].size();
        }
        const std::size_t words = plan_words(static_cast<std::size_t>(n_tokens), sequences.size(), n_table, shape.n_threads);
        std::vector<std::int32_t> plan(words, -7);
        const std::size_t used = fill_plan(plan, page_shift, sequences, shape);
        CHECK(used <= words);
        CHECK_EQ(plan[kPlanWords], static_cast<std::int32_t>(used));
        return plan;
    }
};

template <class T>
std::vector<T> records(const std::vector<std::int32_t>& plan, int offset, int count) {
    std::vector<T> out(static_cast<std::size_t>(plan[static_cast<std::size_t>(count)]));
    if (!out.empty()) {
        std::memcpy(out.data(), plan.data() + plan[static_cast<std::size_t>(offset)], out.size() * sizeof(T));
    }
    return out;
}

std::vector<PlanRun> runs_of(const std::vector<std::int32_t>& plan) { return records<PlanRun>(plan, kPlanRunOffset, kPlanRuns); }
std::vector<PlanUnit> units_of(const std::vector<std::int32_t>& plan) { return records<PlanUnit>(plan, kPlanUnitOffset, kPlanUnits); }
std::vector<PlanGroup> groups_of(const std::vector<std::int32_t>& plan) { return records<PlanGroup>(plan, kPlanGroupOffset, kPlanGroups); }

/// Each token sees each of its cells through exactly one unit, limits hold, and groups match their units.
void check_plan(const std::vector<std::int32_t>& plan, const Step& step, const PlanShape& shape) {
    CHECK_EQ(plan[kPlanMagic], kPlanMagicValue);
    CHECK_EQ(plan[kPlanTokens], step.n_tokens);
    CHECK_EQ(plan[kPlanPageShift], step.page_shift);
    const auto runs = runs_of(plan);
    const auto units = units_of(plan);
    const auto groups = groups_of(plan);
    CHECK_EQ(runs.size(), step.sequences.size());
    CHECK(groups.size() <= max_groups(shape.n_threads));
    CHECK(static_cast<std::size_t>(plan[kPlanPartialRows]) <= max_partial_rows(shape));

    const int g = shape.n_head / shape.n_head_kv;
    std::vector<std::vector<std::vector<int>>> seen(runs.size());
    for (std::size_t r = 0; r < runs.size(); ++r) {
        const PlanSequence& sequence = step.sequences[r];
        CHECK_EQ(runs[r].n_tokens, static_cast<std::int32_t>(sequence.token_row.size()));
        CHECK(std::equal(sequence.token_row.begin(), sequence.token_row.end(), plan.begin() + plan[kPlanTokenRow] + runs[r].token0));
        CHECK(std::equal(sequence.first_cell.begin(), sequence.first_cell.end(), plan.begin() + plan[kPlanFirstCell] + runs[r].token0));
        CHECK(std::equal(sequence.end_cell.begin(), sequence.end_cell.end(), plan.begin() + plan[kPlanEndCell] + runs[r].token0));
        CHECK_EQ(runs[r].n_table, static_cast<std::int32_t>(sequence.table.size()));
        CHECK(std::equal(sequence.table.begin(), sequence.table.end(), plan.begin() + plan[kPlanTableOffset] + runs[r].table0));
        for (const std::int32_t end : sequence.end_cell) {
            seen[r].emplace_back(static_cast<std::size_t>(end), 0);
        }
    }
    std::vector<std::vector<int>> touched(runs.size());
    for (std::size_t r = 0; r < runs.size(); ++r) {
        touched[r].assign(seen[r].size(), 0);
    }
    std::vector<std::int64_t> costs;
    std::vector<int> parts(groups.size(), 0);
    std::vector<int> rows_taken(static_cast<std::size_t>(plan[kPlanPartialRows]), 0);
    for (const PlanUnit& unit : units) {
        CHECK(unit.n_tokens >= 1 && unit.n_tokens <= std::max(1, kUnitRows / g));
        CHECK(unit.cell0 <= unit.cell1);
        costs.push_back(static_cast<std::int64_t>(unit.cell1 - unit.cell0) * (unit.n_tokens * g + 4));
        const auto run = static_cast<std::size_t>(unit.run);
        for (int t = unit.t0; t < unit.t0 + unit.n_tokens; ++t) {
            auto& cells = seen[run][static_cast<std::size_t>(t)];
            ++touched[run][static_cast<std::size_t>(t)];
            for (int c = unit.cell0; c < std::min(unit.cell1, static_cast<int>(cells.size())); ++c) {
                ++cells[static_cast<std::size_t>(c)];
            }
        }
        if (unit.group >= 0) {
            const PlanGroup& group = groups[static_cast<std::size_t>(unit.group)];
            CHECK(group.run == unit.run && group.t0 == unit.t0 && group.n_tokens == unit.n_tokens);
            ++parts[static_cast<std::size_t>(unit.group)];
            CHECK_EQ((unit.partial_row - group.partial_row) % group.n_tokens, 0);
            for (int t = 0; t < unit.n_tokens; ++t) {
                ++rows_taken[static_cast<std::size_t>(unit.partial_row + t)];
            }
        }
    }
    CHECK(std::is_sorted(costs.rbegin(), costs.rend()));
    CHECK(std::all_of(rows_taken.begin(), rows_taken.end(), [](int n) { return n == 1; }));
    for (std::size_t i = 0; i < groups.size(); ++i) {
        CHECK(groups[i].n_split >= 2);
        CHECK_EQ(parts[i], groups[i].n_split);
    }
    bool once = true;
    for (std::size_t r = 0; r < runs.size(); ++r) {
        for (std::size_t t = 0; t < seen[r].size(); ++t) {
            once = once && touched[r][t] >= 1;
            for (auto c = static_cast<std::size_t>(step.sequences[r].first_cell[t]); c < seen[r][t].size(); ++c) {
                once = once && seen[r][t][c] == 1;
            }
        }
    }
    CHECK(once);
}

}  // namespace

TEST(plan_covers_every_visible_cell_once) {
    Random random(3);
    for (int i = 0; i < 200; ++i) {
        Step step;
        step.page_shift = pick(random, 0, 6);
        const int n = pick(random, 0, 9);
        for (int s = 0; s < n; ++s) {
            const int length = pick(random, 0, 3) ? pick(random, 1, 200) : pick(random, 200, 4000);
            const int tokens = pick(random, 0, 2) ? 1 : pick(random, 0, std::min(length, 300));
            step.add(length, tokens, pick(random, 0, 3) ? 0 : pick(random, 1, 700));
        }
        PlanShape shape;
        shape.n_head_kv = pick(random, 1, 8);
        shape.n_head = shape.n_head_kv * (pick(random, 0, 3) ? pick(random, 1, 9) : pick(random, 1, 130));
        shape.n_threads = pick(random, 1, 24);
        check_plan(step.fill(shape), step, shape);
    }
}

TEST(plan_splits_only_to_keep_threads_busy) {
    const auto groups = [](int n_sequences, int length, int n_threads) {
        Step step;
        for (int s = 0; s < n_sequences; ++s) {
            step.add(length, 1);
        }
        const PlanShape shape{9, 3, n_threads};
        const auto plan = step.fill(shape);
        check_plan(plan, step, shape);
        return plan[kPlanGroups];
    };
    CHECK_EQ(groups(1, 4096, 1), 0);  // one thread: never
    CHECK_EQ(groups(1, 100, 8), 0);   // too short to cut
    CHECK(groups(1, 4096, 2) > 0);
    CHECK_EQ(groups(32, 4096, 2), 0);  // enough to do without
    CHECK(groups(2, 4096, 16) == 2);

    // one long sequence among many short ones
    Step step;
    for (int s = 0; s < 31; ++s) {
        step.add(64, 1);
    }
    step.add(20000, 1);
    const PlanShape shape{8, 2, 4};
    const auto plan = step.fill(shape);
    check_plan(plan, step, shape);
    CHECK_EQ(plan[kPlanGroups], 1);
    CHECK(units_of(plan).front().cell1 - units_of(plan).front().cell0 <= 20000 / 4);
}

TEST(plan_budget_bounds_partial_rows) {
    for (const int threads : {2, 4, 16, 64}) {
        for (const int g : {1, 4, 64, 100}) {
            Step step;
            for (int s = 0; s < 3; ++s) {
                step.add(6000, 100);
            }
            const PlanShape shape{g, 1, threads};
            check_plan(step.fill(shape), step, shape);
        }
    }
    CHECK_EQ(max_partial_rows({8, 8, 1}), 0u);
    CHECK_EQ(max_groups(1), 0u);
    CHECK(max_partial_rows({64, 8, 16}) == max_partial_rows({1, 1, 16}));
}

TEST(plan_of_an_empty_step) {
    Step step;
    const PlanShape shape{4, 2, 2};
    const auto plan = step.fill(shape);
    CHECK_EQ(plan[kPlanUnits], 0);
    CHECK_EQ(plan[kPlanWords], static_cast<std::int32_t>(kPlanHeader));
    check_plan(plan, step, shape);
}

TEST(plan_keeps_tokens_that_see_nothing) {
    Step step;
    step.add(40, 4);
    step.sequences[0].first_cell = {36, 37, 38, 39};
    step.sequences[0].end_cell = {36, 37, 38, 39};
    const PlanShape shape{2, 2, 2};
    const auto plan = step.fill(shape);
    check_plan(plan, step, shape);
    const auto units = units_of(plan);
    CHECK_EQ(units.size(), std::size_t{1});
    CHECK_EQ(units[0].cell0, units[0].cell1);
}

TEST(plan_refuses_contradictions) {
    using Bad = std::invalid_argument;
    Step step;
    step.add(20, 2);
    CHECK_THROWS((step.fill({9, 2, 1})), Bad);
    CHECK_THROWS((step.fill({0, 1, 1})), Bad);
    CHECK_THROWS((step.fill({1, 0, 1})), Bad);
    const PlanShape shape{2, 1, 2};
    Step beyond = step;
    beyond.sequences[0].end_cell[1] = 33;  // the table has 32 cells
    CHECK_THROWS(beyond.fill(shape), Bad);
    Step reversed = step;
    reversed.sequences[0].first_cell[0] = 20;
    CHECK_THROWS(reversed.fill(shape), Bad);
    Step negative = step;
    negative.sequences[0].first_cell[0] = -1;
    CHECK_THROWS(negative.fill(shape), Bad);
    Step short_of = step;
    short_of.sequences[0].end_cell.pop_back();
    CHECK_THROWS(short_of.fill(shape), Bad);
    Step shift = step;
    shift.page_shift = 31;
    CHECK_THROWS(shift.fill(shape), Bad);
    std::vector<std::int32_t> small(kPlanHeader + 3);
    step.sequences[0].table = step.tables[0];
    CHECK_THROWS((fill_plan(small, 4, step.sequences, shape)), std::length_error);
    CHECK_THROWS((fill_plan({}, 4, step.sequences, shape)), std::length_error);
}

// The whole way: units run as kernel jobs, split ones merged, compared with the reference.
TEST(plan_run_by_a_kernel_gives_attention) {
    for (const int n_threads : {1, 2, 8}) {
        Step step;
        step.add(700, 1);
        step.add(1200, 1, 500);
        step.add(90, 40);
        step.add(600, 30, 64);
        const PlanShape shape{6, 2, n_threads};
        constexpr int dk = 16, dv = 32, g = 3;
        const auto plan = step.fill(shape);
        check_plan(plan, step, shape);
        CHECK(n_threads < 8 || plan[kPlanGroups] > 0);

        Random random(11);
        Cells k(TF_KERNEL_F32, step.n_pages * 16, shape.n_head_kv, dk), v(TF_KERNEL_F32, step.n_pages * 16, shape.n_head_kv, dv);
        for (int c = 0; c < step.n_pages * 16; ++c) {
            k.fill(random, c, 1.0f);
            v.fill(random, c, 1.0f);
        }
        const auto n_rows = static_cast<std::size_t>(step.n_tokens * shape.n_head);
        std::vector<float> q(n_rows * dk), dst(n_rows * dv, 99.0f);
        for (float& x : q) {
            x = uniform(random, -2.0f, 2.0f);
        }
        const PartialLayout layout{shape.n_head, g, dv};
        std::vector<float> part(layout.buffer_floats(static_cast<std::size_t>(plan[kPlanPartialRows])));
        const tf_kernel* kernel = tf_kernel_for(dk, dv);
        std::vector<char> scratch(kernel->scratch_bytes(dk, dv, TF_KERNEL_MAX_ROWS, shape.n_head_kv));
        const auto runs = runs_of(plan);
        for (const PlanUnit& unit : units_of(plan)) {
            const PlanRun& run = runs[static_cast<std::size_t>(unit.run)];
            const std::int32_t token0 = run.token0 + unit.t0;
            tf_kernel_job job = {};
            job.k = k.data.data();
            job.v = v.data.data();
            job.k_cell = k.cell_bytes;
            job.k_head = k.head_bytes;
            job.v_cell = v.cell_bytes;
            job.v_head = v.head_bytes;
            job.k_type = job.v_type = TF_KERNEL_F32;
            job.table = plan.data() + plan[kPlanTableOffset] + run.table0;
            job.page_shift = plan[kPlanPageShift];
            job.dk = dk;
            job.dv = dv;
            job.g = g;
            job.n_tokens = unit.n_tokens;
            job.n_heads_kv = shape.n_head_kv;
            job.token_row = plan.data() + plan[kPlanTokenRow] + token0;
            job.first_cell = plan.data() + plan[kPlanFirstCell] + token0;
            job.end_cell = plan.data() + plan[kPlanEndCell] + token0;
            job.q = reinterpret_cast<const char*>(q.data());
            job.q_head = dk * sizeof(float);
            job.q_token = job.q_head * static_cast<std::size_t>(shape.n_head);
            job.dst = dst.data();
            job.dst_head = dv;
            job.dst_token = static_cast<std::size_t>(dv * shape.n_head);
            if (unit.group >= 0) {
                job.part = part.data() + layout.offset(unit.partial_row, unit.n_tokens, 0, 0, 0);
                job.part_head = layout.head_stride(unit.n_tokens);
            }
            job.cell0 = unit.cell0;
            job.cell1 = unit.cell1;
            job.scale = 0.25f;
            kernel->run(&job, scratch.data());
        }
        for (const PlanGroup& group : groups_of(plan)) {
            const PlanRun& run = runs[static_cast<std::size_t>(group.run)];
            for (int t = 0; t < group.n_tokens; ++t) {
                const int row = plan[static_cast<std::size_t>(plan[kPlanTokenRow] + run.token0 + group.t0 + t)];
                for (int h = 0; h < shape.n_head; ++h) {
                    merge_partials(part.data() + layout.offset(group.partial_row, group.n_tokens, h / g, t, h % g),
                                   layout.split_stride(group.n_tokens), group.n_split, dv, nullptr,
                                   dst.data() + static_cast<std::size_t>(row * shape.n_head + h) * dv);
                }
            }
        }
        double worst = 0;
        for (std::size_t s = 0; s < step.sequences.size(); ++s) {
            const PlanSequence& sequence = step.sequences[s];
            for (std::size_t t = 0; t < sequence.token_row.size(); ++t) {
                for (int h = 0; h < shape.n_head; ++h) {
                    const auto row = static_cast<std::size_t>(sequence.token_row[t] * shape.n_head + h);
                    const Reference expected = attend(q.data() + row * dk, k, v, h / g, step.tables[s].data(), 4, sequence.first_cell[t],
                                                      sequence.end_cell[t], 0.25f, 0.0f, 0.0f, nullptr);
                    for (std::size_t d = 0; d < dv; ++d) {
                        worst = std::fmax(worst, std::fabs(expected.out[d] - static_cast<double>(dst[row * dv + d])));
                    }
                }
            }
        }
        CHECK(worst < 2e-5);
    }
}
