// A runner without a model: for tests of everything above it, and for measuring what the rest of the server costs.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/model_runner.h"

namespace tfserve {

struct StandInOptions {
    RunnerCapabilities capabilities;
    /// Time a step takes: base_delay + per_token_delay * tokens, slept.
    std::chrono::microseconds base_delay{0};
    std::chrono::microseconds per_token_delay{0};
    /// Lowest token that gets a high logit: keeps special tokens at the start of a vocabulary out of the output.
    TokenId first_token = 0;
    /// Logits depend on every cell that the token can see, read through the block table, so that a wrong page changes the
    /// output; else only on the newest token and its position.
    bool read_history = false;
    /// The tokens a sequence should have: when set, every visible cell is compared with them in every step.
    std::function<std::span<const TokenId>(SequenceId)> expected_tokens;
};

/// Deterministic: the logits of a token depend on its sequence alone, never on what else is in the batch.
///
/// Paged, it stores (token, position) in the cells of pages, as a KV cache would, and executes the copies. Not paged, it
/// keeps a history for each slot. Either way execute() throws RunnerError when a plan contradicts what is stored.
class StandInRunner : public ModelRunner {
   public:
    /// Throws std::invalid_argument on options that make no sense.
    explicit StandInRunner(StandInOptions options);

    const RunnerCapabilities& capabilities() const override { return options_.capabilities; }
    void execute(const StepPlan& plan) override;
    std::span<float> logits(std::size_t row, std::size_t index) override;

   private:
    struct Cell {
        TokenId token = -1;
        std::int32_t position = -1;
        friend bool operator==(const Cell&, const Cell&) = default;
    };

    void copy_pages(const StepPlan& plan);
    void write_row(const StepPlan& plan, const PlanRow& row);
    void check_row(const PlanRow& row) const;
    void compute_logits(const StepPlan& plan, const PlanRow& row);
    /// The cell of a position of a row's sequence in a KV group.
    const Cell& cell(const PlanRow& row, std::size_t group, std::int32_t position) const;
    Cell& cell(const PlanRow& row, std::size_t group, std::int32_t position);
    std::int32_t first_visible(std::size_t group, std::int32_t position) const;
    std::uint64_t digest(const PlanRow& row, std::int32_t position, TokenId token) const;

    StandInOptions options_;
    std::vector<std::vector<Cell>> pools_;  // paged: by group, num_blocks * block_size cells
    std::vector<std::vector<Cell>> slots_;  // not paged: by slot
    std::vector<float> noise_;              // vocab_size
    std::vector<float> logits_;
    std::vector<std::size_t> first_logits_row_;  // by plan row
};

}  // namespace tfserve
