// The pages of one KV group: who holds them, which are free, which are only cached.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/types.h"

namespace tfserve {

/// A page is in exactly one of three states:
///   used    referenced by at least one block table,
///   cached  unreferenced but published, so that the prefix cache can still find it,
///   free    neither; on the free list.
/// Every operation is O(1). Not thread safe.
class BlockPool {
   public:
    /// Told that a cached page is about to be given away: whoever finds pages by content must forget it. Must not throw.
    using EvictCallback = std::function<void(BlockId)>;

    /// `num_blocks` >= 0. Throws std::invalid_argument otherwise.
    BlockPool(std::int32_t num_blocks, EvictCallback on_evict);

    /// A page with one reference: a free one, else the least recently used cached one. kNoBlock when all are used.
    BlockId alloc() noexcept;
    /// One more reference to a used or cached page.
    void ref(BlockId block) noexcept;
    /// One reference less. The last one makes the page cached when it is published, else free.
    void unref(BlockId block) noexcept;
    /// Marks a used page as one that can be found by content.
    void publish(BlockId block) noexcept;

    std::int32_t ref_count(BlockId block) const { return pages_[static_cast<std::size_t>(block)].ref; }
    bool is_published(BlockId block) const { return pages_[static_cast<std::size_t>(block)].published; }
    bool contains(BlockId block) const { return block >= 0 && block < num_blocks(); }

    std::int32_t num_blocks() const { return static_cast<std::int32_t>(pages_.size()); }
    std::int32_t num_free() const { return static_cast<std::int32_t>(free_.size()); }
    std::int32_t num_cached() const { return num_cached_; }
    std::int32_t num_used() const { return num_blocks() - num_free() - num_cached(); }
    /// Pages that alloc() can give: free and cached ones.
    std::int32_t available() const { return num_free() + num_cached(); }
    std::uint64_t evictions() const { return evictions_; }

    /// Empty when every invariant holds, else what is wrong. O(pages).
    std::string check() const;

   private:
    friend struct TestPeer;  // tests plant faults through it

    struct Page {
        std::int32_t ref = 0;
        bool published = false;
        BlockId prev = kNoBlock;  // neighbours in the list of cached pages
        BlockId next = kNoBlock;
    };
    Page& page(BlockId block) { return pages_[static_cast<std::size_t>(block)]; }
    void push_cached(BlockId block) noexcept;
    void remove_cached(BlockId block) noexcept;

    std::vector<Page> pages_;
    std::vector<BlockId> free_;  // a stack
    BlockId oldest_ = kNoBlock;  // ends of the list of cached pages
    BlockId newest_ = kNoBlock;
    std::int32_t num_cached_ = 0;
    std::uint64_t evictions_ = 0;
    EvictCallback on_evict_;
};

}  // namespace tfserve
