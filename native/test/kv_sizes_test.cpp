#include "runtime/kv_sizes.h"

#include <random>

#include "engine/capacity.h"
#include "testing.h"

using namespace tfserve;

namespace {

std::uint64_t bytes_of(const KvDemand& demand, const KvSizes& sizes) {
    std::uint64_t bytes = 0;
    for (std::size_t g = 0; g < sizes.num_blocks.size(); ++g) {
        bytes += static_cast<std::uint64_t>(sizes.num_blocks[g]) * demand.groups[g].block_bytes;
    }
    return bytes;
}

}  // namespace

TEST(kv_sizes_of_one_group) {
    KvDemand demand{30 * 100, 4, 64, 8, 100, {{100, 0}}};
    KvSizes sizes = kv_sizes(demand);
    CHECK_EQ(sizes.num_blocks, (std::vector<std::int32_t>{30}));
    CHECK_EQ(sizes.max_model_len, 100);
    demand.memory = 1 << 30;  // no more than all sequences could use
    CHECK_EQ(kv_sizes(demand).num_blocks, (std::vector<std::int32_t>{25 * 8}));
    demand.memory = 10 * 100 + 99;  // the length gives way
    sizes = kv_sizes(demand);
    CHECK_EQ(sizes.num_blocks, (std::vector<std::int32_t>{10}));
    CHECK_EQ(sizes.max_model_len, 40);
    demand.memory = 199;
    CHECK(kv_sizes(demand).num_blocks.empty());
}

TEST(kv_sizes_groups_run_out_together) {
    // Gemma 3's shape: five of six layers see 1024 tokens
    const KvDemand demand{std::uint64_t{4} << 30, 16, 512, 64, 32768, {{16 * 4096, 0}, {16 * 5 * 4096, 1024}}};
    const KvSizes sizes = kv_sizes(demand);
    CHECK_EQ(sizes.max_model_len, 32768);
    // of sequences of 2048 tokens, each group holds as many as the other
    const double full = sizes.num_blocks[0] / (2048.0 / 16), windowed = sizes.num_blocks[1] / (1024.0 / 16);
    CHECK(full / windowed > 0.95 && full / windowed < 1.05);
    CHECK(bytes_of(demand, sizes) <= demand.memory && bytes_of(demand, sizes) > demand.memory * 99 / 100);
}

TEST(kv_sizes_one_full_sequence_comes_first) {
    // barely more than one sequence of the whole length: the window gets what it cannot do without
    const std::uint64_t one = 2048 * 1000 + 98 * 5000;
    const KvSizes sizes = kv_sizes({one, 16, 512, 64, 32768, {{1000, 0}, {5000, 1024}}});
    CHECK_EQ(sizes.max_model_len, 32768);
    CHECK_EQ(sizes.num_blocks, (std::vector<std::int32_t>{2048, 98}));
    // a window in every layer: length costs nothing
    CHECK_EQ(kv_sizes({70 * 5000, 16, 512, 64, 1 << 20, {{5000, 1024}}}).max_model_len, 1 << 20);
}

TEST(kv_sizes_always_serve_what_they_promise) {
    std::mt19937 random(5);
    const auto pick = [&](std::uint32_t low, std::uint32_t high) { return low + random() % (high - low + 1); };
    int served = 0;
    for (int i = 0; i < 20000; ++i) {
        KvDemand demand;
        demand.block_size = static_cast<std::int32_t>(1u << pick(0, 5));
        demand.max_batch_tokens = static_cast<std::int32_t>(pick(1, 300));
        demand.max_num_seqs = static_cast<std::int32_t>(pick(1, 20));
        demand.max_model_len = static_cast<std::int32_t>(pick(2, 5000));
        const bool windowed = random() % 3 != 0;
        if (!windowed || random() % 2) demand.groups.push_back({pick(1, 1000), 0});
        if (windowed) demand.groups.push_back({pick(1, 1000), static_cast<std::int32_t>(pick(1, 3000))});
        demand.memory = pick(0, 1u << pick(2, 24));
        const KvSizes sizes = kv_sizes(demand);
        if (sizes.num_blocks.empty()) continue;
        ++served;
        CHECK(bytes_of(demand, sizes) <= demand.memory);
        RunnerCapabilities c;
        c.block_size = demand.block_size;
        for (std::size_t g = 0; g < demand.groups.size(); ++g) c.groups.push_back({sizes.num_blocks[g], demand.groups[g].window});
        c.max_num_seqs = demand.max_num_seqs;
        c.max_batch_tokens = demand.max_batch_tokens;
        c.max_model_len = sizes.max_model_len;
        c.vocab_size = 10;
        CHECK_EQ(Capacity(c).max_sequence_tokens(), sizes.max_model_len);
    }
    CHECK(served > 5000);
}
