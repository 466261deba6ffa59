#include "engine/block_pool.h"

#include <algorithm>
#include <random>
#include <vector>

#include "test_peer.h"
#include "testing.h"

using namespace tfserve;

TEST(block_pool_gives_all_pages_once) {
    BlockPool pool(5, {});
    std::vector<BlockId> blocks;
    for (int i = 0; i < 5; ++i) blocks.push_back(pool.alloc());
    std::ranges::sort(blocks);
    CHECK_EQ(blocks, (std::vector<BlockId>{0, 1, 2, 3, 4}));
    CHECK_EQ(pool.alloc(), kNoBlock);
    CHECK_EQ(pool.num_used(), 5);
    for (BlockId block : blocks) pool.unref(block);
    CHECK_EQ(pool.num_free(), 5);
    CHECK_EQ(pool.check(), std::string());
    CHECK_THROWS(BlockPool(-1, {}), std::invalid_argument);
    CHECK_EQ(BlockPool(0, {}).alloc(), kNoBlock);
}

TEST(block_pool_evicts_the_least_recently_used) {
    std::vector<BlockId> evicted;
    BlockPool pool(3, [&](BlockId block) { evicted.push_back(block); });
    const BlockId a = pool.alloc(), b = pool.alloc(), c = pool.alloc();
    for (BlockId block : {b, a, c}) {
        pool.publish(block);
        pool.unref(block);
    }
    pool.ref(b);  // used again: the newest from now on
    pool.unref(b);
    CHECK_EQ(pool.num_cached(), 3);
    CHECK_EQ(pool.alloc(), a);
    CHECK_EQ(pool.alloc(), c);
    CHECK_EQ(pool.alloc(), b);
    CHECK_EQ(evicted, (std::vector<BlockId>{a, c, b}));
    CHECK_EQ(pool.evictions(), 3U);
    CHECK_EQ(pool.check(), std::string());
}

namespace {

/// A list in order of release, searched from the start.
struct NaivePool {
    struct Page {
        int ref = 0;
        bool published = false;
        std::uint64_t released = 0;
    };
    std::vector<Page> pages;
    std::uint64_t clock = 0;
    int count(bool published) const {
        return static_cast<int>(std::ranges::count_if(pages, [=](const Page& p) { return p.ref == 0 && p.published == published; }));
    }
    BlockId oldest_cached() const {
        BlockId best = kNoBlock;
        for (std::size_t i = 0; i < pages.size(); ++i) {
            if (pages[i].ref == 0 && pages[i].published &&
                (best == kNoBlock || pages[i].released < pages[static_cast<std::size_t>(best)].released)) {
                best = static_cast<BlockId>(i);
            }
        }
        return best;
    }
};

}  // namespace

TEST(block_pool_equals_naive_over_random_steps) {
    std::mt19937 random(1);
    BlockId evicted = kNoBlock;
    BlockPool pool(17, [&](BlockId block) { evicted = block; });
    NaivePool naive{std::vector<NaivePool::Page>(17)};
    const auto pick = [&](auto wanted) {
        std::vector<BlockId> fitting;
        for (BlockId i = 0; i < 17; ++i) {
            if (wanted(naive.pages[static_cast<std::size_t>(i)])) fitting.push_back(i);
        }
        return fitting.empty() ? kNoBlock : fitting[random() % fitting.size()];
    };
    for (int step = 0; step < 100'000; ++step) {
        const unsigned action = random() % 10;
        if (action < 4) {
            evicted = kNoBlock;
            const bool any_free = naive.count(false) > 0;
            const BlockId oldest = naive.oldest_cached();
            const BlockId block = pool.alloc();
            if (any_free) {
                REQUIRE(block != kNoBlock && evicted == kNoBlock && naive.pages[static_cast<std::size_t>(block)].ref == 0 &&
                        !naive.pages[static_cast<std::size_t>(block)].published);
            } else {
                REQUIRE(block == oldest && evicted == oldest);
            }
            if (block != kNoBlock) naive.pages[static_cast<std::size_t>(block)] = {1, false, 0};
        } else if (action < 8) {
            const BlockId block = pick([](const auto& p) { return p.ref > 0; });
            if (block == kNoBlock) continue;
            pool.unref(block);
            auto& p = naive.pages[static_cast<std::size_t>(block)];
            if (--p.ref == 0) p.released = ++naive.clock;
        } else if (action < 9) {
            const BlockId block = pick([](const auto& p) { return p.ref > 0 || p.published; });
            if (block == kNoBlock) continue;
            pool.ref(block);
            ++naive.pages[static_cast<std::size_t>(block)].ref;
        } else {
            const BlockId block = pick([](const auto& p) { return p.ref > 0; });
            if (block == kNoBlock) continue;
            pool.publish(block);
            naive.pages[static_cast<std::size_t>(block)].published = true;
        }
        REQUIRE(pool.num_free() == naive.count(false) && pool.num_cached() == naive.count(true));
        for (BlockId i = 0; i < 17; ++i) REQUIRE(pool.ref_count(i) == naive.pages[static_cast<std::size_t>(i)].ref);
        REQUIRE(pool.check().empty());
    }
    CHECK(pool.evictions() > 1000);
}

TEST(block_pool_check_finds_planted_faults) {
    const auto fault = [](auto plant) {
        BlockPool pool(6, {});
        const BlockId used = pool.alloc();
        const BlockId first = pool.alloc(), second = pool.alloc();
        for (BlockId block : {first, second}) {
            pool.publish(block);
            pool.unref(block);
        }
        REQUIRE(pool.check().empty());
        plant(pool, used, first, second);
        CHECK(!pool.check().empty());
    };
    fault([](BlockPool& pool, BlockId used, BlockId, BlockId) { TestPeer::page(pool, used).ref = 0; });
    fault([](BlockPool& pool, BlockId used, BlockId, BlockId) { TestPeer::page(pool, used).ref = -1; });
    fault([](BlockPool& pool, BlockId used, BlockId, BlockId) { TestPeer::free_list(pool).push_back(used); });
    fault([](BlockPool& pool, BlockId, BlockId, BlockId) { TestPeer::free_list(pool).push_back(TestPeer::free_list(pool).front()); });
    fault([](BlockPool& pool, BlockId, BlockId, BlockId) { TestPeer::free_list(pool).push_back(99); });
    fault([](BlockPool& pool, BlockId, BlockId, BlockId) { TestPeer::free_list(pool).pop_back(); });
    fault([](BlockPool& pool, BlockId, BlockId first, BlockId) { TestPeer::page(pool, first).ref = 1; });
    fault([](BlockPool& pool, BlockId, BlockId first, BlockId) { TestPeer::page(pool, first).published = false; });
    fault([](BlockPool& pool, BlockId, BlockId first, BlockId) { TestPeer::page(pool, first).next = kNoBlock; });
    fault([](BlockPool& pool, BlockId, BlockId first, BlockId second) { TestPeer::page(pool, second).next = first; });
    fault([](BlockPool& pool, BlockId, BlockId, BlockId second) { TestPeer::page(pool, second).prev = kNoBlock; });
    fault([](BlockPool& pool, BlockId, BlockId, BlockId second) { TestPeer::oldest(pool) = second; });
}
