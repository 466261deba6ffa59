#include "runtime/kv_sizes.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace tfserve {

namespace {

/// Prompt and answer of a chat of some turns: what the groups are balanced for.
constexpr std::int32_t kTypicalTokens = 2048;

class Division {
   public:
    explicit Division(const KvDemand& demand) : d_(demand) {}

    KvSizes divide() const {
        KvSizes sizes;
        sizes.max_model_len = longest();
        if (sizes.max_model_len == 0) return sizes;
        std::int32_t chunk = d_.max_batch_tokens;
        while (chunk > d_.block_size && cost(sizes.max_model_len, chunk) > d_.memory) chunk /= 2;
        sizes.num_blocks = balance(sizes.max_model_len, chunk);
        return sizes;
    }

   private:
    std::int64_t pages(std::int64_t tokens) const { return (tokens + d_.block_size - 1) / d_.block_size; }

    /// Pages that a sequence of `len` tokens, computed in chunks, holds at most; see Capacity::max_held.
    std::int64_t held(const KvGroupShape& group, std::int32_t len, std::int32_t chunk) const {
        const std::int64_t all = pages(len);
        if (group.window == 0) return all;
        const std::int64_t cells = std::int64_t{group.window} + chunk - 1;
        return std::min(all, cells < 2 ? 1 : (cells - 2) / d_.block_size + 2);
    }

    std::uint64_t cost(std::int32_t len, std::int32_t chunk) const {
        std::uint64_t bytes = 0;
        for (const KvGroupShape& group : d_.groups) bytes += static_cast<std::uint64_t>(held(group, len, chunk)) * group.block_bytes;
        return bytes;
    }

    /// The longest sequence that fits alone, in chunks as small as need be; 0: not even one of two pages.
    std::int32_t longest() const {
        const std::int32_t chunk = std::min(d_.max_batch_tokens, d_.block_size);
        if (cost(d_.max_model_len, chunk) <= d_.memory) return d_.max_model_len;
        std::int64_t fits = 1, too_many = pages(d_.max_model_len);
        while (too_many - fits > 1) {
            const std::int64_t middle = (fits + too_many) / 2;
            (cost(static_cast<std::int32_t>(middle * d_.block_size), chunk) <= d_.memory ? fits : too_many) = middle;
        }
        return fits < 2 ? 0 : static_cast<std::int32_t>(fits * d_.block_size);
    }

    std::vector<std::int32_t> balance(std::int32_t len, std::int32_t chunk) const {
        const std::int64_t addressable = (std::numeric_limits<std::int32_t>::max() - 256) / d_.block_size;
        const std::int64_t most = std::min(addressable, pages(len) * d_.max_num_seqs);
        std::vector<std::optional<std::int64_t>> blocks(d_.groups.size());
        // a share that is too small or too large is set to its bound, and what is left is divided anew among the others
        for (bool again = true; again;) {
            again = false;
            std::uint64_t left = d_.memory, weights = 0;
            for (std::size_t g = 0; g < d_.groups.size(); ++g) {
                const std::uint64_t page = d_.groups[g].block_bytes;
                if (blocks[g]) {
                    left -= std::min(left, static_cast<std::uint64_t>(*blocks[g]) * page);
                } else {
                    weights += typical(g, len) * page;
                }
            }
            for (std::size_t g = 0; g < d_.groups.size() && !again; ++g) {
                if (blocks[g]) continue;
                const std::int64_t least = held(d_.groups[g], len, chunk);
                const std::int64_t share = share_of(left, weights, g, len);
                if (share >= least && share <= most) continue;
                blocks[g] = std::min(std::max(share, least), most);
                again = true;
            }
            if (again) continue;
            for (std::size_t g = 0; g < d_.groups.size(); ++g) {
                if (!blocks[g]) blocks[g] = share_of(left, weights, g, len);
            }
        }
        std::vector<std::int32_t> result;
        for (const auto& n : blocks) result.push_back(static_cast<std::int32_t>(*n));
        return result;
    }

    std::uint64_t typical(std::size_t g, std::int32_t len) const {
        return static_cast<std::uint64_t>(held(d_.groups[g], std::min(len, kTypicalTokens), 1));
    }

    /// Pages of a group when `bytes` are divided by weight: typical pages x bytes of a page.
    std::int64_t share_of(std::uint64_t bytes, std::uint64_t weights, std::size_t g, std::int32_t len) const {
        const std::uint64_t page = std::max<std::uint64_t>(d_.groups[g].block_bytes, 1);
        if (weights == 0) return std::numeric_limits<std::int64_t>::max();  // pages without a size
        const std::uint64_t own = typical(g, len) * page;
        if (own == weights) return static_cast<std::int64_t>(bytes / page);  // the last one: all that is left
        return static_cast<std::int64_t>(static_cast<long double>(bytes) * static_cast<long double>(own) /
                                         static_cast<long double>(weights) / static_cast<long double>(page));
    }

    const KvDemand& d_;
};

}  // namespace

KvSizes kv_sizes(const KvDemand& demand) { return Division(demand).divide(); }

}  // namespace tfserve
