// Opens private state to tests, so that they can plant the faults that the checkers must find.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/kv_manager.h"
#include "engine/scheduler.h"

namespace tfserve {

struct TestPeer {
    static auto& page(BlockPool& pool, BlockId block) { return pool.pages_[static_cast<std::size_t>(block)]; }
    static std::vector<BlockId>& free_list(BlockPool& pool) { return pool.free_; }
    static BlockId& oldest(BlockPool& pool) { return pool.cached(BlockPool::Worth::kept).oldest; }
    static void forget_evictions(BlockPool& pool) { pool.on_evict_ = nullptr; }

    static TokenId& token(PrefixCache& cache, PrefixNodeId node, int i) {
        return cache.tokens_[static_cast<std::size_t>(node) * static_cast<std::size_t>(cache.block_size_) + static_cast<std::size_t>(i)];
    }
    static Hash128& key(PrefixCache& cache, PrefixNodeId node) { return cache.nodes_[static_cast<std::size_t>(node)].key; }
    static PrefixNodeId& parent(PrefixCache& cache, PrefixNodeId node) { return cache.nodes_[static_cast<std::size_t>(node)].parent; }
    static std::int32_t& uses(PrefixCache& cache, PrefixNodeId node) { return cache.nodes_[static_cast<std::size_t>(node)].uses; }

    static BlockPool& pool(KvManager& kv, std::int32_t group) { return *kv.pools_[static_cast<std::size_t>(group)]; }
    static PrefixCache& prefix(KvManager& kv) { return *kv.prefix_; }
    static void replace_prefix(KvManager& kv, std::unique_ptr<PrefixCache> prefix) { kv.prefix_ = std::move(prefix); }
    static std::vector<BlockId>& table(KvManager& kv, SequenceId id, std::int32_t group) {
        return kv.sequences_.at(id).tables[static_cast<std::size_t>(group)];
    }
    static std::int32_t& num_published(KvManager& kv, SequenceId id) { return kv.sequences_.at(id).num_published; }

    static KvManager& kv(Scheduler& scheduler) { return scheduler.kv_; }
    static Sequence& sequence(Scheduler& scheduler, SequenceId id) { return *scheduler.sequences_.at(id); }
    static std::vector<SlotId>& free_slots(Scheduler& scheduler) { return scheduler.free_slots_; }
};

}  // namespace tfserve
