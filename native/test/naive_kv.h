// The oracle of the KV manager: pages as a plain list that remembers whole texts, every question answered by looking at all.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/model_runner.h"
#include "engine/types.h"

namespace tfserve::test {

class NaiveKv {
   public:
    NaiveKv(int block_size, std::vector<KvGroupSpec> specs, bool prefix_cache)
        : bs_(block_size), specs_(std::move(specs)), prefix_(prefix_cache) {
        for (const KvGroupSpec& spec : specs_) groups_.emplace_back(static_cast<std::size_t>(spec.num_blocks));
    }

    int match(const std::vector<TokenId>& tokens, const std::string& salt) const {
        if (!prefix_) return 0;
        for (int n = (static_cast<int>(tokens.size()) - 1) / bs_; n > 0; --n) {
            bool all = true;
            for (std::size_t g = 0; g < groups_.size(); ++g) {
                for (int i = first_seen(g, n * bs_); i < n; ++i) all = all && find(g, tokens, i, salt) >= 0;
            }
            if (all) return n;
        }
        return 0;
    }
    /// Pages of a match in a group: {all, unreferenced ones}.
    std::pair<int, int> matched(std::size_t g, const std::vector<TokenId>& tokens, const std::string& salt) const {
        const int n = match(tokens, salt);
        std::pair<int, int> count{0, 0};
        for (int i = first_seen(g, n * bs_); i < n; ++i) {
            ++count.first;
            count.second += groups_[g][static_cast<std::size_t>(find(g, tokens, i, salt))].ref == 0 ? 1 : 0;
        }
        return count;
    }

    int begin(SequenceId id, const std::vector<TokenId>& tokens, const std::string& salt) {
        const int n = match(tokens, salt);
        Entry e;
        e.salt = salt;
        e.published = n;
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            std::vector<int> table(static_cast<std::size_t>(n), -1);
            for (int i = first_seen(g, n * bs_); i < n; ++i) table[static_cast<std::size_t>(i)] = find(g, tokens, i, salt);
            for (int p : table) {
                if (p < 0) continue;
                Page& page = groups_[g][static_cast<std::size_t>(p)];
                page.valued = page.valued || page.ref == 0;
                ++page.ref;
            }
            e.tables.push_back(table);
        }
        entries_[id] = e;
        return n * bs_;
    }

    bool allocate(SequenceId id, int computed, int n_new) {
        Entry& e = entries_.at(id);
        bool enough = true;
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            for (int i = 0; i < std::min(first_seen(g, computed), static_cast<int>(e.tables[g].size())); ++i) {
                int& p = e.tables[g][static_cast<std::size_t>(i)];
                if (p >= 0) unref(g, p);
                p = -1;
            }
            const int more = std::max(0, (computed + n_new + bs_ - 1) / bs_ - static_cast<int>(e.tables[g].size()));
            enough = enough && more + (shared_partial(e, g, computed) ? 1 : 0) <= available(g);
        }
        if (!enough) return false;
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            if (shared_partial(e, g, computed)) {
                int& p = e.tables[g][static_cast<std::size_t>(computed / bs_)];
                const int own = take(g);
                unref(g, p);
                p = own;
                ++copies;
            }
            while (static_cast<int>(e.tables[g].size()) * bs_ < computed + n_new) e.tables[g].push_back(take(g));
        }
        return true;
    }

    void publish(SequenceId id, const std::vector<TokenId>& tokens, int computed) {
        if (!prefix_) return;
        Entry& e = entries_.at(id);
        for (; (e.published + 1) * bs_ <= computed; ++e.published) {
            for (std::size_t g = 0; g < groups_.size(); ++g) {
                const int p = e.tables[g][static_cast<std::size_t>(e.published)];
                if (p < 0 || find(g, tokens, e.published, e.salt) >= 0) continue;
                Page& page = groups_[g][static_cast<std::size_t>(p)];
                page.published = true;
                page.salt = e.salt;
                page.text.assign(tokens.begin(), tokens.begin() + (e.published + 1) * bs_);
            }
        }
    }

    void fork(SequenceId parent, SequenceId child) {
        entries_[child] = entries_.at(parent);
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            for (int p : entries_[child].tables[g]) {
                if (p >= 0) ++groups_[g][static_cast<std::size_t>(p)].ref;
            }
        }
    }

    void free(SequenceId id, bool abandoned = false) {
        Entry& e = entries_.at(id);
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            for (auto p = e.tables[g].rbegin(); p != e.tables[g].rend(); ++p) {
                if (*p >= 0) unref(g, *p, abandoned);
            }
        }
        entries_.erase(id);
    }

    int count(std::size_t g, bool published) const {
        return static_cast<int>(std::ranges::count_if(groups_[g], [=](const Page& p) { return p.ref == 0 && p.published == published; }));
    }
    int available(std::size_t g) const { return count(g, false) + count(g, true); }
    int held(SequenceId id, std::size_t g) const {
        return static_cast<int>(std::ranges::count_if(entries_.at(id).tables[g], [](int p) { return p >= 0; }));
    }
    int copies = 0;

   private:
    struct Page {
        int ref = 0;
        bool published = false;
        bool valued = false;   // found in the cache, or given back by a request that was not given up
        bool touched = false;  // has been used
        std::uint64_t released = 0;
        std::string salt;
        std::vector<TokenId> text;  // from the start of the sequence to the end of the page
    };
    struct Entry {
        std::vector<std::vector<int>> tables;
        std::string salt;
        int published = 0;
    };

    int first_seen(std::size_t g, int position) const {
        return specs_[g].window == 0 ? 0 : std::max(0, position - specs_[g].window + 1) / bs_;
    }
    int find(std::size_t g, const std::vector<TokenId>& tokens, int i, const std::string& salt) const {
        const std::span<const TokenId> text(tokens.data(), static_cast<std::size_t>((i + 1) * bs_));
        for (std::size_t p = 0; p < groups_[g].size(); ++p) {
            const Page& page = groups_[g][p];
            if (page.published && page.salt == salt && std::ranges::equal(page.text, text)) return static_cast<int>(p);
        }
        return -1;
    }
    bool shared_partial(const Entry& e, std::size_t g, int computed) const {
        const auto i = static_cast<std::size_t>(computed / bs_);
        return computed % bs_ != 0 && i < e.tables[g].size() && groups_[g][static_cast<std::size_t>(e.tables[g][i])].ref > 1;
    }
    void unref(std::size_t g, int p, bool abandoned = false) {
        Page& page = groups_[g][static_cast<std::size_t>(p)];
        page.valued = page.valued || !abandoned;
        if (--page.ref > 0) return;
        page.released = ++clock_;
        if (!page.published) page.valued = false;
    }
    /// Lower is handed out first; among cached pages the one released first.
    static std::pair<int, std::uint64_t> order(const Page& page) {
        if (!page.published) return {page.touched ? 0 : 2, 0};
        return {page.valued ? 3 : 1, page.released};
    }
    int take(std::size_t g) {
        int best = -1;
        for (std::size_t p = 0; p < groups_[g].size(); ++p) {
            const Page& page = groups_[g][p];
            if (page.ref > 0) continue;
            if (best < 0 || order(page) < order(groups_[g][static_cast<std::size_t>(best)])) best = static_cast<int>(p);
        }
        Page fresh;
        fresh.ref = 1;
        fresh.touched = true;
        groups_[g][static_cast<std::size_t>(best)] = fresh;
        return best;
    }

    int bs_;
    std::vector<KvGroupSpec> specs_;
    bool prefix_;
    std::vector<std::vector<Page>> groups_;
    std::map<SequenceId, Entry> entries_;
    std::uint64_t clock_ = 0;
};

}  // namespace tfserve::test
