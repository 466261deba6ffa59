#include "engine/kv_manager.h"

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <utility>

namespace tfserve {

namespace {

std::int32_t pages_of(std::int32_t n_tokens, std::int32_t block_size) { return (n_tokens + block_size - 1) / block_size; }

/// Room for `n` elements, growing by doubling: what follows may then not throw.
template <typename T>
void make_room(std::vector<T>& v, std::size_t n) {
    if (v.capacity() < n) v.reserve(std::max(n, 2 * v.capacity()));
}

}  // namespace

KvManager::KvManager(KvManagerConfig config) : config_(std::move(config)) {
    if (config_.block_size < 1) throw std::invalid_argument("a page holds at least one token");
    if (config_.groups.empty()) throw std::invalid_argument("there is no KV group");
    std::vector<std::int32_t> blocks;
    for (const KvGroupSpec& group : config_.groups) {
        if (group.num_blocks < 1 || group.window < 0) throw std::invalid_argument("a KV group needs at least one page");
        blocks.push_back(group.num_blocks);
    }
    if (config_.prefix_cache) prefix_ = std::make_unique<PrefixCache>(config_.block_size, blocks, config_.hash_key);
    for (std::int32_t group = 0; group < static_cast<std::int32_t>(blocks.size()); ++group) {
        pools_.push_back(std::make_unique<BlockPool>(blocks[static_cast<std::size_t>(group)], [this, group](BlockId block) {
            if (prefix_) prefix_->drop_page(group, block);
        }));
    }
}

std::span<const TokenId> KvManager::page_tokens(std::span<const TokenId> tokens, std::int32_t page) const {
    const auto n = static_cast<std::size_t>(config_.block_size);
    return tokens.subspan(static_cast<std::size_t>(page) * n, n);
}

std::int32_t KvManager::first_visible_page(std::int32_t group, std::int32_t position) const {
    const std::int32_t window = config_.groups[static_cast<std::size_t>(group)].window;
    return window == 0 ? 0 : std::max(0, position - window + 1) / config_.block_size;
}

std::vector<PrefixNodeId> KvManager::matching_nodes(std::span<const TokenId> tokens, std::string_view salt) const {
    std::vector<PrefixNodeId> nodes;
    if (!prefix_ || tokens.empty()) return nodes;
    const auto limit = static_cast<std::int32_t>((tokens.size() - 1) / static_cast<std::size_t>(config_.block_size));
    PrefixNodeId node = kNoPrefixNode;
    for (std::int32_t page = 0; page < limit; ++page) {
        node = prefix_->find(node, salt, page_tokens(tokens, page));
        if (node == kNoPrefixNode) break;
        bool complete = true;  // groups that see everything need every page
        for (std::int32_t group = 0; group < num_groups() && complete; ++group) {
            complete = config_.groups[static_cast<std::size_t>(group)].window != 0 || prefix_->page(node, group) != kNoBlock;
        }
        if (!complete) break;
        nodes.push_back(node);
    }
    // windowed groups need the pages that the next query sees; shorten until all of them have these
    while (!nodes.empty()) {
        const auto n = static_cast<std::int32_t>(nodes.size());
        std::int32_t keep = n;
        for (std::int32_t group = 0; group < num_groups(); ++group) {
            for (std::int32_t page = first_visible_page(group, n * config_.block_size); page < n; ++page) {
                if (prefix_->page(nodes[static_cast<std::size_t>(page)], group) == kNoBlock) keep = std::min(keep, n - 1);
            }
        }
        if (keep == n) break;
        nodes.resize(static_cast<std::size_t>(keep));
    }
    return nodes;
}

KvManager::Match KvManager::match(std::span<const TokenId> tokens, std::string_view salt) const {
    const std::vector<PrefixNodeId> nodes = matching_nodes(tokens, salt);
    Match match;
    match.num_pages = static_cast<std::int32_t>(nodes.size());
    match.held.resize(pools_.size());
    match.taken_from_available.resize(pools_.size());
    for (std::int32_t group = 0; group < num_groups(); ++group) {
        const auto g = static_cast<std::size_t>(group);
        for (std::int32_t page = first_visible_page(group, match.num_pages * config_.block_size); page < match.num_pages; ++page) {
            ++match.held[g];
            if (pool(group).ref_count(prefix_->page(nodes[static_cast<std::size_t>(page)], group)) == 0) ++match.taken_from_available[g];
        }
    }
    return match;
}

std::int32_t KvManager::begin(SequenceId id, std::span<const TokenId> tokens, std::string_view salt) {
    assert(!sequences_.contains(id));
    const std::vector<PrefixNodeId> nodes = matching_nodes(tokens, salt);
    const auto n = static_cast<std::int32_t>(nodes.size());
    Entry entry;
    entry.salt = salt;
    entry.first_live.resize(pools_.size());
    for (std::int32_t group = 0; group < num_groups(); ++group) {
        std::vector<BlockId> table(nodes.size(), kNoBlock);
        const std::int32_t first = first_visible_page(group, n * config_.block_size);
        for (std::int32_t page = first; page < n; ++page) {
            table[static_cast<std::size_t>(page)] = prefix_->page(nodes[static_cast<std::size_t>(page)], group);
        }
        entry.first_live[static_cast<std::size_t>(group)] = first;
        entry.tables.push_back(std::move(table));
    }
    entry.num_published = n;
    entry.tip = nodes.empty() ? kNoPrefixNode : nodes.back();
    const Entry& added = sequences_.emplace(id, std::move(entry)).first->second;
    // nothing below can fail
    for (std::int32_t group = 0; group < num_groups(); ++group) {
        for (BlockId block : added.tables[static_cast<std::size_t>(group)]) {
            if (block != kNoBlock) pools_[static_cast<std::size_t>(group)]->ref(block);
        }
    }
    if (prefix_) {
        prefix_->pin(added.tip);
        if (!tokens.empty()) prefix_queries_ += (tokens.size() - 1) / static_cast<std::size_t>(config_.block_size);
        prefix_hits_ += nodes.size();
    }
    return n * config_.block_size;
}

void KvManager::release_unseen(Entry& entry, std::int32_t group, std::int32_t num_computed) noexcept {
    const auto g = static_cast<std::size_t>(group);
    std::vector<BlockId>& table = entry.tables[g];
    const std::int32_t end = std::min(first_visible_page(group, num_computed), static_cast<std::int32_t>(table.size()));
    for (std::int32_t& page = entry.first_live[g]; page < end; ++page) {
        pools_[g]->unref(std::exchange(table[static_cast<std::size_t>(page)], kNoBlock));
    }
}

bool KvManager::must_copy(const Entry& entry, std::int32_t group, std::int32_t num_computed) const {
    if (num_computed % config_.block_size == 0) return false;  // the next token opens a page
    const auto page = static_cast<std::size_t>(num_computed / config_.block_size);
    const std::vector<BlockId>& table = entry.tables[static_cast<std::size_t>(group)];
    return page < table.size() && pool(group).ref_count(table[page]) > 1;
}

bool KvManager::allocate(SequenceId id, std::int32_t num_computed, std::int32_t n_new, std::vector<BlockCopy>& copies) {
    Entry& entry = sequences_.at(id);
    const std::int32_t n_pages = pages_of(num_computed + n_new, config_.block_size);
    make_room(copies, copies.size() + pools_.size());
    bool enough = true;
    for (std::int32_t group = 0; group < num_groups(); ++group) {
        std::vector<BlockId>& table = entry.tables[static_cast<std::size_t>(group)];
        make_room(table, static_cast<std::size_t>(n_pages));
        release_unseen(entry, group, num_computed);
        const std::int32_t more = std::max(0, n_pages - static_cast<std::int32_t>(table.size()));
        enough = enough && more + (must_copy(entry, group, num_computed) ? 1 : 0) <= available(group);
    }
    if (!enough) return false;
    for (std::int32_t group = 0; group < num_groups(); ++group) {
        const auto g = static_cast<std::size_t>(group);
        std::vector<BlockId>& table = entry.tables[g];
        if (must_copy(entry, group, num_computed)) {
            BlockId& shared = table[static_cast<std::size_t>(num_computed / config_.block_size)];
            const BlockId own = pools_[g]->alloc();
            copies.push_back({group, shared, own, num_computed % config_.block_size});
            pools_[g]->unref(std::exchange(shared, own));
            ++block_copies_;
        }
        while (static_cast<std::int32_t>(table.size()) < n_pages) table.push_back(pools_[g]->alloc());
    }
    return true;
}

void KvManager::publish(SequenceId id, std::span<const TokenId> tokens, std::int32_t num_computed) {
    if (!prefix_) return;
    Entry& entry = sequences_.at(id);
    while (entry.publishable && (entry.num_published + 1) * config_.block_size <= num_computed) {
        const std::int32_t page = entry.num_published;
        const PrefixNodeId node = prefix_->find_or_insert(entry.tip, entry.salt, page_tokens(tokens, page));
        if (node == kNoPrefixNode) {
            entry.publishable = false;
            return;
        }
        for (std::int32_t group = 0; group < num_groups(); ++group) {
            const auto g = static_cast<std::size_t>(group);
            const BlockId block = entry.tables[g][static_cast<std::size_t>(page)];
            // another sequence may have computed the same page meanwhile: the first one stays
            if (block == kNoBlock || prefix_->page(node, group) != kNoBlock) continue;
            prefix_->set_page(node, group, block);
            pools_[g]->publish(block);
        }
        prefix_->unpin(std::exchange(entry.tip, node));  // find_or_insert's pin is now the tip's
        ++entry.num_published;
    }
}

void KvManager::fork(SequenceId parent, SequenceId child) {
    assert(!sequences_.contains(child));
    Entry copy = sequences_.at(parent);
    const Entry& added = sequences_.emplace(child, std::move(copy)).first->second;
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        for (BlockId block : added.tables[g]) {
            if (block != kNoBlock) pools_[g]->ref(block);
        }
    }
    if (prefix_) prefix_->pin(added.tip);
}

void KvManager::free(SequenceId id, BlockPool::Worth worth) noexcept {
    const auto it = sequences_.find(id);
    if (it == sequences_.end()) return;
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        const std::vector<BlockId>& table = it->second.tables[g];
        for (auto block = table.rbegin(); block != table.rend(); ++block) {
            if (*block != kNoBlock) pools_[g]->unref(*block, worth);
        }
    }
    if (prefix_) prefix_->unpin(it->second.tip);
    sequences_.erase(it);
}

const std::vector<BlockId>& KvManager::table(SequenceId id, std::int32_t group) const {
    return sequences_.at(id).tables[static_cast<std::size_t>(group)];
}

std::int32_t KvManager::held(SequenceId id, std::int32_t group) const {
    const Entry& entry = sequences_.at(id);
    const auto g = static_cast<std::size_t>(group);
    return static_cast<std::int32_t>(entry.tables[g].size()) - entry.first_live[g];
}

}  // namespace tfserve
