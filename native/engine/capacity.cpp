#include "engine/capacity.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace tfserve {

Capacity::Capacity(const RunnerCapabilities& capabilities) : capabilities_(capabilities) {
    const RunnerCapabilities& c = capabilities_;
    if (c.block_size < 1 || c.groups.empty() || c.max_num_seqs < 1 || c.max_batch_tokens < 1 || c.max_model_len < 2 || c.vocab_size < 1) {
        throw std::invalid_argument("the model runner's capabilities are incomplete");
    }
    pool_tokens_ = std::numeric_limits<std::int64_t>::max();
    std::int64_t chunk = c.max_batch_tokens;
    for (const KvGroupSpec& group : c.groups) {
        if (group.num_blocks < 1 || group.window < 0) throw std::invalid_argument("a KV group needs at least one page");
        // A chunk of n tokens reads window + n - 1 cells, which touch one page more than they fill when they start inside one.
        const std::int64_t largest_chunk = static_cast<std::int64_t>(group.num_blocks - 1) * c.block_size + 2 - group.window;
        const bool holds_all = static_cast<std::int64_t>(group.num_blocks) * c.block_size >= c.max_model_len;
        if (group.window > 0 && largest_chunk >= 1 && !holds_all) {
            chunk = std::min(chunk, largest_chunk);  // such a group never runs out: pages leave at its other end
        } else {
            pool_tokens_ = std::min(pool_tokens_, static_cast<std::int64_t>(group.num_blocks) * c.block_size);
        }
    }
    max_chunk_ = static_cast<std::int32_t>(chunk);
    max_sequence_tokens_ = static_cast<std::int32_t>(std::min<std::int64_t>(c.max_model_len, pool_tokens_));
    if (max_sequence_tokens_ < 2) throw std::invalid_argument("the KV cache is too small for a prompt of one token");
}

std::int32_t Capacity::max_held(std::int32_t group, std::int32_t n_tokens, std::int32_t n_uncomputed) const {
    const KvGroupSpec& spec = capabilities_.groups[static_cast<std::size_t>(group)];
    const std::int64_t block_size = capabilities_.block_size;
    const std::int64_t all = (n_tokens + block_size - 1) / block_size;
    if (spec.window == 0) return static_cast<std::int32_t>(all);
    const std::int64_t cells = static_cast<std::int64_t>(spec.window) + std::clamp(n_uncomputed, 1, max_chunk_) - 1;
    const std::int64_t seen = cells < 2 ? 1 : (cells - 2) / block_size + 2;
    return static_cast<std::int32_t>(std::min(all, seen));
}

}  // namespace tfserve
