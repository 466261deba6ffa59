// A scheduler in a random life: arrivals, aborts, forks, failed steps, too few pages; beside its oracle and a checking runner.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/scheduler.h"
#include "engine/stand_in_runner.h"
#include "naive_scheduler.h"

namespace tfserve::test {

struct WorldOptions {
    RunnerCapabilities capabilities;
    SchedulerConfig config;
    unsigned seed = 1;
    bool oracle = true;
    int max_live = 14;
    unsigned max_prompt = 34;
    unsigned max_new = 24;
};

class SchedulerWorld {
   public:
    explicit SchedulerWorld(WorldOptions options)
        : options_(std::move(options)), scheduler(options_.capabilities, options_.config), random_(options_.seed) {
        StandInOptions stand_in;
        stand_in.capabilities = options_.capabilities;
        stand_in.expected_tokens = [this](SequenceId id) { return std::span<const TokenId>(scheduler.sequence(id).tokens); };
        runner_ = std::make_unique<StandInRunner>(std::move(stand_in));
        if (options_.oracle) naive_ = std::make_unique<NaiveScheduler>(options_.capabilities, options_.config);
    }

    /// One step of life; what went wrong, or nothing.
    std::string step() {
        if (arrivals) arrive();
        if (random_() % 12 == 0 && scheduler.has_work()) finish(any(), KeepPages::prompt);
        if (std::string error = scheduler.check(); !error.empty()) return error;

        const SequenceId first = first_in_service();
        decoding_.clear();
        for (SequenceId id : scheduler.ids()) {
            const Sequence& s = scheduler.sequence(id);
            if (s.status == SequenceStatus::running && s.decodes()) decoding_.insert(id);
        }
        const StepPlan& plan = scheduler.schedule();
        if (plan.empty() != !scheduler.has_work()) return "there is work, but the plan is empty";
        if (std::string error = check_plan(plan, first); !error.empty()) return error;
        if (std::string error = compare(plan); !error.empty()) return error;
        if (plan.empty()) return {};
        if (std::string error = scheduler.check(); !error.empty()) return error;

        StepPlan told = plan;
        if (tamper) tamper(told);
        if (random_() % 100 == 0) {  // a step that fails
            scheduler.step_failed();
            for (const PlanRow& row : told.rows) finish(row.sequence, KeepPages::prompt);
            return scheduler.check();
        }
        try {
            runner_->execute(told);
        } catch (const RunnerError& error) {
            return std::string("runner: ") + error.what();
        }
        ++steps;
        scheduler.commit();
        if (naive_) naive_->commit();
        if (std::string error = scheduler.check(); !error.empty()) return error;
        for (const PlanRow& row : told.rows) {
            if (scheduler.sequence(row.sequence).num_uncomputed() == 0) sample(row.sequence);
        }
        return scheduler.check();
    }

    /// Runs without new arrivals until nothing is left.
    std::string drain() {
        arrivals = false;
        for (int i = 0; i < 5000; ++i) {
            if (!scheduler.has_work()) return {};
            if (std::string error = step(); !error.empty()) return error;
        }
        return "the sequences do not come to an end";
    }

   private:
    WorldOptions options_;

   public:
    Scheduler scheduler;
    bool arrivals = true;
    std::function<void(StepPlan&)> tamper;  // a planted fault between scheduler and runner
    int steps = 0, forks = 0, finished_in_full = 0;

   private:
    TokenId token() {
        return static_cast<TokenId>(random_() % 20 == 0 ? random_() % static_cast<unsigned>(options_.capabilities.vocab_size) : 0);
    }
    SequenceId any() {
        std::vector<SequenceId> ids = scheduler.ids();
        std::ranges::sort(ids);
        return ids[random_() % ids.size()];
    }
    SequenceId first_in_service() const {
        const Sequence* first = nullptr;
        for (SequenceId id : scheduler.ids()) {
            const Sequence& s = scheduler.sequence(id);
            if (s.status == SequenceStatus::running && (first == nullptr || ServiceOrder()(&s, first))) first = &s;
        }
        return first == nullptr ? 0 : first->id;
    }

    void arrive() {
        while (random_() % 3 == 0 && static_cast<int>(scheduler.ids().size()) < options_.max_live) {
            Sequence s;
            s.id = next_++;
            const std::int32_t most = scheduler.capacity().max_sequence_tokens() - 1;
            const auto n = std::min(most, static_cast<std::int32_t>(1 + random_() % (random_() % 8 == 0 ? 400 : options_.max_prompt)));
            const auto kind = static_cast<TokenId>(1 + random_() % 3);
            for (std::int32_t i = 0; i < n; ++i) s.tokens.push_back(random_() % 30 == 0 ? token() : kind);
            s.num_prompt_tokens = n;
            s.max_tokens = n + static_cast<std::int32_t>(1 + random_() % (random_() % 8 == 0 ? 400 : options_.max_new));
            s.priority = random_() % 6 == 0 ? 1 : 0;
            s.arrival = s.id;
            s.salt = random_() % 6 == 0 ? "salt" : "";
            s.scores_prompt = options_.capabilities.max_prompt_logits > 0 && random_() % 3 == 0;
            choices_[s.id] = random_() % 5 == 0 ? static_cast<int>(2 + random_() % 3) : 1;
            if (naive_) naive_->add(s);
            scheduler.add(std::move(s));
        }
    }

    void finish(SequenceId id, KeepPages keep) {
        scheduler.finish(id, keep);
        if (naive_) naive_->finish(id, keep);
        choices_.erase(id);
    }

    void sample(SequenceId id) {
        const Sequence& s = scheduler.sequence(id);
        const auto ends = [&] { return random_() % 30 == 0 || s.num_tokens() + 1 >= s.max_tokens; };
        if (s.num_tokens() + 1 >= s.max_tokens) ++finished_in_full;
        const bool end = ends();
        const TokenId own = token();
        for (int choice = 1; choice < choices_[id]; ++choice) {
            if (ends()) continue;
            const SequenceId child = next_++;
            const TokenId other = token();
            scheduler.fork(id, child, choice, other);
            if (naive_) naive_->fork(id, child, choice, other);
            choices_[child] = 1;
            ++forks;
        }
        choices_[id] = 1;
        if (end) {
            finish(id, KeepPages::all);
        } else {
            scheduler.append(id, own);
            if (naive_) naive_->append(id, own);
        }
    }

    std::string check_plan(const StepPlan& plan, SequenceId first) const {
        const RunnerCapabilities& c = options_.capabilities;
        if (plan.n_tokens() > c.max_batch_tokens) return "the budget is exceeded";
        if (static_cast<int>(plan.rows.size()) > c.max_num_seqs) return "too many rows";
        bool any_decodes = false, first_advances = first == 0;
        int prefill = 0, scored = 0;
        std::map<SequenceId, int> seen;
        for (const PlanRow& row : plan.rows) {
            const Sequence& s = scheduler.sequence(row.sequence);
            if (++seen[row.sequence] > 1) return "a sequence is in the step twice";
            if (row.n_tokens < 1 || row.position != s.num_computed_tokens || row.slot != s.slot)
                return "a row does not go on where its sequence is";
            if (row.position + row.n_tokens > s.num_tokens()) return "a row has tokens that its sequence lacks";
            if (!s.scores_prompt && (row.n_logits == 1) != (row.position + row.n_tokens == s.num_tokens()))
                return "a row wants the wrong logits";
            if (s.scores_prompt) scored += row.n_logits > 1 ? row.n_logits : 0;
            any_decodes = any_decodes || decoding_.contains(row.sequence);
            if (!s.decodes()) prefill += row.n_tokens;
            first_advances = first_advances || row.sequence == first;
        }
        if (c.max_prompt_logits > 0 && scored > c.max_prompt_logits) return "too many logits of prompts";
        if (!first_advances) return "the first sequence in order does not advance";
        const int chunk = options_.config.max_prefill_chunk;
        if (chunk > 0 && any_decodes && prefill > chunk) return "too many prompt tokens beside decoding sequences";
        return {};
    }

    static std::string shown(const std::vector<NaiveScheduler::Row>& rows) {
        std::string text;
        for (const auto& row : rows)
            text += " " + std::to_string(row.id) + ":" + std::to_string(row.position) + "+" + std::to_string(row.n_tokens) + "/" +
                    std::to_string(row.n_logits);
        return text;
    }

    std::string compare(const StepPlan& plan) {
        if (!naive_) return {};
        std::vector<NaiveScheduler::Row> rows;
        for (const PlanRow& row : plan.rows) rows.push_back({row.sequence, row.position, row.n_tokens, row.n_logits});
        const auto expected = naive_->schedule(scheduler.capacity().max_chunk());
        if (rows != expected) return "the step is" + shown(rows) + " and the oracle's" + shown(expected);
        if (scheduler.num_running() != naive_->running()) return "other sequences run than the oracle's";
        if (scheduler.num_running() + scheduler.num_waiting() != naive_->size()) return "the oracle knows other sequences";
        for (std::int32_t g = 0; g < scheduler.kv().num_groups(); ++g) {
            const BlockPool& pool = scheduler.kv().pool(g);
            if (pool.num_free() != naive_->kv.count(static_cast<std::size_t>(g), false) ||
                pool.num_cached() != naive_->kv.count(static_cast<std::size_t>(g), true)) {
                return "free or cached pages differ from the oracle's";
            }
        }
        return {};
    }

    std::unique_ptr<StandInRunner> runner_;
    std::unique_ptr<NaiveScheduler> naive_;
    std::mt19937 random_;
    std::set<SequenceId> decoding_;      // before the step
    std::map<SequenceId, int> choices_;  // still to be made of a request
    SequenceId next_ = 1;
};

}  // namespace tfserve::test
