#include "engine/kv_manager.h"

#include <map>
#include <random>
#include <vector>

#include "naive_kv.h"
#include "test_peer.h"
#include "testing.h"

using namespace tfserve;
using namespace tfserve::test;

namespace {

using Text = std::vector<TokenId>;

Text numbers(int n, TokenId first = 0) {
    Text text;
    for (int i = 0; i < n; ++i) text.push_back(first + i);
    return text;
}

/// A KV manager beside its oracle and beside a memory of cells, which it must keep in order.
class KvWorld {
   public:
    KvWorld(std::vector<KvGroupSpec> groups, bool prefix_cache, unsigned seed)
        : kv({kBlock, groups, prefix_cache, {3, 4}}), groups_(groups), naive_(kBlock, groups, prefix_cache), random_(seed) {
        for (const KvGroupSpec& group : groups) cells_.emplace_back(static_cast<std::size_t>(group.num_blocks * kBlock), Cell{-1, -1});
    }

    static constexpr int kBlock = 4;
    struct Live {
        Text tokens;  // all that it will have
        int computed = 0;
        std::string salt;
    };

    /// One random operation; what went wrong, or nothing.
    std::string step() {
        const unsigned action = random_() % 16;
        if (live.empty() || (action < 2 && live.size() < 9)) return begin();
        auto it = std::next(live.begin(), static_cast<std::ptrdiff_t>(random_() % live.size()));
        if (action < 5) {
            kv.free(it->first);
            naive_.free(it->first);
            live.erase(it);
            return compare();
        }
        if (action < 7 && live.size() < 9) {
            const SequenceId child = next_++;
            kv.fork(it->first, child);
            naive_.fork(it->first, child);
            Live copy = it->second;
            copy.tokens.resize(static_cast<std::size_t>(copy.computed));
            for (unsigned i = 0, n = 1 + random_() % 12; i < n; ++i) copy.tokens.push_back(static_cast<TokenId>(random_() % 3));
            live[child] = copy;
            ++forks;
            return compare();
        }
        return compute(it->first, it->second);
    }

    std::string check() const {
        return kv.check(
            [this](SequenceId id) { return std::span(live.at(id).tokens).first(static_cast<std::size_t>(live.at(id).computed)); });
    }

    KvManager kv;
    std::map<SequenceId, Live> live;
    bool skip_copies = false;  // a planted fault
    int forks = 0, refused = 0, hits = 0;

   private:
    struct Cell {
        TokenId token;
        int position;
    };

    std::string begin() {
        const SequenceId id = next_++;
        Live s;
        s.salt = random_() % 5 == 0 ? "salt" : "";
        const auto n = 1 + random_() % 30;
        // few texts, so that prefixes meet
        const auto kind = random_() % 3;
        for (unsigned i = 0; i < n; ++i) s.tokens.push_back(static_cast<TokenId>(random_() % 30 == 0 ? random_() % 3 : kind));
        const KvManager::Match match = kv.match(s.tokens, s.salt);
        if (match.num_pages != naive_.match(s.tokens, s.salt)) return "match differs from the oracle's";
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            if (std::pair(match.held[g], match.taken_from_available[g]) != naive_.matched(g, s.tokens, s.salt))
                return "matched pages are counted wrongly";
        }
        s.computed = kv.begin(id, s.tokens, s.salt);
        if (s.computed != naive_.begin(id, s.tokens, s.salt)) return "the cached prefix differs from the oracle's";
        if (s.computed >= static_cast<int>(n)) return "no token is left to compute";
        hits += s.computed > 0 ? 1 : 0;
        live[id] = s;
        return compare();
    }

    std::string compute(SequenceId id, Live& s) {
        if (s.computed == static_cast<int>(s.tokens.size())) s.tokens.push_back(static_cast<TokenId>(random_() % 3));
        const int left = static_cast<int>(s.tokens.size()) - s.computed;
        const int n = 1 + static_cast<int>(random_() % static_cast<unsigned>(std::min(left, 9)));
        std::vector<BlockCopy> copies;
        const bool allocated = kv.allocate(id, s.computed, n, copies);
        if (allocated != naive_.allocate(id, s.computed, n)) return "allocate differs from the oracle";
        if (!allocated) {
            ++refused;
            if (!copies.empty()) return "a refused allocation copies pages";
            return compare();
        }
        for (const BlockCopy& copy : copies) {
            if (skip_copies) continue;
            auto& pool = cells_[static_cast<std::size_t>(copy.group)];
            std::copy_n(pool.begin() + copy.src * kBlock, copy.n_cells, pool.begin() + copy.dst * kBlock);
        }
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            const auto& table = kv.table(id, static_cast<std::int32_t>(g));
            const auto cell = [&](int i) -> Cell& {
                return cells_[g][static_cast<std::size_t>(table.at(static_cast<std::size_t>(i / kBlock)) * kBlock + i % kBlock)];
            };
            for (int i = s.computed; i < s.computed + n; ++i) cell(i) = {s.tokens[static_cast<std::size_t>(i)], i};
            for (int i = groups_[g].window == 0 ? 0 : std::max(0, s.computed - groups_[g].window + 1); i < s.computed + n; ++i) {
                if (table.at(static_cast<std::size_t>(i / kBlock)) == kNoBlock) return "a visible page is gone";
                if (cell(i).token != s.tokens[static_cast<std::size_t>(i)] || cell(i).position != i) return "a cell holds something else";
            }
        }
        s.computed += n;
        kv.publish(id, s.tokens, s.computed);
        naive_.publish(id, s.tokens, s.computed);
        return compare();
    }

    std::string compare() {
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            const BlockPool& pool = kv.pool(static_cast<std::int32_t>(g));
            if (pool.num_free() != naive_.count(g, false)) return "free pages differ from the oracle's";
            if (pool.num_cached() != naive_.count(g, true)) return "cached pages differ from the oracle's";
            for (const auto& [id, s] : live) {
                if (kv.held(id, static_cast<std::int32_t>(g)) != naive_.held(id, g)) return "held pages differ from the oracle's";
            }
        }
        if (static_cast<int>(kv.block_copies()) != naive_.copies) return "copies differ from the oracle's";
        return check();
    }

    std::vector<KvGroupSpec> groups_;
    NaiveKv naive_;
    std::mt19937 random_;
    std::vector<std::vector<Cell>> cells_;
    SequenceId next_ = 1;
};

}  // namespace

TEST(kv_manager_equals_naive_over_random_steps) {
    const std::vector<std::vector<KvGroupSpec>> layouts{{{24, 0}}, {{30, 0}, {18, 9}}, {{14, 6}}, {{20, 8}, {22, 5}}};
    int forks = 0, refused = 0, hits = 0;
    for (std::size_t i = 0; i < layouts.size(); ++i) {
        KvWorld world(layouts[i], true, static_cast<unsigned>(i + 1));
        for (int step = 0; step < 25'000; ++step) {
            const std::string error = world.step();
            if (!CHECK_EQ(error, std::string())) return;
        }
        forks += world.forks;
        refused += world.refused;
        hits += world.hits;
    }
    KvWorld plain({{20, 0}}, false, 9);
    for (int step = 0; step < 5'000; ++step) REQUIRE(plain.step().empty());
    CHECK_EQ(plain.hits, 0);
    CHECK(forks > 1000);
    CHECK(refused > 1000);
    CHECK(hits > 1000);
}

TEST(kv_manager_leaves_a_token_to_compute) {
    KvManager kv({4, {{8, 0}}, true, {1, 1}});
    std::vector<BlockCopy> copies;
    const Text text = numbers(8);
    CHECK_EQ(kv.begin(1, text, ""), 0);
    CHECK(kv.allocate(1, 0, 8, copies));
    CHECK_EQ(kv.match(numbers(12), "").num_pages, 0);  // not before the step has succeeded
    kv.publish(1, text, 8);
    CHECK_EQ(kv.match(text, "").num_pages, 1);  // both pages are there, but the last token must be computed
    CHECK_EQ(kv.match(numbers(9), "").num_pages, 2);
    CHECK_EQ(kv.match(numbers(9), "other").num_pages, 0);
    CHECK_EQ(kv.match({}, "").num_pages, 0);
    kv.free(1);
    CHECK_EQ(kv.pool(0).num_cached(), 2);
}

TEST(kv_manager_releases_from_the_tail) {
    KvManager kv({4, {{4, 0}}, true, {1, 1}});
    std::vector<BlockCopy> copies;
    const Text text = numbers(16);
    kv.begin(1, text, "");
    CHECK(kv.allocate(1, 0, 16, copies));
    kv.publish(1, text, 16);
    kv.free(1);
    // another sequence takes two pages: the tail goes, the head can still be found
    kv.begin(2, numbers(8, 100), "");
    CHECK(kv.allocate(2, 0, 8, copies));
    CHECK_EQ(kv.match(numbers(17), "").num_pages, 2);
    CHECK_EQ(kv.pool(0).evictions(), 2U);
}

TEST(kv_manager_forks_share_until_they_write) {
    KvManager kv({4, {{8, 0}}, true, {1, 1}});
    std::vector<BlockCopy> copies;
    const Text text = numbers(6);
    kv.begin(1, text, "");
    CHECK(kv.allocate(1, 0, 6, copies));
    kv.fork(1, 2);
    CHECK_EQ(kv.pool(0).num_used(), 2);
    CHECK(kv.allocate(1, 6, 1, copies));
    REQUIRE(copies.size() == 1);
    CHECK_EQ(copies[0].n_cells, 2);
    CHECK_EQ(copies[0].src, kv.table(2, 0)[1]);
    CHECK_EQ(copies[0].dst, kv.table(1, 0)[1]);
    CHECK(kv.allocate(2, 6, 1, copies));  // alone with its page now
    CHECK_EQ(copies.size(), 1U);
    CHECK_EQ(kv.pool(0).num_used(), 3);
    kv.free(1);
    kv.free(2);
    CHECK_EQ(kv.available(0), 8);
}

TEST(kv_manager_refuses_nonsense) {
    CHECK_THROWS(KvManager({0, {{8, 0}}, true, {}}), std::invalid_argument);
    CHECK_THROWS(KvManager({4, {}, true, {}}), std::invalid_argument);
    CHECK_THROWS(KvManager({4, {{0, 0}}, true, {}}), std::invalid_argument);
    CHECK_THROWS(KvManager({4, {{4, -1}}, true, {}}), std::invalid_argument);
}

namespace {

/// Lets a world run for a while, plants a fault, and expects it to be found within some steps.
void expect_found(const char* name, std::vector<KvGroupSpec> groups, const std::function<bool(KvWorld&)>& plant) {
    KvWorld world(std::move(groups), true, 5);
    bool planted = false;
    for (int step = 0; step < 20'000; ++step) {
        const std::string error = world.step();
        if (!planted) REQUIRE(error.empty());
        if (planted && !error.empty()) return;
        if (!planted && step > 500) {
            planted = plant(world);
            if (planted && !world.check().empty()) return;
        }
    }
    tfserve::testing::report(__FILE__, __LINE__, std::string("not found: ") + name);
}

}  // namespace

TEST(kv_manager_check_finds_planted_faults) {
    const std::vector<KvGroupSpec> full{{24, 0}};
    const auto with_pages = [](KvWorld& world, std::size_t n) {
        for (const auto& [id, s] : world.live) {
            if (world.kv.table(id, 0).size() >= n) return id;
        }
        return SequenceId{0};
    };
    expect_found("a lost reference", full, [&](KvWorld& w) {
        const SequenceId id = with_pages(w, 1);
        if (id == 0) return false;
        TestPeer::pool(w.kv, 0).unref(w.kv.table(id, 0).back());
        return true;
    });
    expect_found("a leaked reference", full, [&](KvWorld& w) {
        const SequenceId id = with_pages(w, 1);
        if (id == 0) return false;
        TestPeer::pool(w.kv, 0).ref(w.kv.table(id, 0).back());
        return true;
    });
    expect_found("a wrong table entry", full, [&](KvWorld& w) {
        const SequenceId id = with_pages(w, 2);
        if (id == 0) return false;
        auto& table = TestPeer::table(w.kv, id, 0);
        if (w.live.at(id).computed < 8) return false;
        std::swap(table[0], table[1]);  // every count stays right
        return true;
    });
    expect_found("a skipped copy", full, [](KvWorld& w) { return w.skip_copies = true; });
    expect_found("a shared page that both write", full, [&](KvWorld& w) {
        // as if copy on write did not happen: two sequences hold the page, with different tokens in it
        for (const auto& [a, sa] : w.live) {
            for (const auto& [b, sb] : w.live) {
                const auto page = static_cast<std::size_t>(std::min(sa.computed, sb.computed) / KvWorld::kBlock);
                auto& ta = TestPeer::table(w.kv, a, 0);
                auto& tb = TestPeer::table(w.kv, b, 0);
                if (a == b || page >= ta.size() || page >= tb.size() || ta[page] == tb[page]) continue;
                const auto first = page * KvWorld::kBlock;
                if (first >= static_cast<std::size_t>(std::min(sa.computed, sb.computed)) || sa.tokens[first] == sb.tokens[first]) continue;
                if (w.kv.pool(0).is_published(ta[page]) || w.kv.pool(0).is_published(tb[page])) continue;
                TestPeer::pool(w.kv, 0).ref(ta[page]);
                TestPeer::pool(w.kv, 0).unref(tb[page]);
                tb[page] = ta[page];
                return true;
            }
        }
        return false;
    });
    expect_found("an eviction that the prefix cache does not hear of", full, [](KvWorld& w) {
        TestPeer::forget_evictions(TestPeer::pool(w.kv, 0));
        return true;
    });
    expect_found("a stale hash", full, [](KvWorld& w) {
        for (BlockId block = 0; block < w.kv.pool(0).num_blocks(); ++block) {
            const PrefixNodeId node = TestPeer::prefix(w.kv).node_of(0, block);
            if (node == kNoPrefixNode) continue;
            TestPeer::token(TestPeer::prefix(w.kv), node, 0) ^= 1;
            return true;
        }
        return false;
    });
    expect_found("a page published before it is computed", full, [](KvWorld& w) {
        for (auto& [id, s] : w.live) {
            const auto page = static_cast<std::size_t>(s.computed / KvWorld::kBlock);
            if (s.tokens.size() < (page + 1) * KvWorld::kBlock || w.kv.table(id, 0).size() <= page) continue;
            w.kv.publish(id, s.tokens, static_cast<std::int32_t>((page + 1) * KvWorld::kBlock));
            return TestPeer::num_published(w.kv, id) > s.computed / KvWorld::kBlock;
        }
        return false;
    });
    expect_found("a window's page given back too early", {{24, 9}}, [](KvWorld& w) {
        for (const auto& [id, s] : w.live) {
            auto& table = TestPeer::table(w.kv, id, 0);
            if (s.computed < 9 || table.empty()) continue;
            const auto last_full = static_cast<std::size_t>(s.computed / KvWorld::kBlock - 1);
            TestPeer::pool(w.kv, 0).unref(std::exchange(table[last_full], kNoBlock));
            return true;
        }
        return false;
    });
}
