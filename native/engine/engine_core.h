// The engine without its thread: requests in, steps, deltas out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "engine/sample_pool.h"
#include "engine/scheduler.h"
#include "text/text_stream.h"

namespace tfserve {

/// Ties scheduler, runner, samplers and text streams together. Used from one thread, but for validate() and capabilities().
class EngineCore {
   public:
    EngineCore(std::unique_ptr<ModelRunner> runner, std::shared_ptr<const TokenTable> tokens, const EngineConfig& config);
    ~EngineCore();

    /// Refuses what can never run. Any thread.
    SubmitResult validate(const EngineRequest& request) const;
    const RunnerCapabilities& capabilities() const { return capabilities_; }

    /// Takes a request that validate() accepts and whose id is not live. Failures become its last deltas.
    void submit(EngineRequest request) noexcept;
    /// Ends a request; its pages are free at once. Unknown ids are ignored.
    void abort(SequenceId id);
    /// Ends everything that lives with FinishReason::error.
    void fail_all(const std::string& error);
    bool has_work() const { return scheduler_.has_work(); }
    /// One step. What it brought is in deltas(), which grows until the caller clears it.
    void step();

    std::vector<Delta>& deltas() { return deltas_; }
    /// Ids of requests that have ended since this was last cleared.
    std::vector<SequenceId>& ended() { return ended_; }
    /// Requests that have never been admitted.
    std::int32_t num_unadmitted() const { return num_unadmitted_; }
    /// Prompt tokens of these.
    std::int64_t num_unadmitted_tokens() const { return num_unadmitted_tokens_; }
    std::int32_t num_free_slots() const { return scheduler_.max_running() - scheduler_.num_running(); }
    const Scheduler& scheduler() const { return scheduler_; }
    /// Everything but waiting submits and times.
    EngineStats stats() const;

   private:
    struct Choice;
    struct Request;

    Choice& add_choice(Request& request, SequenceId sequence);
    /// Runs the plan, and makes the masks of constrained choices meanwhile. What went wrong, else nothing.
    std::string execute(const StepPlan& plan);
    void note_admissions(const StepPlan& plan);
    struct PromptScores;

    /// Takes what a step's logits bring: log probabilities of prompt tokens, then new tokens.
    void use_logits(const StepPlan& plan);
    std::vector<PromptScores> prompt_scores(const StepPlan& plan);
    void deliver(PromptScores& scores);
    /// Ends a request that wants no new token.
    void end_after_prompt(Request& request);
    /// Samples the first token of every choice of a request from one row, and forks.
    void sample_choices(Choice& first, std::span<float> logits);
    static SampledToken sample_next(Choice& choice, std::span<float> logits, std::span<const TokenId> output);
    /// Its constraint lets nothing follow, or cannot be followed any more.
    static bool cannot_go_on(const Choice& choice);
    /// Ends such a choice: a complete output with FinishReason::stop, any other with the reason.
    void end_constrained(Choice& choice);
    void advance(Choice& choice, SampledToken sampled);
    /// Takes in a sampled token; true when the choice goes on.
    bool accept(Choice& choice, std::int32_t max_tokens, SampledToken sampled);
    /// Ends what lives of a request: a last delta for each choice, also for those that have not begun.
    void end(Request& request, FinishReason reason, const std::string& error);
    void end(Choice& choice, FinishReason reason, const std::string& error);
    /// Frees a choice's sequence.
    void close(Choice& choice) noexcept;
    /// Forgets the request when no choice of it lives.
    void drop_if_ended(Request& request) noexcept;
    /// It is counted no more among those that were never admitted.
    void leave_line(const Request& request) noexcept;
    Delta begin_delta(const Choice& choice) const;
    bool pays_to_share(std::size_t rows) const;

    std::unique_ptr<ModelRunner> runner_;
    RunnerCapabilities capabilities_;
    std::shared_ptr<const TokenTable> tokens_;
    Scheduler scheduler_;
    SamplePool pool_;
    std::unordered_map<SequenceId, std::unique_ptr<Request>> requests_;
    std::unordered_map<SequenceId, Choice*> by_sequence_;
    std::vector<Delta> deltas_;
    std::vector<SequenceId> ended_;
    SequenceId next_sequence_ = 1;
    std::uint64_t next_arrival_ = 0;
    std::int32_t num_unadmitted_ = 0;
    std::int64_t num_unadmitted_tokens_ = 0;
    EngineStats counters_;
};

}  // namespace tfserve
