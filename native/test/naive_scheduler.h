// The oracle of the scheduler: the same policy written down the obvious way, on the naive KV manager, without plans, slots or page ids.
#pragma once

#include <algorithm>
#include <cstdint>
#include <list>
#include <string>
#include <tuple>
#include <vector>

#include "engine/scheduler.h"
#include "naive_kv.h"

namespace tfserve::test {

class NaiveScheduler {
   public:
    struct Row {
        SequenceId id;
        int position, n_tokens, n_logits;
        friend bool operator==(const Row&, const Row&) = default;
    };

    NaiveScheduler(RunnerCapabilities c, SchedulerConfig config)
        : c_(c),
          config_(config),
          kv(c.block_size, c.groups, config.prefix_cache && c.paged && c.pages_are_all),
          max_running_(config.continuous_batching ? std::min(c.max_num_seqs, c.max_batch_tokens) : 1) {}

    void add(const Sequence& s) {
        sequences_.push_back({s.id, s.tokens, s.num_prompt_tokens, s.priority, s.arrival, s.choice, s.salt, 0, false, s.scores_prompt, 0});
        sort();
    }

    std::vector<Row> schedule(int max_chunk) {
        rows_.clear();
        int budget = c_.max_batch_tokens;
        rows_of_logits_ = c_.max_prompt_logits;
        bool preempted = false;
        for (const bool decoding : {true, false}) {
            if (!decoding && !rows_.empty() && config_.max_prefill_chunk > 0) limit_ = std::min(budget, config_.max_prefill_chunk);
            if (!decoding && (rows_.empty() || config_.max_prefill_chunk == 0)) limit_ = budget;
            for (Seq& s : sequences_) {
                if (!s.running || decodes(s) != decoding) continue;
                const int n = decoding ? 1 : longest(s, std::min({left(s), budget, limit_, max_chunk}));
                if (n == 0) continue;
                while (s.running && !kv.allocate(s.id, s.computed, n)) {
                    Seq& last = *std::find_if(sequences_.rbegin(), sequences_.rend(), [](const Seq& x) { return x.running; });
                    for (auto row = rows_.begin(); row != rows_.end(); ++row) {
                        if (row->id != last.id) continue;
                        budget += row->n_tokens;
                        if (!decodes(last)) limit_ += row->n_tokens;
                        rows_of_logits_ += scoring(last) ? row->n_logits : 0;
                        rows_.erase(row);
                        break;
                    }
                    kv.publish(last.id, last.tokens, last.computed);
                    kv.free(last.id);
                    last.running = false;
                    last.computed = 0;
                    preempted = true;
                }
                if (!s.running) continue;
                rows_.push_back({s.id, s.computed, n, logits(s, n)});
                budget -= n;
                if (!decoding) limit_ -= n;
                rows_of_logits_ -= scoring(s) ? logits(s, n) : 0;
            }
        }
        for (Seq& s : sequences_) {
            if (preempted || budget == 0 || limit_ == 0 || running() == max_running_) break;
            if (s.running) continue;
            if (scoring(s) && rows_of_logits_ == 0) break;
            if (!fits(s, max_chunk)) break;
            s.computed = kv.begin(s.id, reusable(s), s.salt);
            s.running = true;
            const int n = longest(s, std::min({left(s), budget, limit_, max_chunk}));
            kv.allocate(s.id, s.computed, n);
            rows_.push_back({s.id, s.computed, n, logits(s, n)});
            rows_of_logits_ -= scoring(s) ? logits(s, n) : 0;
            budget -= n;
            if (!decodes(s)) limit_ -= n;  // one that comes back and lacks a single token computes no prompt
        }
        return rows_;
    }

    void commit() {
        for (const Row& row : rows_) {
            Seq& s = get(row.id);
            s.computed += row.n_tokens;
            if (row.n_logits > 0) s.scored = std::max(s.scored, std::min(s.computed, s.n_prompt - 1));
            kv.publish(s.id, s.tokens, std::min(s.computed, s.n_prompt));
        }
    }
    void append(SequenceId id, TokenId token) { get(id).tokens.push_back(token); }
    void fork(SequenceId parent, SequenceId child, int choice, TokenId token) {
        Seq s = get(parent);
        s.id = child;
        s.choice = choice;
        s.tokens.resize(static_cast<std::size_t>(s.computed));
        s.tokens.push_back(token);
        s.running = c_.paged && c_.pages_are_all && running() < max_running_;
        if (s.running) {
            kv.fork(parent, child);
        } else {
            s.computed = 0;
        }
        sequences_.push_back(s);
        sort();
    }
    void finish(SequenceId id, KeepPages keep) {
        const Seq& ended = get(id);
        if (ended.running && keep == KeepPages::all) kv.publish(id, ended.tokens, ended.computed);
        if (ended.running) kv.free(id, keep == KeepPages::prompt);
        sequences_.remove_if([id](const Seq& s) { return s.id == id; });
    }

    int running() const {
        return static_cast<int>(std::ranges::count_if(sequences_, [](const Seq& s) { return s.running; }));
    }
    int size() const { return static_cast<int>(sequences_.size()); }

   private:
    struct Seq {
        SequenceId id;
        std::vector<TokenId> tokens;
        int n_prompt, priority;
        std::uint64_t arrival;
        int choice;
        std::string salt;
        int computed;
        bool running;
        bool scores;  // wants logits for all of its prompt
        int scored;   // and has them for so many tokens
    };
    static int left(const Seq& s) { return static_cast<int>(s.tokens.size()) - s.computed; }
    static bool decodes(const Seq& s) { return left(s) == 1 && static_cast<int>(s.tokens.size()) > s.n_prompt; }
    static bool scoring(const Seq& s) { return s.scores && s.scored < s.n_prompt - 1; }
    /// Counts the tokens of the next n from the first one on that still wants logits.
    static int logits(const Seq& s, int n) {
        for (int i = 0; i < n; ++i) {
            const int position = s.computed + i;
            const bool last = position + 1 == static_cast<int>(s.tokens.size());
            if (last || (s.scores && position >= s.scored && position < s.n_prompt - 1)) return n - i;
        }
        return 0;
    }
    /// Takes tokens off until their logits are not too many.
    int longest(const Seq& s, int n) const {
        while (n > 0 && scoring(s) && logits(s, n) > rows_of_logits_) --n;
        return n;
    }
    static std::vector<TokenId> reusable(const Seq& s) {
        std::vector<TokenId> tokens = s.tokens;
        if (scoring(s)) tokens.resize(static_cast<std::size_t>(s.scored) + 1);
        return tokens;
    }
    Seq& get(SequenceId id) {
        return *std::ranges::find_if(sequences_, [id](const Seq& s) { return s.id == id; });
    }
    void sort() {
        sequences_.sort([](const Seq& a, const Seq& b) {
            return std::tie(a.priority, a.arrival, a.choice, a.id) < std::tie(b.priority, b.arrival, b.choice, b.id);
        });
    }
    /// Pages a sequence of n tokens can come to hold: tries every place in a page where a chunk may start.
    int most_held(std::size_t g, int n, int left, int max_chunk) const {
        const int all = (n + c_.block_size - 1) / c_.block_size;
        if (c_.groups[g].window == 0) return all;
        int most = 0;
        for (int offset = 0; offset < c_.block_size; ++offset) {
            const int cells = c_.groups[g].window + std::min(std::max(left, 1), max_chunk) - 1;
            most = std::max(most, (offset + cells + c_.block_size - 1) / c_.block_size);
        }
        return std::min(all, most);
    }
    bool fits(const Seq& s, int max_chunk) const {
        for (std::size_t g = 0; g < c_.groups.size(); ++g) {
            int promised = running();
            for (const Seq& other : sequences_) {
                if (!other.running) continue;
                promised += std::max(0, most_held(g, static_cast<int>(other.tokens.size()), left(other), max_chunk) - kv.held(other.id, g));
            }
            const auto [held, idle] = kv.matched(g, reusable(s), s.salt);
            const int n = static_cast<int>(s.tokens.size());
            const int found = kv.match(reusable(s), s.salt) * c_.block_size;
            const int needed = std::max(0, most_held(g, n, n - found, max_chunk) - held);
            if (needed + promised > kv.available(g) - idle) return false;
        }
        return true;
    }

    RunnerCapabilities c_;
    SchedulerConfig config_;

   public:
    NaiveKv kv;

   private:
    int max_running_;
    int limit_ = 0;
    int rows_of_logits_ = 0;    // left for prompts that are scored
    std::list<Seq> sequences_;  // in order of service
    std::vector<Row> rows_;
};

}  // namespace tfserve::test
