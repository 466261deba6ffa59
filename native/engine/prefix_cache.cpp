#include "engine/prefix_cache.h"

#include <algorithm>
#include <cassert>
#include <stdexcept>

namespace tfserve {

namespace {

void append_word(std::vector<std::uint8_t>& bytes, std::uint64_t word, int n_bytes) {
    for (int i = 0; i < n_bytes; ++i) bytes.push_back(static_cast<std::uint8_t>(word >> (8 * i)));
}

}  // namespace

PrefixCache::PrefixCache(std::int32_t block_size, std::span<const std::int32_t> blocks_per_group, HashKey key)
    : block_size_(block_size), key_(key) {
    if (block_size < 1) throw std::invalid_argument("a page holds at least one token");
    for (std::int32_t n : blocks_per_group) node_of_block_.emplace_back(static_cast<std::size_t>(n), kNoPrefixNode);
}

Hash128 PrefixCache::key_of(const Hash128& parent, std::span<const TokenId> tokens) const {
    thread_local std::vector<std::uint8_t> bytes;
    bytes.clear();
    append_word(bytes, parent.lo, 8);
    append_word(bytes, parent.hi, 8);
    for (TokenId token : tokens) append_word(bytes, static_cast<std::uint32_t>(token), 4);
    return siphash128(key_, bytes);
}

Hash128 PrefixCache::key_after(PrefixNodeId parent, std::string_view salt, std::span<const TokenId> tokens) const {
    if (parent != kNoPrefixNode) return key_of(nodes_[static_cast<std::size_t>(parent)].key, tokens);
    return key_of(siphash128(key_, {reinterpret_cast<const std::uint8_t*>(salt.data()), salt.size()}), tokens);
}

std::span<const TokenId> PrefixCache::tokens_of(PrefixNodeId node) const {
    const auto n = static_cast<std::size_t>(block_size_);
    return std::span(tokens_).subspan(static_cast<std::size_t>(node) * n, n);
}

bool PrefixCache::is(PrefixNodeId node, PrefixNodeId parent, std::string_view salt, std::span<const TokenId> tokens) const {
    const Node& n = nodes_[static_cast<std::size_t>(node)];
    if (n.parent != parent) return false;
    if (parent == kNoPrefixNode && n.salt != salt) return false;
    return std::ranges::equal(tokens_of(node), tokens);
}

PrefixNodeId PrefixCache::find(PrefixNodeId parent, std::string_view salt, std::span<const TokenId> tokens) const {
    assert(tokens.size() == static_cast<std::size_t>(block_size_));
    const auto it = by_key_.find(key_after(parent, salt, tokens));
    return it != by_key_.end() && is(it->second, parent, salt, tokens) ? it->second : kNoPrefixNode;
}

PrefixNodeId PrefixCache::find_or_insert(PrefixNodeId parent, std::string_view salt, std::span<const TokenId> tokens) {
    assert(tokens.size() == static_cast<std::size_t>(block_size_));
    const Hash128 key = key_after(parent, salt, tokens);
    if (const auto it = by_key_.find(key); it != by_key_.end()) {
        if (!is(it->second, parent, salt, tokens)) return kNoPrefixNode;
        pin(it->second);
        return it->second;
    }
    // everything that can throw comes before the first change that counts
    std::string root_salt = parent == kNoPrefixNode ? std::string(salt) : std::string();
    if (free_.empty()) {
        const std::size_t n = nodes_.size() + 1;
        if (nodes_.capacity() < n) nodes_.reserve(2 * n);
        tokens_.resize(std::max(tokens_.size(), n * static_cast<std::size_t>(block_size_)));
        pages_.resize(std::max(pages_.size(), n * node_of_block_.size()), kNoBlock);
        if (free_.capacity() < n) free_.reserve(2 * n);  // release() must not allocate
    }
    const PrefixNodeId id = free_.empty() ? static_cast<PrefixNodeId>(nodes_.size()) : free_.back();
    by_key_.emplace(key, id);
    if (free_.empty()) {
        nodes_.emplace_back();
    } else {
        free_.pop_back();
    }
    Node& node = nodes_[static_cast<std::size_t>(id)];
    node.key = key;
    node.parent = parent;
    node.uses = 1;
    node.alive = true;
    node.salt = std::move(root_salt);
    std::ranges::copy(tokens, tokens_.begin() + static_cast<std::ptrdiff_t>(id) * block_size_);
    pin(parent);  // a child keeps its parent
    return id;
}

void PrefixCache::set_page(PrefixNodeId node, std::int32_t group, BlockId block) noexcept {
    assert(page(node, group) == kNoBlock && node_of(group, block) == kNoPrefixNode);
    pages_[page_index(node, group)] = block;
    node_of_block_[static_cast<std::size_t>(group)][static_cast<std::size_t>(block)] = node;
    pin(node);
}

void PrefixCache::drop_page(std::int32_t group, BlockId block) noexcept {
    PrefixNodeId& entry = node_of_block_[static_cast<std::size_t>(group)][static_cast<std::size_t>(block)];
    const PrefixNodeId node = entry;
    if (node == kNoPrefixNode) return;
    entry = kNoPrefixNode;
    pages_[page_index(node, group)] = kNoBlock;
    unpin(node);
}

void PrefixCache::pin(PrefixNodeId node) noexcept {
    if (node != kNoPrefixNode) ++nodes_[static_cast<std::size_t>(node)].uses;
}

void PrefixCache::unpin(PrefixNodeId node) noexcept {
    while (node != kNoPrefixNode) {
        Node& n = nodes_[static_cast<std::size_t>(node)];
        assert(n.uses > 0);
        if (--n.uses > 0) return;
        const PrefixNodeId parent = n.parent;
        release(node);
        node = parent;  // which has lost a child
    }
}

void PrefixCache::release(PrefixNodeId node) noexcept {
    Node& n = nodes_[static_cast<std::size_t>(node)];
    by_key_.erase(n.key);
    n.alive = false;
    n.parent = kNoPrefixNode;
    n.salt.clear();
    free_.push_back(node);
}

std::string PrefixCache::check() const {
    const auto name = [](PrefixNodeId node) { return "prefix node " + std::to_string(node); };
    std::vector<std::int32_t> uses(nodes_.size(), 0);
    std::size_t alive = 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        const auto id = static_cast<PrefixNodeId>(i);
        const Node& n = nodes_[i];
        if (!n.alive) continue;
        ++alive;
        if (n.parent != kNoPrefixNode) {
            if (!nodes_[static_cast<std::size_t>(n.parent)].alive) return name(id) + " has a parent that is gone";
            ++uses[static_cast<std::size_t>(n.parent)];
        }
        if (!(key_after(n.parent, n.salt, tokens_of(id)) == n.key)) return name(id) + " has a hash that is not that of its tokens";
        const auto it = by_key_.find(n.key);
        if (it == by_key_.end() || it->second != id) return name(id) + " cannot be found by its hash";
        for (std::int32_t group = 0; group < static_cast<std::int32_t>(node_of_block_.size()); ++group) {
            const BlockId block = page(id, group);
            if (block == kNoBlock) continue;
            ++uses[i];
            if (node_of(group, block) != id) return name(id) + " names page " + std::to_string(block) + ", which does not name it";
        }
    }
    if (alive != by_key_.size())
        return "the prefix map has " + std::to_string(by_key_.size()) + " entries for " + std::to_string(alive) + " nodes";
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        // pins belong to sequences: there may be more uses than children and pages, never fewer
        if (nodes_[i].alive && (nodes_[i].uses < uses[i] || nodes_[i].uses == 0))
            return name(static_cast<PrefixNodeId>(i)) + " counts too few uses";
    }
    for (std::size_t group = 0; group < node_of_block_.size(); ++group) {
        for (std::size_t block = 0; block < node_of_block_[group].size(); ++block) {
            const PrefixNodeId node = node_of_block_[group][block];
            if (node == kNoPrefixNode) continue;
            if (!nodes_[static_cast<std::size_t>(node)].alive ||
                page(node, static_cast<std::int32_t>(group)) != static_cast<BlockId>(block)) {
                return "page " + std::to_string(block) + " names " + name(node) + ", which does not name it";
            }
        }
    }
    return {};
}

}  // namespace tfserve
