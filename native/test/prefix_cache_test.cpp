#include "engine/prefix_cache.h"

#include <array>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include "test_peer.h"
#include "testing.h"

using namespace tfserve;

namespace {

constexpr int kBlock = 4;
constexpr int kBlocks = 40;
constexpr HashKey kKey{1, 2};

/// Only 16 different keys: nearly every pair of pages collides sooner or later.
struct WeakPrefixCache : PrefixCache {
    using PrefixCache::PrefixCache;
    Hash128 key_of(const Hash128& parent, std::span<const TokenId> tokens) const override {
        const Hash128 full = PrefixCache::key_of(parent, tokens);
        return {full.lo % 16, 0};
    }
};

using Text = std::vector<TokenId>;

/// Walks as far as a text is found; returns the page of each full page of tokens.
std::vector<BlockId> walk(const PrefixCache& cache, const std::string& salt, const Text& text) {
    std::vector<BlockId> pages;
    PrefixNodeId node = kNoPrefixNode;
    for (std::size_t i = 0; (i + 1) * kBlock <= text.size(); ++i) {
        node = cache.find(node, salt, std::span(text).subspan(i * kBlock, kBlock));
        if (node == kNoPrefixNode || cache.page(node, 0) == kNoBlock) break;
        pages.push_back(cache.page(node, 0));
    }
    return pages;
}

}  // namespace

TEST(siphash_known_answers) {
    std::array<std::uint8_t, 16> key_bytes;
    std::iota(key_bytes.begin(), key_bytes.end(), std::uint8_t{0});
    const HashKey key{0x0706050403020100U, 0x0f0e0d0c0b0a0908U};
    const std::uint8_t zero = 0;
    // from the reference implementation's vectors
    CHECK(siphash128(key, {}) == Hash128{0xe6a825ba047f81a3U, 0x930255c71472f66dU});
    CHECK(siphash128(key, {&zero, 1}) == Hash128{0x44af996bd8c187daU, 0x45fc229b11597634U});
    std::vector<std::uint8_t> bytes;
    std::map<std::pair<std::uint64_t, std::uint64_t>, int> seen;
    for (int n = 0; n < 64; ++n) {
        const Hash128 hash = siphash128(key, bytes);
        CHECK_EQ(++seen[std::pair(hash.lo, hash.hi)], 1);
        bytes.push_back(static_cast<std::uint8_t>(n));
    }
    CHECK(!(siphash128({1, 2}, bytes) == siphash128({1, 3}, bytes)));
    const HashKey a = random_hash_key(), b = random_hash_key();
    CHECK(a.k0 != b.k0 && a.k1 != b.k1);
}

TEST(prefix_cache_compares_parent_tokens_and_salt) {
    const std::array<std::int32_t, 1> blocks{kBlocks};
    PrefixCache cache(kBlock, blocks, kKey);
    const Text page{1, 2, 3, 4};
    const PrefixNodeId root = cache.find_or_insert(kNoPrefixNode, "", page);
    cache.set_page(root, 0, 7);
    cache.unpin(root);
    const PrefixNodeId child = cache.find_or_insert(root, "", page);  // the same tokens, one page later
    cache.set_page(child, 0, 8);
    cache.unpin(child);
    CHECK(root != child);
    CHECK_EQ(cache.find(kNoPrefixNode, "", page), root);
    CHECK_EQ(cache.find(root, "", page), child);
    CHECK_EQ(cache.find(kNoPrefixNode, "salt", page), kNoPrefixNode);
    CHECK_EQ(cache.find(child, "", page), kNoPrefixNode);
    CHECK_EQ(cache.find(root, "", Text{1, 2, 3, 5}), kNoPrefixNode);
    CHECK_EQ(cache.check(), std::string());
    // a node without a page stays while it has a child, and goes with it
    cache.drop_page(0, 7);
    CHECK_EQ(cache.find(kNoPrefixNode, "", page), root);
    CHECK_EQ(cache.page(root, 0), kNoBlock);
    cache.drop_page(0, 8);
    CHECK_EQ(cache.num_nodes(), 0);
    CHECK_EQ(cache.check(), std::string());
}

TEST(prefix_cache_equals_naive_over_random_steps) {
    for (const bool weak : {false, true}) {
        std::mt19937 random(weak ? 2 : 1);
        const std::array<std::int32_t, 1> blocks{kBlocks};
        const auto cache =
            weak ? std::make_unique<WeakPrefixCache>(kBlock, blocks, kKey) : std::make_unique<PrefixCache>(kBlock, blocks, kKey);
        // the oracle: the whole text of every page
        std::map<BlockId, std::pair<std::string, Text>> naive;
        const auto find_naive = [&](const std::string& salt, const Text& text, std::size_t n_pages) {
            for (const auto& [block, entry] : naive) {
                if (entry.first == salt && entry.second.size() == n_pages * kBlock &&
                    std::equal(entry.second.begin(), entry.second.end(), text.begin()))
                    return block;
            }
            return kNoBlock;
        };
        int hits = 0;
        int refused = 0;
        for (int step = 0; step < 100'000; ++step) {
            const std::string salt = random() % 4 == 0 ? "s" : "";
            Text text(kBlock * (1 + random() % 5));
            for (TokenId& token : text) token = static_cast<TokenId>(random() % 5 == 0 ? 1 : 0);
            if (random() % 3 == 0) {  // a page is given away
                const auto block = static_cast<BlockId>(random() % kBlocks);
                cache->drop_page(0, block);
                naive.erase(block);
            } else if (random() % 2 == 0) {  // publish a text's pages, as far as free page ids go
                PrefixNodeId tip = kNoPrefixNode;
                for (std::size_t i = 0; (i + 1) * kBlock <= text.size(); ++i) {
                    const PrefixNodeId node = cache->find_or_insert(tip, salt, std::span(text).subspan(i * kBlock, kBlock));
                    if (node == kNoPrefixNode) {
                        ++refused;
                        break;
                    }
                    cache->unpin(std::exchange(tip, node));
                    const auto block = static_cast<BlockId>(random() % kBlocks);
                    if (cache->page(node, 0) != kNoBlock || naive.contains(block)) continue;
                    cache->set_page(node, 0, block);
                    naive[block] = {salt, Text(text.begin(), text.begin() + static_cast<std::ptrdiff_t>((i + 1) * kBlock))};
                }
                cache->unpin(tip);
            }
            const std::vector<BlockId> found = walk(*cache, salt, text);
            for (std::size_t i = 0; (i + 1) * kBlock <= text.size(); ++i) {
                const BlockId expected = find_naive(salt, text, i + 1);
                // whatever collides: what is found is right; and without collisions everything is found
                if (i < found.size()) REQUIRE(found[i] == expected);
                if (!weak && i == found.size()) REQUIRE(expected == kNoBlock);
            }
            hits += static_cast<int>(found.size());
            if (step % 4 == 0) REQUIRE(cache->check().empty());
        }
        CHECK(hits > 10'000);
        if (weak) CHECK(refused > 1000);
        if (!weak) CHECK_EQ(refused, 0);
        for (BlockId block = 0; block < kBlocks; ++block) cache->drop_page(0, block);
        CHECK_EQ(cache->num_nodes(), 0);
    }
}

TEST(prefix_cache_check_finds_planted_faults) {
    const auto fault = [](auto plant) {
        const std::array<std::int32_t, 1> blocks{kBlocks};
        PrefixCache cache(kBlock, blocks, kKey);
        PrefixNodeId nodes[2];
        PrefixNodeId parent = kNoPrefixNode;
        for (int i = 0; i < 2; ++i) {
            nodes[i] = cache.find_or_insert(parent, "", Text{1, 2, 3, 4});
            cache.set_page(nodes[i], 0, 10 + i);
            cache.unpin(nodes[i]);
            parent = nodes[i];
        }
        REQUIRE(cache.check().empty());
        plant(cache, nodes[0], nodes[1]);
        CHECK(!cache.check().empty());
    };
    fault([](PrefixCache& cache, PrefixNodeId, PrefixNodeId child) { ++TestPeer::token(cache, child, 2); });  // a stale hash
    fault([](PrefixCache& cache, PrefixNodeId root, PrefixNodeId) { TestPeer::key(cache, root).hi ^= 1; });
    fault([](PrefixCache& cache, PrefixNodeId, PrefixNodeId child) { TestPeer::parent(cache, child) = kNoPrefixNode; });
    fault([](PrefixCache& cache, PrefixNodeId root, PrefixNodeId) { --TestPeer::uses(cache, root); });  // a lost reference
}
