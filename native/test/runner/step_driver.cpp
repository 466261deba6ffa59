#include "step_driver.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

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

void PagePool::give_back(BlockId page) {
    free_.push_back(page);
    std::swap(free_.back(), free_[random_() % free_.size()]);
}

StepDriver::StepDriver(ModelRunner& runner, std::uint32_t seed) : runner_(runner), block_size_(runner.capabilities().block_size) {
    for (const KvGroupSpec& group : runner.capabilities().groups) {
        pools_.emplace_back(group.num_blocks, seed);
        references_.emplace_back(static_cast<std::size_t>(group.num_blocks), 0);
    }
}

Sequence StepDriver::start(SlotId slot, std::vector<TokenId> tokens) const {
    return {slot, std::move(tokens), 0, std::vector<std::vector<BlockId>>(pools_.size())};
}

Sequence StepDriver::fork(const Sequence& parent, SlotId slot) {
    Sequence child = parent;
    child.slot = slot;
    const std::int32_t used = parent.computed % block_size_;
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        if (used != 0) {
            child.tables[g].back() = pools_[g].take();
            copies_.push_back({static_cast<std::int32_t>(g), parent.tables[g].back(), child.tables[g].back(), used});
        }
        for (const BlockId page : child.tables[g]) {
            if (page != kNoBlock) ++references_[g][static_cast<std::size_t>(page)];
        }
    }
    return child;
}

void StepDriver::unref(std::size_t group, BlockId page) {
    if (page != kNoBlock && --references_[group][static_cast<std::size_t>(page)] == 0) pools_[group].give_back(page);
}

void StepDriver::pass_window(Sequence& sequence, std::size_t group) {
    const std::int32_t window = runner_.capabilities().groups[group].window;
    if (window == 0) return;
    const auto seen = static_cast<std::size_t>(std::max(0, sequence.computed - window + 1) / block_size_);
    for (std::size_t page = 0; page < std::min(seen, sequence.tables[group].size()); ++page) {
        unref(group, std::exchange(sequence.tables[group][page], kNoBlock));
    }
}

void StepDriver::finish(Sequence& sequence) {
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        for (const BlockId page : sequence.tables[g]) unref(g, page);
    }
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
        PlanRow& row = plan.rows.emplace_back(PlanRow{0, s.slot, s.computed, plan.n_tokens(), want.n_tokens, want.n_logits, {}});
        for (std::size_t g = 0; g < pools_.size(); ++g) {
            pass_window(s, g);
            while (s.tables[g].size() < pages) {
                s.tables[g].push_back(pools_[g].take());
                ++references_[g][static_cast<std::size_t>(s.tables[g].back())];
            }
            row.tables.push_back(&s.tables[g]);
        }
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
