// Block tables of all sequences over all KV groups: allocation, sharing, copy on write, prefix reuse, windows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/block_pool.h"
#include "engine/model_runner.h"
#include "engine/prefix_cache.h"
#include "engine/step_plan.h"
#include "engine/types.h"

namespace tfserve {

struct KvManagerConfig {
    std::int32_t block_size = 16;
    std::vector<KvGroupSpec> groups;
    bool prefix_cache = true;
    HashKey hash_key;
};

/// Owns the pages. A sequence lives from begin() or fork() to free(); tokens are the caller's.
/// Not thread safe; the block tables it hands out are valid until the next call that changes them.
class KvManager {
   public:
    /// Throws std::invalid_argument when the configuration makes no sense.
    explicit KvManager(KvManagerConfig config);

    /// What the prefix cache has of a text.
    struct Match {
        std::int32_t num_pages = 0;
        /// By group: matched pages that a sequence would hold ...
        std::vector<std::int32_t> held;
        /// ... and how many of them are cached now, and so counted in available() until the sequence begins.
        std::vector<std::int32_t> taken_from_available;
    };
    /// The longest run of full pages from the start of `tokens` that is cached; at least one token is left to compute.
    Match match(std::span<const TokenId> tokens, std::string_view salt) const;

    /// Begins a sequence with the cached pages of its tokens; returns how many tokens need no computing.
    std::int32_t begin(SequenceId id, std::span<const TokenId> tokens, std::string_view salt);

    /// Makes the tables cover `num_computed + n_new` cells, all or nothing: false when some group lacks pages.
    /// Pages that no query from position `num_computed` on can see are given back first. A shared page that will be
    /// written is replaced, and the copy that the runner must make is appended to `copies`.
    bool allocate(SequenceId id, std::int32_t num_computed, std::int32_t n_new, std::vector<BlockCopy>& copies);

    /// Tells that the first `num_computed` of `tokens` are in the pages (their step has succeeded): full pages can be found from now on.
    void publish(SequenceId id, std::span<const TokenId> tokens, std::int32_t num_computed);

    /// A new sequence that shares every page of `parent`, the last, partial one too.
    void fork(SequenceId parent, SequenceId child);

    /// Ends a sequence. Its pages are released from the tail, so that the heads of prefixes live longest.
    void free(SequenceId id, BlockPool::Worth worth = BlockPool::Worth::kept) noexcept;

    bool contains(SequenceId id) const { return sequences_.contains(id); }
    const std::vector<BlockId>& table(SequenceId id, std::int32_t group) const;
    /// Pages that a sequence holds in a group now.
    std::int32_t held(SequenceId id, std::int32_t group) const;

    std::int32_t num_groups() const { return static_cast<std::int32_t>(pools_.size()); }
    std::int32_t block_size() const { return config_.block_size; }
    const BlockPool& pool(std::int32_t group) const { return *pools_[static_cast<std::size_t>(group)]; }
    std::int32_t available(std::int32_t group) const { return pool(group).available(); }
    std::uint64_t prefix_queries() const { return prefix_queries_; }
    std::uint64_t prefix_hits() const { return prefix_hits_; }
    std::uint64_t block_copies() const { return block_copies_; }

    /// Tokens of a sequence that are in its pages (the first num_computed ones).
    using ComputedTokens = std::function<std::span<const TokenId>(SequenceId)>;
    /// Empty when every invariant holds, else what is wrong. For tests: O(everything).
    std::string check(const ComputedTokens& computed_tokens) const;

   private:
    friend struct TestPeer;

    struct Entry {
        std::vector<std::vector<BlockId>> tables;  // by group; kNoBlock before first_live
        std::vector<std::int32_t> first_live;      // by group: first page that a window has not given back
        std::string salt;
        PrefixNodeId tip = kNoPrefixNode;  // node of the last published page, pinned
        std::int32_t num_published = 0;    // pages
        bool publishable = true;           // false after a hash collision
    };

    std::span<const TokenId> page_tokens(std::span<const TokenId> tokens, std::int32_t page) const;
    /// First page that a query at `position` can see.
    std::int32_t first_visible_page(std::int32_t group, std::int32_t position) const;
    std::vector<PrefixNodeId> matching_nodes(std::span<const TokenId> tokens, std::string_view salt) const;
    void release_unseen(Entry& entry, std::int32_t group, std::int32_t num_computed) noexcept;
    bool must_copy(const Entry& entry, std::int32_t group, std::int32_t num_computed) const;
    std::string check_tables(const ComputedTokens& computed_tokens) const;
    std::string check_prefixes(const ComputedTokens& computed_tokens) const;

    KvManagerConfig config_;
    std::unique_ptr<PrefixCache> prefix_;  // null: switched off
    std::vector<std::unique_ptr<BlockPool>> pools_;
    std::unordered_map<SequenceId, Entry> sequences_;
    std::uint64_t prefix_queries_ = 0;
    std::uint64_t prefix_hits_ = 0;
    std::uint64_t block_copies_ = 0;
};

}  // namespace tfserve
