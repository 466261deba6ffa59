#include "engine/scheduler.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <new>
#include <utility>

namespace tfserve {

Scheduler::Scheduler(const RunnerCapabilities& capabilities, const SchedulerConfig& config)
    : capabilities_(capabilities),
      config_(config),
      capacity_(capabilities),
      kv_({capabilities.block_size, capabilities.groups, config.prefix_cache && capabilities.paged && capabilities.pages_are_all,
           config.hash_key}),
      max_running_(config.continuous_batching ? std::min(capabilities.max_num_seqs, capabilities.max_batch_tokens) : 1) {
    free_slots_.reserve(static_cast<std::size_t>(capabilities.max_num_seqs));
    released_.resize(static_cast<std::size_t>(capabilities.max_num_seqs));
    for (SlotId slot = 0; slot < capabilities.max_num_seqs; ++slot) free_slots_.push_back(slot);  // ascending: already a heap
}

void Scheduler::add(Sequence sequence) {
    assert(sequence.num_prompt_tokens > 0 && !sequences_.contains(sequence.id));
    sequence.max_tokens = std::min(sequence.max_tokens, capacity_.max_sequence_tokens());
    assert(sequence.num_tokens() <= sequence.max_tokens);
    sequence.status = SequenceStatus::waiting;
    sequence.slot = kNoSlot;
    sequence.num_computed_tokens = 0;
    sequence.num_scored_tokens = 0;
    own_waiting(std::make_unique<Sequence>(std::move(sequence)));
}

void Scheduler::own_waiting(std::unique_ptr<Sequence> owned) {
    Sequence* s = owned.get();
    const auto it = sequences_.emplace(s->id, std::move(owned)).first;
    try {
        waiting_.insert(s);
    } catch (...) {
        sequences_.erase(it);
        throw;
    }
}

const StepPlan& Scheduler::schedule() {
    picks_.clear();
    budget_ = capabilities_.max_batch_tokens;
    logits_budget_ = capabilities_.max_prompt_logits > 0 ? capabilities_.max_prompt_logits : capabilities_.max_batch_tokens;
    preempted_ = false;
    schedule_running(true);
    const bool any_decodes = !picks_.empty();
    prefill_budget_ = any_decodes && config_.max_prefill_chunk > 0 ? std::min(budget_, config_.max_prefill_chunk) : budget_;
    schedule_running(false);
    // who has just been preempted would only be the first to come back
    if (!preempted_ || running_.empty()) schedule_waiting();
    build_plan();
    return plan_;
}

void Scheduler::schedule_running(bool decoding) {
    // preemption changes running_ from its end; what is ahead of `next` may go, what is behind stays
    const std::vector<Sequence*> snapshot(running_.begin(), running_.end());
    for (Sequence* s : snapshot) {
        if (s->status != SequenceStatus::running || s->decodes() != decoding) continue;
        const std::int32_t n = decoding ? 1 : chunk(*s);
        if (n == 0) continue;  // no budget is left, or no logits for a prompt that is scored
        make_room(*s, n);
    }
}

std::int32_t Scheduler::chunk(const Sequence& sequence) const {
    return std::min({sequence.most_tokens(logits_budget_), budget_, prefill_budget_, capacity_.max_chunk()});
}

bool Scheduler::make_room(Sequence& sequence, std::int32_t n_tokens) {
    std::vector<BlockCopy> copies;
    while (!kv_.allocate(sequence.id, sequence.num_computed_tokens, n_tokens, copies)) {
        Sequence* last = *running_.rbegin();
        preempt(*last);
        if (last == &sequence) return false;
    }
    pick(sequence, n_tokens, std::move(copies));
    return true;
}

void Scheduler::pick(Sequence& sequence, std::int32_t n_tokens, std::vector<BlockCopy> copies) {
    picks_.push_back({&sequence, n_tokens, std::move(copies)});
    budget_ -= n_tokens;
    if (sequence.scores()) logits_budget_ -= sequence.num_logits(n_tokens);
    if (!sequence.decodes()) prefill_budget_ -= n_tokens;
}

void Scheduler::schedule_waiting() {
    while (!waiting_.empty() && num_running() < max_running_ && budget_ > 0 && prefill_budget_ > 0) {
        Sequence& s = **waiting_.begin();
        if (s.scores() && logits_budget_ == 0) return;
        if (!fits_now(s)) return;  // nobody overtakes: who is first would never find room
        admit(s);
        std::vector<BlockCopy> copies;
        const std::int32_t n = chunk(s);
        if (!kv_.allocate(s.id, s.num_computed_tokens, n, copies)) {
            assert(!"a sequence that fits has its pages");
            preempt(s);
            return;
        }
        pick(s, n, std::move(copies));
    }
}

bool Scheduler::fits_now(const Sequence& sequence) const {
    const KvManager::Match match = kv_.match(sequence.reusable(), sequence.salt);
    const std::int32_t uncomputed = sequence.num_tokens() - match.num_pages * kv_.block_size();
    for (std::int32_t group = 0; group < kv_.num_groups(); ++group) {
        const auto g = static_cast<std::size_t>(group);
        // pages promised to those that run: the rest of their prompts, and one more for each, so that admitting a
        // sequence does not at once preempt it
        std::int32_t promised = num_running();
        for (const Sequence* other : running_) {
            promised += std::max(0, capacity_.max_held(group, other->num_tokens(), other->num_uncomputed()) - kv_.held(other->id, group));
        }
        const std::int32_t needed = std::max(0, capacity_.max_held(group, sequence.num_tokens(), uncomputed) - match.held[g]);
        if (needed + promised > kv_.available(group) - match.taken_from_available[g]) return false;
    }
    return true;
}

void Scheduler::admit(Sequence& sequence) {
    sequence.num_computed_tokens = kv_.begin(sequence.id, sequence.reusable(), sequence.salt);
    take_slot(sequence);
    if (sequence.num_cached_tokens < 0) {
        sequence.num_cached_tokens = sequence.num_computed_tokens;
        admitted_prompt_tokens_ += static_cast<std::uint64_t>(sequence.num_prompt_tokens);
        cached_prompt_tokens_ += static_cast<std::uint64_t>(sequence.num_cached_tokens);
    }
}

void Scheduler::take_slot(Sequence& sequence) noexcept {
    running_.insert(waiting_.extract(&sequence));  // moves the node: no allocation
    std::ranges::pop_heap(free_slots_, std::greater<>());
    sequence.slot = free_slots_.back();
    free_slots_.pop_back();
    sequence.status = SequenceStatus::running;
}

void Scheduler::leave_slot(Sequence& sequence, BlockPool::Worth worth) noexcept {
    released_[static_cast<std::size_t>(sequence.slot)] = true;
    free_slots_.push_back(std::exchange(sequence.slot, kNoSlot));
    std::ranges::push_heap(free_slots_, std::greater<>());
    kv_.free(sequence.id, worth);
}

void Scheduler::preempt(Sequence& sequence) noexcept {
    const auto it = std::ranges::find(picks_, &sequence, &Pick::sequence);
    if (it != picks_.end()) {
        budget_ += it->n_tokens;
        if (!sequence.decodes()) prefill_budget_ += it->n_tokens;
        if (sequence.scores()) logits_budget_ += sequence.num_logits(it->n_tokens);
        picks_.erase(it);
    }
    waiting_.insert(running_.extract(&sequence));
    publish(sequence, sequence.num_computed_tokens);  // it comes back: what is not taken until then need not be computed again
    leave_slot(sequence, BlockPool::Worth::kept);
    sequence.status = SequenceStatus::waiting;
    sequence.num_computed_tokens = 0;
    ++preemptions_;
    preempted_ = true;
}

void Scheduler::build_plan() {
    plan_.step = ++step_;
    plan_.tokens.clear();
    plan_.rows.clear();
    plan_.copies.clear();
    for (const Pick& pick : picks_) {
        const Sequence& s = *pick.sequence;
        PlanRow row;
        row.sequence = s.id;
        row.slot = s.slot;
        row.position = s.num_computed_tokens;
        row.token_offset = plan_.n_tokens();
        row.n_tokens = pick.n_tokens;
        row.n_logits = s.num_logits(pick.n_tokens);
        for (std::int32_t group = 0; group < kv_.num_groups(); ++group) row.tables.push_back(&kv_.table(s.id, group));
        const auto first = s.tokens.begin() + s.num_computed_tokens;
        plan_.tokens.insert(plan_.tokens.end(), first, first + pick.n_tokens);
        plan_.copies.insert(plan_.copies.end(), pick.copies.begin(), pick.copies.end());
        plan_.rows.push_back(std::move(row));
    }
    plan_.released_slots.clear();
    if (plan_.rows.empty()) return;  // nobody will run it: the slots are named in the next one
    for (SlotId slot = 0; slot < capabilities_.max_num_seqs; ++slot) {
        if (released_[static_cast<std::size_t>(slot)]) plan_.released_slots.push_back(slot);
    }
    released_.assign(released_.size(), false);
}

void Scheduler::commit() {
    for (const PlanRow& row : plan_.rows) {
        const auto it = sequences_.find(row.sequence);
        if (it == sequences_.end()) continue;
        Sequence& s = *it->second;
        s.num_computed_tokens = row.position + row.n_tokens;
        s.num_scored_tokens =
            std::clamp(s.num_computed_tokens, s.num_scored_tokens, std::max(s.num_scored_tokens, s.num_prompt_tokens - 1));
    }
    // output pages wait for the sequence's end: an aborted answer leaves none
    for (const PlanRow& row : plan_.rows) {
        const auto it = sequences_.find(row.sequence);
        if (it != sequences_.end()) publish(*it->second, std::min(it->second->num_computed_tokens, it->second->num_prompt_tokens));
    }
}

void Scheduler::publish(const Sequence& sequence, std::int32_t num_tokens) noexcept {
    try {
        kv_.publish(sequence.id, sequence.tokens, num_tokens);
    } catch (const std::bad_alloc&) {
        return;  // what is not published now is published with the next page
    }
}

void Scheduler::append(SequenceId id, TokenId token) {
    Sequence& s = *sequences_.at(id);
    assert(s.num_uncomputed() == 0 && s.num_tokens() < s.max_tokens);
    s.tokens.push_back(token);
}

void Scheduler::fork(SequenceId parent, SequenceId child, std::int32_t choice, TokenId token) {
    const Sequence& p = *sequences_.at(parent);
    assert(p.status == SequenceStatus::running);
    auto owned = std::make_unique<Sequence>(p);
    Sequence* s = owned.get();
    s->id = child;
    s->choice = choice;
    s->slot = kNoSlot;
    s->tokens.resize(static_cast<std::size_t>(p.num_computed_tokens));
    s->tokens.push_back(token);
    s->status = SequenceStatus::waiting;
    s->num_computed_tokens = 0;
    const std::int32_t computed = p.num_computed_tokens;
    own_waiting(std::move(owned));
    if (!capabilities_.paged || !capabilities_.pages_are_all || num_running() >= max_running_) return;
    kv_.fork(parent, child);
    s->num_computed_tokens = computed;
    take_slot(*s);
}

void Scheduler::finish(SequenceId id, KeepPages keep) noexcept {
    const auto it = sequences_.find(id);
    if (it == sequences_.end()) return;
    Sequence& s = *it->second;
    if (s.status == SequenceStatus::running) {
        running_.erase(&s);
        if (keep == KeepPages::all) publish(s, s.num_computed_tokens);
        leave_slot(s, keep == KeepPages::all ? BlockPool::Worth::kept : BlockPool::Worth::abandoned);
    } else {
        waiting_.erase(&s);
    }
    sequences_.erase(it);
}

void Scheduler::step_failed() {
    for (SlotId slot : plan_.released_slots) released_[static_cast<std::size_t>(slot)] = true;
}

std::vector<SequenceId> Scheduler::ids() const {
    std::vector<SequenceId> ids;
    for (const auto& [id, sequence] : sequences_) ids.push_back(id);
    return ids;
}

std::string Scheduler::check() const {
    if (running_.size() + waiting_.size() != sequences_.size()) return "running and waiting are not all sequences";
    if (num_running() > max_running_) return "too many sequences run";
    std::vector<bool> used(static_cast<std::size_t>(capabilities_.max_num_seqs), false);
    for (SlotId slot : free_slots_) {
        if (used[static_cast<std::size_t>(slot)]) return "slot " + std::to_string(slot) + " is free twice";
        used[static_cast<std::size_t>(slot)] = true;
    }
    for (const auto& [id, owned] : sequences_) {
        const Sequence& s = *owned;
        const std::string who = "sequence " + std::to_string(id) + ": ";
        const bool running = s.status == SequenceStatus::running;
        if (running != running_.contains(owned.get()) || running == waiting_.contains(owned.get())) return who + "is in the wrong queue";
        if (running != kv_.contains(id)) return who + "holds a block table although it waits, or runs without one";
        if (!running && (s.slot != kNoSlot || s.num_computed_tokens != 0)) return who + "waits, but holds on to a slot or computed tokens";
        if (s.num_tokens() > s.max_tokens || s.num_computed_tokens > s.num_tokens()) return who + "has too many tokens";
        if (!running) continue;
        if (s.slot < 0 || s.slot >= capabilities_.max_num_seqs || used[static_cast<std::size_t>(s.slot)])
            return who + "its slot is not its own";
        used[static_cast<std::size_t>(s.slot)] = true;
    }
    return kv_.check([this](SequenceId id) { return sequences_.at(id)->computed(); });
}

}  // namespace tfserve
