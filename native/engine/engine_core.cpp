#include "engine/engine_core.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "engine/engine_core_state.h"

namespace tfserve {

namespace {

/// Bounds the work that one small request can ask for.
constexpr std::int32_t kMaxChoices = 128;

HashKey hash_key(const EngineConfig& config) {
    if (config.hash_key[0] == 0 && config.hash_key[1] == 0) return random_hash_key();
    return {config.hash_key[0], config.hash_key[1]};
}

SubmitResult refuse(SubmitError error, std::string message) { return {error, std::move(message)}; }

}  // namespace

EngineCore::EngineCore(std::unique_ptr<ModelRunner> runner, std::shared_ptr<const TokenTable> tokens, const EngineConfig& config)
    : runner_(std::move(runner)),
      capabilities_(runner_->capabilities()),
      tokens_(std::move(tokens)),
      scheduler_(capabilities_, {config.prefix_cache, config.continuous_batching, config.max_prefill_chunk, hash_key(config)}) {}

EngineCore::~EngineCore() = default;

SubmitResult EngineCore::validate(const EngineRequest& request) const {
    if (request.id == 0) return refuse(SubmitError::invalid, "a request needs an id");
    if (request.prompt.empty()) return refuse(SubmitError::invalid, "the prompt has no tokens");
    if (request.n < 1 || request.n > kMaxChoices) {
        return refuse(SubmitError::invalid,
                      "n must be between 1 and " + std::to_string(kMaxChoices) + ", not " + std::to_string(request.n));
    }
    if (request.sampling.max_new_tokens < 0) return refuse(SubmitError::invalid, "a negative number of tokens cannot be asked for");
    if (request.sampling.prompt_logprobs < -1 || request.sampling.prompt_logprobs > kMaxTopLogprobs) {
        return refuse(SubmitError::invalid, "a prompt token has between 0 and " + std::to_string(kMaxTopLogprobs) + " alternatives, not " +
                                                std::to_string(request.sampling.prompt_logprobs));
    }
    const std::int64_t room_for_answer = request.sampling.max_new_tokens > 0 ? 1 : 0;
    const std::string rest = room_for_answer > 0 ? ", of which one at least must be left for the answer" : "";
    const auto length = static_cast<std::int64_t>(request.prompt.size());
    if (length + room_for_answer > capabilities_.max_model_len) {
        return refuse(SubmitError::too_long, "the prompt has " + std::to_string(length) + " tokens, but the model's context is " +
                                                 std::to_string(capabilities_.max_model_len) + " tokens" + rest);
    }
    const std::int64_t pool_tokens = scheduler_.capacity().pool_tokens();
    if (length > pool_tokens - room_for_answer) {
        return refuse(SubmitError::does_not_fit, "the prompt has " + std::to_string(length) + " tokens, but the whole KV cache holds " +
                                                     std::to_string(pool_tokens) + rest);
    }
    const auto outside = std::ranges::find_if(request.prompt, [this](TokenId id) { return id < 0 || id >= capabilities_.vocab_size; });
    if (outside != request.prompt.end()) {
        return refuse(SubmitError::invalid, "token " + std::to_string(*outside) + " is not in the vocabulary of " +
                                                std::to_string(capabilities_.vocab_size) + " tokens");
    }
    return {};
}

EngineCore::Choice& EngineCore::add_choice(Request& request, SequenceId sequence) {
    const auto index = static_cast<std::int32_t>(request.choices.size());
    const SamplingParams& sampling = request.spec.sampling;
    request.choices.push_back(std::make_unique<Choice>(Choice{
        &request, index, sequence, Sampler(sampling, request.spec.prompt, capabilities_.vocab_size, static_cast<std::uint64_t>(index)),
        TextStream(tokens_, sampling.stop, sampling.skip_special_tokens, sampling.shown_special_tokens), std::nullopt, 0, false}));
    ++request.num_live;
    Choice& choice = *request.choices.back();
    if (request.spec.constraint) choice.constraint.emplace(request.spec.constraint->start(), sampling, capabilities_.vocab_size);
    by_sequence_.emplace(sequence, &choice);
    return choice;
}

void EngineCore::submit(EngineRequest spec) noexcept {
    const SequenceId id = spec.id;
    const std::int32_t n = spec.n;
    const SequenceId sequence_id = next_sequence_++;
    try {
        // so that ending a request needs no memory
        if (ended_.capacity() < ended_.size() + requests_.size() + 1) ended_.reserve(2 * (ended_.size() + requests_.size() + 1));
        auto owned = std::make_unique<Request>();
        owned->spec = std::move(spec);
        Request& request = *requests_.emplace(id, std::move(owned)).first->second;
        ++num_unadmitted_;
        num_unadmitted_tokens_ += std::ssize(request.spec.prompt);
        add_choice(request, sequence_id);
        Sequence sequence;
        sequence.id = sequence_id;
        sequence.tokens = request.spec.prompt;
        sequence.num_prompt_tokens = sequence.num_tokens();
        sequence.max_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(
            std::int64_t{sequence.num_prompt_tokens} + request.spec.sampling.max_new_tokens, capabilities_.max_model_len));
        sequence.priority = request.spec.priority;
        sequence.arrival = next_arrival_++;
        sequence.salt = request.spec.cache_salt;
        sequence.scores_prompt = request.spec.sampling.prompt_logprobs >= 0;
        scheduler_.add(std::move(sequence));
    } catch (const std::exception& error) {
        scheduler_.finish(sequence_id, KeepPages::prompt);
        by_sequence_.erase(sequence_id);
        if (const auto it = requests_.find(id); it != requests_.end()) {
            leave_line(*it->second);
            requests_.erase(it);
        }
        try {
            ended_.push_back(id);
            for (std::int32_t choice = 0; choice < n; ++choice) {
                Delta delta;
                delta.id = id;
                delta.choice = choice;
                delta.finish_reason = FinishReason::error;
                delta.error = error.what();
                deltas_.push_back(std::move(delta));
            }
        } catch (const std::bad_alloc&) {
            return;  // not even room to say so
        }
    }
}

void EngineCore::abort(SequenceId id) {
    const auto it = requests_.find(id);
    if (it == requests_.end()) return;
    Request& request = *it->second;
    const bool decoding = std::ranges::any_of(request.choices, [](const auto& choice) { return choice->num_output > 0; });
    ++(decoding ? counters_.aborts_decode : request.admitted ? counters_.aborts_prefill : counters_.aborts_waiting);
    end(request, FinishReason::abort, {});
}

void EngineCore::fail_all(const std::string& error) {
    for (const auto& [sequence, choice] : by_sequence_)
        scheduler_.finish(sequence, KeepPages::prompt);  // pages first: what follows may lack memory
    while (!requests_.empty()) end(*requests_.begin()->second, FinishReason::error, error);
}

void EngineCore::step() {
    const StepPlan& plan = scheduler_.schedule();
    if (plan.empty()) {
        // cannot happen while the scheduler keeps its promise; never spin on it
        if (scheduler_.has_work()) fail_all("the scheduler found nothing to compute");
        return;
    }
    note_admissions(plan);
    const std::string error = execute(plan);
    ++counters_.steps;
    if (!error.empty()) {
        scheduler_.step_failed();
        for (const PlanRow& row : plan.rows) {
            const auto it = by_sequence_.find(row.sequence);
            if (it == by_sequence_.end()) continue;  // ended with another row
            Choice& choice = *it->second;
            Request& request = *choice.request;
            if (choice.num_output == 0) {
                end(request, FinishReason::error, error);  // the other choices have not begun
            } else {
                end(choice, FinishReason::error, error);
                drop_if_ended(request);
            }
        }
        return;
    }
    scheduler_.commit();
    counters_.computed_tokens += plan.tokens.size();
    use_logits(plan);
}

// The masks of the tokens that this step brings depend on what the choices have said already: they are made while the model computes.
std::string EngineCore::execute(const StepPlan& plan) {
    std::vector<OutputConstraint*> constraints;
    for (const PlanRow& row : plan.rows) {
        Choice& choice = *by_sequence_.at(row.sequence);
        if (row.n_logits > 0 && choice.constraint) constraints.push_back(&*choice.constraint);
    }
    const std::function<void(std::size_t)> prepare = [&constraints](std::size_t i) { constraints[i]->prepare(); };
    if (!constraints.empty()) pool_.begin(constraints.size(), prepare);
    std::string error;
    try {
        runner_->execute(plan);
    } catch (const std::exception& failure) {
        error = failure.what();
        if (error.empty()) error = "the model runner failed";
    }
    if (!constraints.empty()) pool_.finish();
    return error;
}

void EngineCore::note_admissions(const StepPlan& plan) {
    for (const PlanRow& row : plan.rows) {
        Request& request = *by_sequence_.at(row.sequence)->request;
        if (std::exchange(request.admitted, true)) continue;
        request.num_cached_tokens = scheduler_.sequence(row.sequence).num_cached_tokens;
        leave_line(request);
    }
}

void EngineCore::leave_line(const Request& request) noexcept {
    --num_unadmitted_;
    num_unadmitted_tokens_ -= std::ssize(request.spec.prompt);
}

Delta EngineCore::begin_delta(const Choice& choice) const {
    Delta delta;
    delta.id = choice.request->spec.id;
    delta.choice = choice.index;
    delta.num_prompt_tokens = static_cast<std::int32_t>(choice.request->spec.prompt.size());
    delta.num_cached_tokens = choice.request->num_cached_tokens;
    delta.num_output_tokens = choice.num_output;
    return delta;
}

void EngineCore::end(Choice& choice, FinishReason reason, const std::string& error) {
    close(choice);
    if (std::exchange(choice.finished, true)) return;
    Delta delta = begin_delta(choice);
    delta.finish_reason = reason;
    delta.error = error;
    deltas_.push_back(std::move(delta));
}

void EngineCore::end(Request& request, FinishReason reason, const std::string& error) {
    for (const auto& choice : request.choices) close(*choice);  // pages first: what follows may lack memory
    for (const auto& choice : request.choices) end(*choice, reason, error);
    for (auto i = static_cast<std::int32_t>(request.choices.size()); i < request.spec.n; ++i) {
        Delta delta = begin_delta(*request.choices.front());
        delta.choice = i;
        delta.num_output_tokens = 0;
        delta.finish_reason = reason;
        delta.error = error;
        deltas_.push_back(std::move(delta));
    }
    drop_if_ended(request);
}

void EngineCore::close(Choice& choice) noexcept {
    if (choice.sequence == 0) return;
    // an answer that nobody waited for will hardly be continued; its prompt may well come again
    scheduler_.finish(choice.sequence, choice.finished ? KeepPages::all : KeepPages::prompt);
    by_sequence_.erase(std::exchange(choice.sequence, 0));
    --choice.request->num_live;
}

void EngineCore::drop_if_ended(Request& request) noexcept {
    if (request.num_live > 0) return;
    if (!request.admitted) leave_line(request);
    const SequenceId id = request.spec.id;
    ended_.push_back(id);
    requests_.erase(id);
}

EngineStats EngineCore::stats() const {
    EngineStats stats = counters_;
    stats.running = scheduler_.num_running();
    stats.waiting = scheduler_.num_waiting();
    const KvManager& kv = scheduler_.kv();
    for (std::int32_t group = 0; group < kv.num_groups(); ++group) {
        stats.blocks_total += kv.pool(group).num_blocks();
        stats.blocks_free += kv.pool(group).num_free();
        stats.blocks_cached += kv.pool(group).num_cached();
        stats.evictions += kv.pool(group).evictions();
    }
    stats.prompt_tokens = scheduler_.admitted_prompt_tokens();
    stats.cached_prompt_tokens = scheduler_.cached_prompt_tokens();
    stats.preemptions = scheduler_.preemptions();
    stats.prefix_queries = kv.prefix_queries();
    stats.prefix_hits = kv.prefix_hits();
    stats.block_copies = kv.block_copies();
    return stats;
}

}  // namespace tfserve
