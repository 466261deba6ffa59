// How the KV cache's memory is divided: pages of each KV group, and the longest sequence they serve. Pure.
#pragma once

#include <cstdint>
#include <vector>

namespace tfserve {

/// One kind of attention layers, which need pages of their own.
struct KvGroupShape {
    std::uint64_t block_bytes = 0;  ///< of a page, over the layers of this kind
    std::int32_t window = 0;        ///< tokens a query sees, itself included; 0: all
};

struct KvDemand {
    std::uint64_t memory = 0;  ///< bytes that all pages together may take
    std::int32_t block_size = 16;
    std::int32_t max_batch_tokens = 1;
    std::int32_t max_num_seqs = 1;
    std::int32_t max_model_len = 0;  ///< tokens wanted of one sequence
    std::vector<KvGroupShape> groups;
};

struct KvSizes {
    std::vector<std::int32_t> num_blocks;  ///< by group; empty: not even two pages of each group fit
    std::int32_t max_model_len = 0;        ///< the wanted length, or less where one sequence of it does not fit
};

/// First, one sequence of the wanted length has to fit, and all of a step's tokens with it. Beyond that the memory is divided
/// so that the groups run out together when sequences are of typical length: a group with a window gets fewer pages
/// than one without, as each sequence holds fewer. No group gets more than all sequences at full length could use.
KvSizes kv_sizes(const KvDemand& demand);

}  // namespace tfserve
