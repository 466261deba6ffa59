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

TEST(block_pool_takes_back_abandoned_pages_before_it_touches_new_ones) {
    std::vector<BlockId> evicted;
    BlockPool pool(6, [&](BlockId block) { evicted.push_back(block); });
    const BlockId kept = pool.alloc(), given_up = pool.alloc(), used_before = pool.alloc();
    pool.publish(kept);
    pool.publish(given_up);
    pool.unref(kept);
    pool.unref(given_up, BlockPool::Worth::abandoned);
    pool.unref(used_before);
    CHECK_EQ(pool.alloc(), used_before);
    CHECK_EQ(pool.alloc(), given_up);
    CHECK_EQ(evicted, (std::vector<BlockId>{given_up}));
    for (int i = 0; i < 3; ++i) CHECK(pool.alloc() > used_before);  // never used before
    CHECK_EQ(evicted.size(), 1U);
    CHECK_EQ(pool.alloc(), kept);
    CHECK_EQ(pool.alloc(), kNoBlock);
    CHECK_EQ(pool.check(), std::string());
}

TEST(block_pool_keeps_what_others_have_used_when_one_gives_up) {
    BlockPool pool(4, {});
    const BlockId ended = pool.alloc(), found = pool.alloc();
    for (BlockId block : {ended, found}) pool.publish(block);
    pool.unref(ended);
    pool.ref(ended);  // a request that begins alike, and is given up
    pool.unref(ended, BlockPool::Worth::abandoned);
    pool.unref(found, BlockPool::Worth::abandoned);
    pool.ref(found);  // the first was given up, the second found its page, and is given up too
    pool.unref(found, BlockPool::Worth::abandoned);
    for (int i = 0; i < 2; ++i) {
        const BlockId fresh = pool.alloc();
        CHECK(fresh != ended && fresh != found);
    }
    CHECK_EQ(pool.num_cached(), 2);
    CHECK_EQ(pool.check(), std::string());
}

namespace {

/// A list in order of release, searched from the start.
struct NaivePool {
    struct Page {
        int ref = 0;
        bool published = false;
        bool valued = false, touched = false;
        std::uint64_t released = 0;
    };
    std::vector<Page> pages;
    std::uint64_t clock = 0;
    int count(bool published) const {
        return static_cast<int>(std::ranges::count_if(pages, [=](const Page& p) { return p.ref == 0 && p.published == published; }));
    }
    /// The class of page that goes first: used before, abandoned, never used, kept.
    static int rank(const Page& p) { return p.published ? (p.valued ? 3 : 1) : (p.touched ? 0 : 2); }
    /// What alloc() gives: a rank, and the page where the rank has an order.
    std::pair<int, BlockId> next() const {
        std::pair<int, BlockId> best{4, kNoBlock};
        for (std::size_t i = 0; i < pages.size(); ++i) {
            const Page& p = pages[i];
            if (p.ref > 0 || rank(p) > best.first) continue;
            const bool older = best.second == kNoBlock || p.released < pages[static_cast<std::size_t>(best.second)].released;
            if (rank(p) < best.first || older) best = {rank(p), static_cast<BlockId>(i)};
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
            const auto [rank, next] = naive.next();
            const BlockId block = pool.alloc();
            if (rank == 1 || rank == 3) {
                REQUIRE(block == next && evicted == next);
            } else if (rank == 4) {
                REQUIRE(block == kNoBlock);
            } else {
                REQUIRE(block != kNoBlock && evicted == kNoBlock);
                const NaivePool::Page& p = naive.pages[static_cast<std::size_t>(block)];
                REQUIRE(p.ref == 0 && NaivePool::rank(p) == rank);
            }
            if (block != kNoBlock) naive.pages[static_cast<std::size_t>(block)] = {1, false, false, true, 0};
        } else if (action < 8) {
            const BlockId block = pick([](const auto& p) { return p.ref > 0; });
            if (block == kNoBlock) continue;
            const bool abandoned = random() % 3 == 0;
            pool.unref(block, abandoned ? BlockPool::Worth::abandoned : BlockPool::Worth::kept);
            auto& p = naive.pages[static_cast<std::size_t>(block)];
            p.valued = p.valued || !abandoned;
            if (--p.ref == 0) {
                p.released = ++naive.clock;
                if (!p.published) p.valued = false;
            }
        } else if (action < 9) {
            const BlockId block = pick([](const auto& p) { return p.ref > 0 || p.published; });
            if (block == kNoBlock) continue;
            pool.ref(block);
            auto& p = naive.pages[static_cast<std::size_t>(block)];
            p.valued = p.valued || p.ref == 0;
            ++p.ref;
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
