// What one engine step asks of a model runner: plain data, made by the scheduler, no tensors.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/types.h"

namespace tfserve {

/// Copy the first `n_cells` cells of page `src` to page `dst` in every layer of a KV group (copy on write).
/// Copies run, in order, before any row of the step is computed.
struct BlockCopy {
    std::int32_t group;
    BlockId src;
    BlockId dst;
    std::int32_t n_cells;
};

/// Consecutive tokens of one sequence, computed in this step.
struct PlanRow {
    SequenceId sequence;
    SlotId slot;
    /// Position of the first token; equals the sequence's num_computed_tokens before the step.
    std::int32_t position;
    /// tokens[token_offset, token_offset + n_tokens) of the plan.
    std::int32_t token_offset;
    std::int32_t n_tokens;
    /// The last `n_logits` tokens want logits: 0 for an inner prefill chunk, 1 to sample, more where prompt tokens are scored.
    std::int32_t n_logits;
    /// One block table a KV group: tables[group] covers at least position + n_tokens cells.
    /// Points into the KV manager; valid until the scheduler is called again.
    std::vector<const std::vector<BlockId>*> tables;
};

/// One step. Rows are in batch order; a sequence appears at most once.
struct StepPlan {
    std::uint64_t step = 0;
    std::vector<TokenId> tokens;
    std::vector<PlanRow> rows;
    std::vector<BlockCopy> copies;
    /// Slots whose sequence has left (finished, aborted or preempted) since the last plan:
    /// a runner with its own per-slot memory drops it before computing the rows.
    std::vector<SlotId> released_slots;

    bool empty() const { return rows.empty(); }
    std::int32_t n_tokens() const { return static_cast<std::int32_t>(tokens.size()); }
};

}  // namespace tfserve
