#include "engine/block_pool.h"

#include <cassert>
#include <cstddef>
#include <stdexcept>
#include <utility>

namespace tfserve {

BlockPool::BlockPool(std::int32_t num_blocks, EvictCallback on_evict) : on_evict_(std::move(on_evict)) {
    if (num_blocks < 0) throw std::invalid_argument("a block pool needs a page count of 0 or more");
    pages_.resize(static_cast<std::size_t>(num_blocks));
    free_.reserve(pages_.size());  // so that unref() never allocates memory
    for (BlockId block = num_blocks - 1; block >= 0; --block) free_.push_back(block);
    num_untouched_ = num_blocks;
}

BlockId BlockPool::alloc() noexcept {
    BlockId block = kNoBlock;
    const bool any_touched = std::cmp_greater(free_.size(), num_untouched_);
    if (any_touched) {
        block = take_free();
    } else if (cached(Worth::abandoned).count > 0) {
        block = evict(Worth::abandoned);
    } else if (!free_.empty()) {
        --num_untouched_;
        block = take_free();
    } else if (cached(Worth::kept).count > 0) {
        block = evict(Worth::kept);
    } else {
        return kNoBlock;
    }
    assert(page(block).ref == 0 && !page(block).published);
    page(block).ref = 1;
    return block;
}

BlockId BlockPool::take_free() noexcept {
    const BlockId block = free_.back();
    free_.pop_back();
    return block;
}

BlockId BlockPool::evict(Worth worth) noexcept {
    const BlockId block = cached(worth).oldest;
    remove_cached(block);
    page(block).published = false;
    page(block).valued = false;
    ++evictions_;
    if (on_evict_) on_evict_(block);
    return block;
}

void BlockPool::ref(BlockId block) noexcept {
    assert(contains(block));
    Page& p = page(block);
    assert(p.ref > 0 || p.published);
    if (p.ref == 0) {
        remove_cached(block);
        p.valued = true;
    }
    ++p.ref;
}

void BlockPool::unref(BlockId block, Worth worth) noexcept {
    assert(contains(block));
    Page& p = page(block);
    assert(p.ref > 0);
    if (worth == Worth::kept) p.valued = true;
    if (--p.ref > 0) return;
    if (p.published) {
        p.worth = p.valued ? Worth::kept : Worth::abandoned;
        push_cached(block);
    } else {
        p.valued = false;
        free_.push_back(block);
    }
}

void BlockPool::publish(BlockId block) noexcept {
    assert(contains(block) && page(block).ref > 0);
    page(block).published = true;
}

void BlockPool::push_cached(BlockId block) noexcept {
    Page& p = page(block);
    CachedList& list = cached(p.worth);
    p.prev = list.newest;
    p.next = kNoBlock;
    (list.newest != kNoBlock ? page(list.newest).next : list.oldest) = block;
    list.newest = block;
    ++list.count;
}

void BlockPool::remove_cached(BlockId block) noexcept {
    Page& p = page(block);
    CachedList& list = cached(p.worth);
    (p.prev != kNoBlock ? page(p.prev).next : list.oldest) = p.next;
    (p.next != kNoBlock ? page(p.next).prev : list.newest) = p.prev;
    p.prev = p.next = kNoBlock;
    --list.count;
}

namespace {

enum : std::uint8_t { kUnseen, kFree, kCached };

std::string name(BlockId block) { return "page " + std::to_string(block); }

}  // namespace

std::string BlockPool::check() const {
    std::vector<std::uint8_t> seen(pages_.size(), kUnseen);
    for (BlockId block : free_) {
        if (!contains(block)) return name(block) + " on the free list does not exist";
        if (seen[static_cast<std::size_t>(block)] != kUnseen) return name(block) + " is on the free list twice";
        seen[static_cast<std::size_t>(block)] = kFree;
        const Page& p = pages_[static_cast<std::size_t>(block)];
        if (p.ref != 0) return name(block) + " is both free and referenced";
        if (p.published) return name(block) + " is both free and published";
    }
    if (num_untouched_ < 0 || std::cmp_greater(num_untouched_, free_.size())) return "more pages were never used than are free";
    for (const Worth worth : {Worth::kept, Worth::abandoned}) {
        if (std::string error = check_cached(worth, seen); !error.empty()) return error;
    }
    for (std::size_t i = 0; i < pages_.size(); ++i) {
        if (pages_[i].ref < 0) return name(static_cast<BlockId>(i)) + " has a negative reference count";
        if (pages_[i].ref == 0 && seen[i] == kUnseen)
            return name(static_cast<BlockId>(i)) + " is lost: neither free, cached nor referenced";
    }
    return {};
}

std::string BlockPool::check_cached(Worth worth, std::vector<std::uint8_t>& seen) const {
    const CachedList& list = cached_[static_cast<std::size_t>(worth)];
    BlockId prev = kNoBlock;
    std::int32_t count = 0;
    for (BlockId block = list.oldest; block != kNoBlock; block = pages_[static_cast<std::size_t>(block)].next) {
        if (!contains(block)) return name(block) + " on a cached list does not exist";
        const Page& p = pages_[static_cast<std::size_t>(block)];
        if (seen[static_cast<std::size_t>(block)] != kUnseen) return name(block) + " is listed twice";
        seen[static_cast<std::size_t>(block)] = kCached;
        if (p.ref != 0) return name(block) + " is both cached and referenced";
        if (!p.published) return name(block) + " is cached but not published";
        if (p.worth != worth) return name(block) + " is on the wrong cached list";
        if (p.prev != prev) return name(block) + " has a broken link in its cached list";
        prev = block;
        ++count;
    }
    if (prev != list.newest) return "a cached list does not end at its newest page";
    if (count != list.count) return "a cached list has " + std::to_string(count) + " pages, not " + std::to_string(list.count);
    return {};
}

}  // namespace tfserve
