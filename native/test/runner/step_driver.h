// Plays the engine for a runner: sequences, pages in random order, and mixed steps.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "engine/model_runner.h"

namespace tfserve::test {

/// One sequence as a runner sees it.
struct Sequence {
    SlotId slot = kNoSlot;
    std::vector<TokenId> tokens;
    std::int32_t computed = 0;
    std::vector<std::vector<BlockId>> tables = {};  // by group; kNoBlock where a window has passed
};

/// What a step wants of one sequence.
struct Want {
    Sequence* sequence;
    std::int32_t n_tokens;
    std::int32_t n_logits;
};

/// Gives out pages in an order of its own, so that tables are never runs of neighbours.
class PagePool {
   public:
    PagePool(std::int32_t num_blocks, std::uint32_t seed);
    BlockId take();
    void give_back(BlockId page);

   private:
    std::vector<BlockId> free_;
    std::mt19937 random_;
};

class StepDriver {
   public:
    /// Seed for pages in ascending order.
    static constexpr std::uint32_t kInOrder = 0;

    StepDriver(ModelRunner& runner, std::uint32_t seed);

    Sequence start(SlotId slot, std::vector<TokenId> tokens) const;
    /// Shares the full pages of `parent`; the partial one is copied before the next step.
    Sequence fork(const Sequence& parent, SlotId slot);
    void finish(Sequence& sequence);
    /// Computes one step; the wanted logits' rows, in order.
    std::vector<std::vector<float>> step(const std::vector<Want>& wants);

   private:
    void unref(std::size_t group, BlockId page);
    /// Gives back the pages that no query from `position` on sees.
    void pass_window(Sequence& sequence, std::size_t group);

    ModelRunner& runner_;
    std::int32_t block_size_;
    std::vector<PagePool> pools_;                        // by group
    std::vector<std::vector<std::int32_t>> references_;  // by group and page
    std::vector<BlockCopy> copies_;
    std::vector<SlotId> released_;
};

}  // namespace tfserve::test
