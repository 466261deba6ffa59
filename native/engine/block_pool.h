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
/// Pages are handed out in the order in which they are least missed, and such that memory is committed late: free pages
/// that have been used before, then cached ones of abandoned requests, then pages never used, then the least recently
/// used of the other cached ones.
/// Every operation is O(1). Not thread safe.
class BlockPool {
   private:
    /// Cached pages, least recently used first.
    struct CachedList {
        BlockId oldest = kNoBlock;
        BlockId newest = kNoBlock;
        std::int32_t count = 0;
    };

   public:
    /// Told that a cached page is about to be given away: whoever finds pages by content must forget it. Must not throw.
    using EvictCallback = std::function<void(BlockId)>;

    /// `num_blocks` >= 0. Throws std::invalid_argument otherwise.
    BlockPool(std::int32_t num_blocks, EvictCallback on_evict);

    /// What an unreferenced page is worth.
    enum class Worth : std::uint8_t {
        kept,       ///< a request ended with it, or found it: others may begin alike
        abandoned,  ///< only a request that was given up has held it: found for a while, but the first to go
    };

    /// A page with one reference, in the order above. kNoBlock when all are used.
    BlockId alloc() noexcept;
    /// One more reference to a used or cached page.
    void ref(BlockId block) noexcept;
    /// One reference less; `worth`: how the request that held it ended. The last one makes the page cached when it is
    /// published, else free.
    void unref(BlockId block, Worth worth = Worth::kept) noexcept;
    /// Marks a used page as one that can be found by content.
    void publish(BlockId block) noexcept;

    std::int32_t ref_count(BlockId block) const { return pages_[static_cast<std::size_t>(block)].ref; }
    bool is_published(BlockId block) const { return pages_[static_cast<std::size_t>(block)].published; }
    bool contains(BlockId block) const { return block >= 0 && block < num_blocks(); }

    std::int32_t num_blocks() const { return static_cast<std::int32_t>(pages_.size()); }
    std::int32_t num_free() const { return static_cast<std::int32_t>(free_.size()); }
    std::int32_t num_cached() const { return cached_[0].count + cached_[1].count; }
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
        bool valued = false;        // a request has ended with it, or found it cached
        Worth worth = Worth::kept;  // which list it is in while cached
        BlockId prev = kNoBlock;    // neighbours in the list of cached pages
        BlockId next = kNoBlock;
    };
    Page& page(BlockId block) { return pages_[static_cast<std::size_t>(block)]; }
    CachedList& cached(Worth worth) { return cached_[static_cast<std::size_t>(worth)]; }
    std::string check_cached(Worth worth, std::vector<std::uint8_t>& seen) const;
    BlockId take_free() noexcept;
    BlockId evict(Worth worth) noexcept;
    void push_cached(BlockId block) noexcept;
    void remove_cached(BlockId block) noexcept;

    std::vector<Page> pages_;
    std::vector<BlockId> free_;       // a stack; at its bottom the pages that were never used
    std::int32_t num_untouched_ = 0;  // of them
    CachedList cached_[2];            // by Worth
    std::uint64_t evictions_ = 0;
    EvictCallback on_evict_;
};

}  // namespace tfserve
