// The attention plan: which query rows read which cells, as one int32 array.
// Written on the host once a step, read by every layer's GGML_OP_PAGED_ATTN node; it takes the mask's place as
// graph input. It holds no pointer, so that a device can read it too. All offsets are in int32 words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tfserve::paged {

enum PlanWord : int {
    kPlanMagic = 0,
    kPlanWords,  ///< words in use
    kPlanTokens,
    kPlanRuns,
    kPlanUnits,
    kPlanGroups,
    kPlanPageShift,
    kPlanTokenRow,   ///< offset of token_row[tokens]: row of q and dst of each token, grouped by sequence
    kPlanFirstCell,  ///< offset of first_cell[tokens]: first visible cell index of the token's sequence
    kPlanEndCell,    ///< offset of end_cell[tokens]: one past the last visible
    kPlanRunOffset,
    kPlanUnitOffset,
    kPlanGroupOffset,
    kPlanTableOffset,  ///< the block tables of the runs, one after another
    kPlanPartialRows,  ///< token rows of partial results that split units write
    kPlanHeader = 32,
};
inline constexpr std::int32_t kPlanMagicValue = 0x54465032;

/// All tokens of one sequence in this step.
struct PlanRun {
    std::int32_t token0, n_tokens, table0, n_table;
};
/// A slice of a run's tokens over a range of its cells [cell0, cell1). A work item is a unit and some KV heads.
struct PlanUnit {
    std::int32_t run, t0, n_tokens, cell0, cell1, group, partial_row, pad;
};
/// Units of one slice whose cell range was split: partial results to merge. -1 in PlanUnit::group: not split.
struct PlanGroup {
    std::int32_t run, t0, n_tokens, n_split, partial_row, pad0, pad1, pad2;
};

/// One sequence's share of the step, as the cache sees it.
struct PlanSequence {
    std::span<const std::int32_t> table;
    std::vector<std::int32_t> token_row;
    std::vector<std::int32_t> first_cell, end_cell;
};

/// Shape of the attention that will read the plan (of the widest layer), and the threads that will share it.
struct PlanShape {
    int n_head = 1;
    int n_head_kv = 1;
    int n_threads = 1;
};

/// Query rows (tokens x heads of a group) a unit holds at most.
inline constexpr int kUnitRows = 64;

/// Partial token rows that a plan for these threads can ask for at most: sizes the work buffer before the plan is known.
/// The same for every layer: it depends on the threads alone.
constexpr std::size_t max_partial_rows(const PlanShape& shape) {
    return shape.n_threads > 1 ? 16 * static_cast<std::size_t>(shape.n_threads) + kUnitRows : 0;
}

/// Split groups that a plan can hold at most, which is also how many units splitting can add.
constexpr std::size_t max_groups(int n_threads) { return n_threads > 1 ? 8 * static_cast<std::size_t>(n_threads) : 0; }

/// Words that `fill_plan` needs at most for such a step. Grows with its arguments.
constexpr std::size_t plan_words(std::size_t n_tokens, std::size_t n_runs, std::size_t n_table, int n_threads) {
    constexpr std::size_t word = sizeof(std::int32_t);
    return kPlanHeader + 3 * n_tokens + n_table + n_runs * (sizeof(PlanRun) / word) +
           (n_tokens + max_groups(n_threads)) * (sizeof(PlanUnit) / word) + max_groups(n_threads) * (sizeof(PlanGroup) / word);
}

/// Neighbouring KV heads a work item takes: all of them when units alone keep the threads busy (a cell's heads are
/// contiguous, so memory is read in long streams), one otherwise.
constexpr int heads_per_item(std::size_t n_units, int n_head_kv, int n_threads) {
    return n_threads <= 1 || n_units >= 8 * static_cast<std::size_t>(n_threads) ? n_head_kv : 1;
}

/// Writes the plan; returns the words used, at most plan_words(...) of the step. Units come longest first. With one thread
/// nothing is split. A token without a visible cell (first_cell == end_cell) still belongs to a unit, so that its result
/// becomes zero; a sequence without tokens gets a run and no unit.
/// Throws std::invalid_argument when the sequences or the shape contradict themselves (n_head not a multiple of n_head_kv,
/// a cell range outside of the block table, ...), std::length_error when `dst` is too small.
std::size_t fill_plan(std::span<std::int32_t> dst, int page_shift, std::span<const PlanSequence> sequences, const PlanShape& shape);

}  // namespace tfserve::paged
