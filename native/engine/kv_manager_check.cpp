// The invariants of the KV manager, kept apart from the code that upholds them.
#include <algorithm>
#include <map>
#include <utility>

#include "engine/kv_manager.h"

namespace tfserve {

std::string KvManager::check(const ComputedTokens& computed_tokens) const {
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        const BlockPool& pool = *pools_[g];
        const std::string where = "group " + std::to_string(g) + ": ";
        if (std::string error = pool.check(); !error.empty()) return where + error;
        if (pool.num_free() + pool.num_cached() + pool.num_used() != pool.num_blocks()) return where + "free + cached + used is not all";
    }
    if (std::string error = check_tables(computed_tokens); !error.empty()) return error;
    return prefix_ ? check_prefixes(computed_tokens) : std::string();
}

std::string KvManager::check_tables(const ComputedTokens& computed_tokens) const {
    for (std::size_t g = 0; g < pools_.size(); ++g) {
        const BlockPool& pool = *pools_[g];
        std::vector<std::int32_t> refs(static_cast<std::size_t>(pool.num_blocks()), 0);
        // what the first holder of a page has computed into it
        std::map<BlockId, std::span<const TokenId>> content;
        for (const auto& [id, entry] : sequences_) {
            const std::string who = "group " + std::to_string(g) + ", sequence " + std::to_string(id) + ": ";
            const std::span<const TokenId> tokens = computed_tokens(id);
            const std::vector<BlockId>& table = entry.tables[g];
            if (table.size() * static_cast<std::size_t>(config_.block_size) < tokens.size())
                return who + "its table is too short for its computed tokens";
            for (std::size_t page = 0; page < table.size(); ++page) {
                const BlockId block = table[page];
                if (std::cmp_less(page, entry.first_live[g])) {
                    if (block != kNoBlock) return who + "it still names a page that its window has given back";
                    continue;
                }
                if (!pool.contains(block)) return who + "page " + std::to_string(block) + " does not exist";
                ++refs[static_cast<std::size_t>(block)];
                const std::size_t begin = std::min(tokens.size(), page * static_cast<std::size_t>(config_.block_size));
                const std::span<const TokenId> own =
                    tokens.subspan(begin, std::min(tokens.size() - begin, static_cast<std::size_t>(config_.block_size)));
                const auto [it, first] = content.emplace(block, own);
                if (first) continue;
                const std::size_t n = std::min(own.size(), it->second.size());
                if (!std::ranges::equal(own.first(n), it->second.first(n))) {
                    return who + "page " + std::to_string(block) + " is shared with a sequence that has other tokens there";
                }
                if (own.size() > it->second.size()) it->second = own;
            }
        }
        for (std::size_t block = 0; block < refs.size(); ++block) {
            const std::int32_t counted = pool.ref_count(static_cast<BlockId>(block));
            if (counted != refs[block]) {
                return "group " + std::to_string(g) + ": page " + std::to_string(block) + " has " + std::to_string(counted) +
                       " references, but is in " + std::to_string(refs[block]) + " tables";
            }
        }
    }
    return {};
}

std::string KvManager::check_prefixes(const ComputedTokens& computed_tokens) const {
    if (std::string error = prefix_->check(); !error.empty()) return error;
    for (std::int32_t group = 0; group < num_groups(); ++group) {
        for (BlockId block = 0; block < pool(group).num_blocks(); ++block) {
            if (pool(group).is_published(block) != (prefix_->node_of(group, block) != kNoPrefixNode)) {
                return "group " + std::to_string(group) + ": page " + std::to_string(block) +
                       " is published in one book and not in the other";
            }
        }
    }
    for (const auto& [id, entry] : sequences_) {
        const std::string who = "sequence " + std::to_string(id) + ": ";
        const std::span<const TokenId> tokens = computed_tokens(id);
        if (static_cast<std::size_t>(entry.num_published) * static_cast<std::size_t>(config_.block_size) > tokens.size()) {
            return who + "it has published pages that are not computed";
        }
        PrefixNodeId node = kNoPrefixNode;
        for (std::int32_t page = 0; page < entry.num_published; ++page) {
            node = prefix_->find(node, entry.salt, page_tokens(tokens, page));
            if (node == kNoPrefixNode) return who + "its published page " + std::to_string(page) + " cannot be found by its tokens";
            for (std::int32_t group = 0; group < num_groups(); ++group) {
                const BlockId block = entry.tables[static_cast<std::size_t>(group)][static_cast<std::size_t>(page)];
                if (block == kNoBlock || !pool(group).is_published(block)) continue;
                if (prefix_->node_of(group, block) != node) return who + "page " + std::to_string(block) + " is published as another text";
            }
        }
        if (node != entry.tip) return who + "its last published page is not the one it remembers";
        for (std::int32_t group = 0; group < num_groups(); ++group) {
            const std::vector<BlockId>& table = entry.tables[static_cast<std::size_t>(group)];
            for (std::size_t page = static_cast<std::size_t>(entry.num_published); page < table.size(); ++page) {
                if (table[page] != kNoBlock && pool(group).is_published(table[page])) return who + "it writes to a published page";
            }
        }
    }
    return {};
}

}  // namespace tfserve
