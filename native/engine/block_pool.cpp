#include "engine/block_pool.h"

#include <cassert>
#include <stdexcept>
#include <utility>

namespace tfserve {

BlockPool::BlockPool(std::int32_t num_blocks, EvictCallback on_evict) : on_evict_(std::move(on_evict)) {
    if (num_blocks < 0) throw std::invalid_argument("a block pool needs a page count of 0 or more");
    pages_.resize(static_cast<std::size_t>(num_blocks));
    free_.reserve(pages_.size());  // so that unref() never allocates memory
    for (BlockId block = num_blocks - 1; block >= 0; --block) free_.push_back(block);
}

BlockId BlockPool::alloc() noexcept {
    BlockId block = kNoBlock;
    if (!free_.empty()) {
        block = free_.back();
        free_.pop_back();
    } else if (oldest_ != kNoBlock) {
        block = oldest_;
        remove_cached(block);
        page(block).published = false;
        ++evictions_;
        if (on_evict_) on_evict_(block);
    } else {
        return kNoBlock;
    }
    assert(page(block).ref == 0 && !page(block).published);
    page(block).ref = 1;
    return block;
}

void BlockPool::ref(BlockId block) noexcept {
    assert(contains(block));
    Page& p = page(block);
    assert(p.ref > 0 || p.published);
    if (p.ref == 0) remove_cached(block);
    ++p.ref;
}

void BlockPool::unref(BlockId block) noexcept {
    assert(contains(block));
    Page& p = page(block);
    assert(p.ref > 0);
    if (--p.ref > 0) return;
    if (p.published) {
        push_cached(block);
    } else {
        free_.push_back(block);
    }
}

void BlockPool::publish(BlockId block) noexcept {
    assert(contains(block) && page(block).ref > 0);
    page(block).published = true;
}

void BlockPool::push_cached(BlockId block) noexcept {
    Page& p = page(block);
    p.prev = newest_;
    p.next = kNoBlock;
    if (newest_ != kNoBlock) page(newest_).next = block;
    newest_ = block;
    if (oldest_ == kNoBlock) oldest_ = block;
    ++num_cached_;
}

void BlockPool::remove_cached(BlockId block) noexcept {
    Page& p = page(block);
    (p.prev != kNoBlock ? page(p.prev).next : oldest_) = p.next;
    (p.next != kNoBlock ? page(p.next).prev : newest_) = p.prev;
    p.prev = p.next = kNoBlock;
    --num_cached_;
}

std::string BlockPool::check() const {
    enum : std::uint8_t { kUnseen, kFree, kCached };
    std::vector<std::uint8_t> seen(pages_.size(), kUnseen);
    const auto name = [](BlockId block) { return "page " + std::to_string(block); };
    for (BlockId block : free_) {
        if (!contains(block)) return name(block) + " on the free list does not exist";
        if (seen[static_cast<std::size_t>(block)] != kUnseen) return name(block) + " is on the free list twice";
        seen[static_cast<std::size_t>(block)] = kFree;
        const Page& p = pages_[static_cast<std::size_t>(block)];
        if (p.ref != 0) return name(block) + " is both free and referenced";
        if (p.published) return name(block) + " is both free and published";
    }
    BlockId prev = kNoBlock;
    std::int32_t cached = 0;
    for (BlockId block = oldest_; block != kNoBlock; block = pages_[static_cast<std::size_t>(block)].next) {
        if (!contains(block)) return name(block) + " on the cached list does not exist";
        const Page& p = pages_[static_cast<std::size_t>(block)];
        if (seen[static_cast<std::size_t>(block)] != kUnseen) return name(block) + " is listed twice";
        seen[static_cast<std::size_t>(block)] = kCached;
        if (p.ref != 0) return name(block) + " is both cached and referenced";
        if (!p.published) return name(block) + " is cached but not published";
        if (p.prev != prev) return name(block) + " has a broken link in the cached list";
        prev = block;
        ++cached;
    }
    if (prev != newest_) return "the cached list does not end at its newest page";
    if (cached != num_cached_) return "the cached list has " + std::to_string(cached) + " pages, not " + std::to_string(num_cached_);
    for (std::size_t i = 0; i < pages_.size(); ++i) {
        if (pages_[i].ref < 0) return name(static_cast<BlockId>(i)) + " has a negative reference count";
        if (pages_[i].ref == 0 && seen[i] == kUnseen)
            return name(static_cast<BlockId>(i)) + " is lost: neither free, cached nor referenced";
    }
    return {};
}

}  // namespace tfserve
