// Finds the pages that already hold the beginning of a prompt.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/siphash.h"
#include "engine/types.h"

namespace tfserve {

/// A full page of tokens after a given prefix, see PrefixCache.
using PrefixNodeId = std::int32_t;
inline constexpr PrefixNodeId kNoPrefixNode = -1;

/// A tree of full pages. A node stands for "these tokens, after all the tokens of its ancestors, under this salt", and
/// names the page that holds their keys and values in each KV group, where there still is one.
///
/// Nodes are found through a keyed hash of (hash of the parent, tokens), but the hash is only a hint: a hit must have the
/// same parent node, the same tokens and, at the root, the same salt. As parents are compared by identity, equality holds
/// for the whole prefix, and a collision costs a miss at most.
///
/// A node lives while it has a child, a page or a pin. Not thread safe.
class PrefixCache {
   public:
    /// `blocks_per_group`: pages of each KV group. `block_size` >= 1.
    PrefixCache(std::int32_t block_size, std::span<const std::int32_t> blocks_per_group, HashKey key);
    virtual ~PrefixCache() = default;
    PrefixCache(const PrefixCache&) = delete;
    PrefixCache& operator=(const PrefixCache&) = delete;

    /// The node of `tokens` (block_size of them) after `parent`; kNoPrefixNode when there is none.
    /// `parent` kNoPrefixNode: the first page of a text under `salt`.
    PrefixNodeId find(PrefixNodeId parent, std::string_view salt, std::span<const TokenId> tokens) const;
    /// The same, made where there is none. kNoPrefixNode when the hash collides with another node: such a text is not cached.
    /// The caller owns a pin on the result, new or not (unpin()).
    PrefixNodeId find_or_insert(PrefixNodeId parent, std::string_view salt, std::span<const TokenId> tokens);

    /// The page of a node in a group; kNoBlock when it was evicted or never published.
    BlockId page(PrefixNodeId node, std::int32_t group) const { return pages_[page_index(node, group)]; }
    /// Names the page of a node in a group where it has none.
    void set_page(PrefixNodeId node, std::int32_t group, BlockId block) noexcept;
    /// The page is given away: forget it.
    void drop_page(std::int32_t group, BlockId block) noexcept;
    /// The node whose page this is, kNoPrefixNode when the page is not published.
    PrefixNodeId node_of(std::int32_t group, BlockId block) const {
        return node_of_block_[static_cast<std::size_t>(group)][static_cast<std::size_t>(block)];
    }

    /// Keeps a node alive without a page; kNoPrefixNode is ignored by both.
    void pin(PrefixNodeId node) noexcept;
    void unpin(PrefixNodeId node) noexcept;

    std::int32_t num_nodes() const { return static_cast<std::int32_t>(by_key_.size()); }

    /// Empty when every invariant holds, else what is wrong. O(nodes and pages).
    std::string check() const;

   protected:
    /// Key of a page: the chained, keyed hash. A seam for tests, which make it collide.
    virtual Hash128 key_of(const Hash128& parent, std::span<const TokenId> tokens) const;

   private:
    friend struct TestPeer;

    struct Node {
        Hash128 key;
        PrefixNodeId parent = kNoPrefixNode;
        std::int32_t uses = 0;  // children + pages + pins; 0 and not alive: on the free list
        bool alive = false;
        std::string salt;  // of a root only
    };
    struct KeyHash {
        std::size_t operator()(const Hash128& key) const noexcept { return static_cast<std::size_t>(key.lo); }
    };

    Hash128 key_after(PrefixNodeId parent, std::string_view salt, std::span<const TokenId> tokens) const;
    bool is(PrefixNodeId node, PrefixNodeId parent, std::string_view salt, std::span<const TokenId> tokens) const;
    void release(PrefixNodeId node) noexcept;
    std::span<const TokenId> tokens_of(PrefixNodeId node) const;
    std::size_t page_index(PrefixNodeId node, std::int32_t group) const {
        return static_cast<std::size_t>(node) * node_of_block_.size() + static_cast<std::size_t>(group);
    }

    std::int32_t block_size_;
    HashKey key_;
    std::unordered_map<Hash128, PrefixNodeId, KeyHash> by_key_;
    std::vector<Node> nodes_;
    std::vector<TokenId> tokens_;  // block_size_ a node
    std::vector<BlockId> pages_;   // one a node and group
    std::vector<PrefixNodeId> free_;
    std::vector<std::vector<PrefixNodeId>> node_of_block_;  // by group
};

}  // namespace tfserve
