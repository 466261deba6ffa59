// Decides what every step computes. Pure: no clock, no I/O, no threads, no tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/capacity.h"
#include "engine/kv_manager.h"
#include "engine/model_runner.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"

namespace tfserve {

struct SchedulerConfig {
    bool prefix_cache = true;
    bool continuous_batching = true;
    std::int32_t max_prefill_chunk = 0;  ///< prompt tokens a step while a sequence decodes; 0 = the whole budget
    HashKey hash_key;
};

/// Which full pages of a sequence that ends stay in the prefix cache.
enum class KeepPages : std::uint8_t {
    all,     ///< prompt and output: a next turn continues them
    prompt,  ///< the output's pages are free, the prompt's are the first to go
};

/// There are no prefill and decode phases: every sequence has num_computed_tokens that chase its num_tokens under one token
/// budget a step. A step is: schedule(), the runner's work, then commit() when it succeeded, then append() or finish() for
/// each sampled sequence.
///
/// Order of service is (priority, arrival, choice). A step serves running sequences that decode, then running ones that still
/// prefill (in chunks), then admits waiting ones while the pages for all their known tokens are there. A running sequence
/// that lacks a page takes it from the last one in that order, which gives back everything and waits to be recomputed.
///
/// Progress: the first sequence in order is never preempted while another runs, has a place in every budget, and alone it
/// always fits, as Capacity has bounded its length. So it ends, and the next one is first.
class Scheduler {
   public:
    Scheduler(const RunnerCapabilities& capabilities, const SchedulerConfig& config);
    Scheduler(const Scheduler&) = delete;
    Scheduler& operator=(const Scheduler&) = delete;

    /// A new sequence, which waits. Its max_tokens is lowered to what the runner can hold, and is at least what it brings: with
    /// no more than that it is over when it has been computed, and the caller finishes it.
    void add(Sequence sequence);
    /// The next step. Empty only when there is nothing to do.
    const StepPlan& schedule();
    /// The step of the last schedule() was computed: its tokens are in the pages now.
    void commit();
    /// A sampled token.
    void append(SequenceId id, TokenId token);
    /// A copy of `parent`, whose tokens are all computed, with one more token of its own. It runs at once on shared pages
    /// where the runner can fork and has a slot, else it waits.
    void fork(SequenceId parent, SequenceId child, std::int32_t choice, TokenId token);
    /// Removes a sequence in whatever state; nothing references its pages from now on. Unknown ids are ignored.
    void finish(SequenceId id, KeepPages keep) noexcept;
    /// The last plan never reached the runner or failed there: slots that it was told to drop are named again.
    void step_failed();

    bool has_work() const { return !sequences_.empty(); }
    const Sequence& sequence(SequenceId id) const { return *sequences_.at(id); }
    bool contains(SequenceId id) const { return sequences_.contains(id); }
    std::int32_t num_running() const { return static_cast<std::int32_t>(running_.size()); }
    std::int32_t num_waiting() const { return static_cast<std::int32_t>(waiting_.size()); }
    std::int32_t max_running() const { return max_running_; }
    /// The waiting sequence that is next; null when none waits.
    const Sequence* first_waiting() const { return waiting_.empty() ? nullptr : *waiting_.begin(); }
    std::vector<SequenceId> ids() const;
    const KvManager& kv() const { return kv_; }
    const Capacity& capacity() const { return capacity_; }

    std::uint64_t preemptions() const { return preemptions_; }
    std::uint64_t admitted_prompt_tokens() const { return admitted_prompt_tokens_; }
    std::uint64_t cached_prompt_tokens() const { return cached_prompt_tokens_; }

    /// Empty when every invariant holds, else what is wrong. For tests.
    std::string check() const;

   private:
    friend struct TestPeer;

    /// A row of the step in the making. Preemption may still take it back.
    struct Pick {
        Sequence* sequence;
        std::int32_t n_tokens;
        std::vector<BlockCopy> copies;
    };

    void schedule_running(bool decoding);
    void schedule_waiting();
    /// Gives `sequence` pages for n more tokens, preempting from the back; false when it had to give up its own.
    bool make_room(Sequence& sequence, std::int32_t n_tokens);
    bool fits_now(const Sequence& sequence) const;
    std::int32_t chunk(const Sequence& sequence) const;
    void pick(Sequence& sequence, std::int32_t n_tokens, std::vector<BlockCopy> copies);
    void admit(Sequence& sequence);
    void preempt(Sequence& sequence) noexcept;
    void own_waiting(std::unique_ptr<Sequence> owned);
    void take_slot(Sequence& sequence) noexcept;
    void leave_slot(Sequence& sequence, BlockPool::Worth worth) noexcept;
    /// Lets the prefix cache find the first `num_tokens` of a sequence; without memory, later or never.
    void publish(const Sequence& sequence, std::int32_t num_tokens) noexcept;
    void build_plan();

    RunnerCapabilities capabilities_;
    SchedulerConfig config_;
    Capacity capacity_;
    KvManager kv_;
    std::int32_t max_running_;
    std::unordered_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
    std::set<Sequence*, ServiceOrder> running_;
    std::set<Sequence*, ServiceOrder> waiting_;
    std::vector<SlotId> free_slots_;  // a heap, lowest first: few slots in use stay the low ones
    std::vector<bool> released_;      // by slot: left since the last plan

    // the step in the making
    std::vector<Pick> picks_;
    std::int32_t budget_ = 0;
    std::int32_t prefill_budget_ = 0;
    std::int32_t logits_budget_ = 0;  // of scored prompts
    bool preempted_ = false;
    StepPlan plan_;
    std::uint64_t step_ = 0;

    std::uint64_t preemptions_ = 0;
    std::uint64_t admitted_prompt_tokens_ = 0;
    std::uint64_t cached_prompt_tokens_ = 0;
};

}  // namespace tfserve
