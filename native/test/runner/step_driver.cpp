#include "step_driver.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace tfserve::test {

PagePool::PagePool(std::int32_t num_blocks, std::uint32_t seed) : free_(static_cast<std::size_t>(num_blocks)), random_(seed) {
    std::iota(free_.rbegin(), free_.rend(), 0);
    if (seed != StepDriver::kInOrder) std::shuffle(free_.begin(), free_.end(), random_);
}

BlockId PagePool::take() {
    if (free_.empty()) throw std::runtime_error("the test's pool is too small");
    const BlockId page = free_.back();
    free_.pop_back();
    return page;
}

void PagePool::give_back(std::vector<BlockId>& table) {
    for (const BlockId page : table) {
        free_.push_back(page);
        std::swap(free_.back(), free_[random_() % free_.size()]);
    }
    table.clear();
}

StepDriver::StepDriver(ModelRunner& runner, std::uint32_t seed)
    : runner_(runner),
      block_size_(runner.capabilities().block_size),
      pool_(runner.capabilities().groups.at(0).num_blocks, seed),
      references_(static_cast<std::size_t>(runner.capabilities().groups.at(0).num_blocks), 0) {}

Sequence StepDriver::start(SlotId slot, std::vector<TokenId> tokens) const { return {slot, std::move(tokens), 0, {}}; }

Sequence StepDriver::fork(const Sequence& parent, SlotId slot) {
    Sequence child = parent;
    child.slot = slot;
    const std::int32_t used = parent.computed % block_size_;
    if (used != 0) {
        child.table.back() = pool_.take();
        copies_.push_back({0, parent.table.back(), child.table.back(), used});
    }
    for (const BlockId page : child.table) ++references_[static_cast<std::size_t>(page)];
    return child;
}

void StepDriver::finish(Sequence& sequence) {
    std::vector<BlockId> unused;
    for (const BlockId page : sequence.table) {
        if (--references_[static_cast<std::size_t>(page)] == 0) unused.push_back(page);
    }
    pool_.give_back(unused);
    released_.push_back(sequence.slot);
    sequence = {};
}

std::vector<std::vector<float>> StepDriver::step(const std::vector<Want>& wants) {
    StepPlan plan;
    plan.copies.swap(copies_);
    plan.released_slots.swap(released_);
    for (const Want& want : wants) {
        Sequence& s = *want.sequence;
        const auto pages = static_cast<std::size_t>((s.computed + want.n_tokens + block_size_ - 1) / block_size_);
        while (s.table.size() < pages) {
            s.table.push_back(pool_.take());
            ++references_[static_cast<std::size_t>(s.table.back())];
        }
        plan.rows.push_back({0, s.slot, s.computed, plan.n_tokens(), want.n_tokens, want.n_logits, {&s.table}});
        plan.tokens.insert(plan.tokens.end(), s.tokens.begin() + s.computed, s.tokens.begin() + s.computed + want.n_tokens);
    }
    runner_.execute(plan);
    std::vector<std::vector<float>> result;
    for (std::size_t r = 0; r < wants.size(); ++r) {
        wants[r].sequence->computed += wants[r].n_tokens;
        for (std::int32_t i = 0; i < wants[r].n_logits; ++i) {
            const auto row = runner_.logits(r, static_cast<std::size_t>(i));
            result.emplace_back(row.begin(), row.end());
        }
    }
    return result;
}

}  // namespace tfserve::test
