// What a step's logits become: scores of prompts, sampled tokens, text, and the end of a choice.
#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include "engine/engine_core_state.h"

namespace tfserve {

namespace {

/// Logits of a step from which on waking the helper costs less than it saves.
constexpr std::size_t kSharedLogits = std::size_t{1} << 18;

// The end decides what was held back, and that can complete a stop string.
void take_rest(TextStream& text, Delta& delta) {
    TextStream::Piece rest = text.close();
    delta.text += rest.text;
    if (!rest.stopped) return;
    delta.finish_reason = FinishReason::stop;
    delta.stop_string = rest.stop_index;
}

}  // namespace

bool EngineCore::pays_to_share(std::size_t rows) const {
    return rows > 1 && rows * static_cast<std::size_t>(capabilities_.vocab_size) >= kSharedLogits &&
           std::thread::hardware_concurrency() > 1;
}

std::vector<EngineCore::PromptScores> EngineCore::prompt_scores(const StepPlan& plan) {
    std::vector<PromptScores> all;
    for (std::size_t r = 0; r < plan.rows.size(); ++r) {
        const PlanRow& row = plan.rows[r];
        const Sequence& s = scheduler_.sequence(row.sequence);
        // the rest of a prompt that was preempted after its last score brings none
        const std::int32_t last = std::min(row.position + row.n_tokens, s.num_prompt_tokens - 1);
        const std::int32_t begin = row.position + row.n_tokens - row.n_logits;
        Request& request = *by_sequence_.at(row.sequence)->request;
        const bool first = s.scores_prompt && !std::exchange(request.scores_begun, true);
        if (!s.scores_prompt || (!first && begin >= last)) continue;
        PromptScores scores{row.sequence, first, {}};
        for (std::int32_t position = begin; position < last; ++position) {
            scores.rows.push_back({runner_->logits(r, static_cast<std::size_t>(position - begin)),
                                   s.tokens[static_cast<std::size_t>(position) + 1],
                                   request.spec.sampling.prompt_logprobs,
                                   {},
                                   {}});
        }
        all.push_back(std::move(scores));
    }
    return all;
}

void EngineCore::deliver(PromptScores& scores) {
    Choice& choice = *by_sequence_.at(scores.sequence);
    const auto failed = std::ranges::find_if(scores.rows, [](const auto& row) { return !row.error.empty(); });
    if (failed != scores.rows.end()) return end(*choice.request, FinishReason::error, failed->error);
    Delta delta = begin_delta(choice);
    delta.prompt_logprobs.reserve(scores.rows.size() + 1);
    if (scores.first) delta.prompt_logprobs.emplace_back();
    for (PromptScores::Row& row : scores.rows) delta.prompt_logprobs.emplace_back(std::move(row.score));
    deltas_.push_back(std::move(delta));
}

void EngineCore::use_logits(const StepPlan& plan) {
    struct Job {
        SequenceId sequence;
        Choice* choice;
        std::span<float> logits;
        bool forks;
        SampledToken sampled;
        std::string error;
    };
    std::vector<PromptScores> prompts = prompt_scores(plan);
    std::vector<PromptScores::Row*> scored;
    for (PromptScores& prompt : prompts) {
        for (PromptScores::Row& row : prompt.rows) scored.push_back(&row);
    }
    std::vector<Job> jobs;
    std::vector<SequenceId> over;
    for (std::size_t r = 0; r < plan.rows.size(); ++r) {
        const PlanRow& row = plan.rows[r];
        const Sequence& s = scheduler_.sequence(row.sequence);
        if (s.num_uncomputed() > 0) continue;
        if (s.num_tokens() == s.max_tokens) {
            over.push_back(row.sequence);
            continue;
        }
        Choice& choice = *by_sequence_.at(row.sequence);
        const bool forks = choice.request->spec.n > 1 && choice.num_output == 0;
        jobs.push_back({row.sequence, &choice, runner_->logits(r, static_cast<std::size_t>(row.n_logits - 1)), forks, {}, {}});
    }
    const auto sample = [this](Job& job) {
        if (job.forks || cannot_go_on(*job.choice)) return;
        job.sampled = sample_next(*job.choice, job.logits, scheduler_.sequence(job.sequence).output());
    };
    const auto work = [&](std::size_t i) noexcept {
        PromptScores::Row* row = i < scored.size() ? scored[i] : nullptr;
        Job* job = row == nullptr ? &jobs[i - scored.size()] : nullptr;
        try {
            if (row != nullptr) row->score = score_token(row->logits, row->token, row->top_logprobs);
            if (job != nullptr) sample(*job);
        } catch (const std::exception& failure) {
            (row != nullptr ? row->error : job->error) = failure.what();
        }
    };
    const std::size_t n_rows = scored.size() + jobs.size();
    if (pays_to_share(n_rows)) {
        pool_.run(n_rows, work);
    } else {
        for (std::size_t i = 0; i < n_rows; ++i) work(i);
    }
    for (PromptScores& prompt : prompts) deliver(prompt);
    for (Job& job : jobs) {
        const auto it = by_sequence_.find(job.sequence);
        if (it == by_sequence_.end()) continue;  // ended with its prompt's scores
        Choice& choice = *it->second;
        if (job.forks) {
            sample_choices(choice, job.logits);
            continue;
        }
        Request& request = *choice.request;
        if (cannot_go_on(choice)) {
            end_constrained(choice);
        } else if (job.error.empty()) {
            advance(choice, std::move(job.sampled));
        } else {
            end(choice, FinishReason::error, job.error);
        }
        drop_if_ended(request);
    }
    for (SequenceId sequence : over) {
        const auto it = by_sequence_.find(sequence);
        if (it != by_sequence_.end()) end_after_prompt(*it->second->request);
    }
}

void EngineCore::end_after_prompt(Request& request) {
    Choice& first = *request.choices.front();
    for (std::int32_t i = 0; i < request.spec.n; ++i) {
        Delta delta = begin_delta(first);
        delta.choice = i;
        delta.finish_reason = FinishReason::length;
        deltas_.push_back(std::move(delta));
    }
    first.finished = true;
    close(first);
    drop_if_ended(request);
}

void EngineCore::sample_choices(Choice& first, std::span<float> logits) {
    Request& request = *first.request;
    try {
        const std::int32_t max_tokens = scheduler_.sequence(first.sequence).max_tokens;
        const std::vector<float> original(logits.begin(), logits.end());  // sample() overwrites its row
        if (cannot_go_on(first)) {
            while (std::cmp_less(request.choices.size(), request.spec.n)) add_choice(request, next_sequence_++);
            for (const auto& choice : request.choices) end_constrained(*choice);
            drop_if_ended(request);
            return;
        }
        SampledToken sampled = sample_next(first, logits, {});
        const TokenId first_token = sampled.token;
        const bool first_goes_on = accept(first, max_tokens, std::move(sampled));
        for (std::int32_t i = 1; i < request.spec.n; ++i) {
            std::ranges::copy(original, logits.begin());
            Choice& choice = add_choice(request, next_sequence_++);
            if (choice.constraint) choice.constraint->prepare();  // the same mask as the first choice's, remembered
            sampled = sample_next(choice, logits, {});
            const TokenId token = sampled.token;
            if (accept(choice, max_tokens, std::move(sampled))) {
                scheduler_.fork(first.sequence, choice.sequence, i, token);
            } else {
                close(choice);
            }
        }
        if (first_goes_on) {
            scheduler_.append(first.sequence, first_token);
        } else {
            close(first);
        }
        drop_if_ended(request);
    } catch (const std::exception& failure) {
        end(request, FinishReason::error, failure.what());  // nothing of it is sent twice: finished choices have had their last delta
    }
}

SampledToken EngineCore::sample_next(Choice& choice, std::span<float> logits, std::span<const TokenId> output) {
    return choice.sampler.sample(logits, output, choice.constraint ? choice.constraint->allowed() : std::span<const std::uint64_t>());
}

bool EngineCore::cannot_go_on(const Choice& choice) {
    return choice.constraint && (choice.constraint->none_allowed() || !choice.constraint->error().empty());
}

void EngineCore::end_constrained(Choice& choice) {
    const std::string& error = choice.constraint->error();
    if (!error.empty()) return end(choice, FinishReason::error, error);
    Delta delta = begin_delta(choice);
    delta.finish_reason = FinishReason::stop;
    take_rest(choice.text, delta);
    deltas_.push_back(std::move(delta));
    choice.finished = true;
    close(choice);
}

void EngineCore::advance(Choice& choice, SampledToken sampled) {
    try {
        const TokenId token = sampled.token;
        if (accept(choice, scheduler_.sequence(choice.sequence).max_tokens, std::move(sampled))) {
            scheduler_.append(choice.sequence, token);
        } else {
            close(choice);
        }
    } catch (const std::exception& failure) {
        end(choice, FinishReason::error, failure.what());
    }
}

bool EngineCore::accept(Choice& choice, std::int32_t max_tokens, SampledToken sampled) {
    const EngineRequest& spec = choice.request->spec;
    const SamplingParams& sampling = spec.sampling;
    const TokenId token = sampled.token;
    ++choice.num_output;
    ++counters_.output_tokens;
    Delta delta = begin_delta(choice);
    delta.tokens.push_back(token);
    if (sampling.want_logprobs) delta.logprobs.push_back(std::move(sampled));
    if (!sampling.ignore_eos && std::ranges::find(sampling.eos_token_ids, token) != sampling.eos_token_ids.end()) {
        delta.finish_reason = FinishReason::stop;
        delta.stop_token = token;
        take_rest(choice.text, delta);
    } else {
        TextStream::Piece piece = choice.text.push(token);
        delta.text = std::move(piece.text);
        const bool complete = choice.constraint && !choice.constraint->accept(token);
        if (piece.stopped) {
            delta.finish_reason = FinishReason::stop;
            delta.stop_string = piece.stop_index;
        } else if (complete) {
            delta.finish_reason = FinishReason::stop;
            take_rest(choice.text, delta);
        } else if (std::cmp_greater_equal(spec.prompt.size() + static_cast<std::size_t>(choice.num_output), max_tokens)) {
            delta.finish_reason = FinishReason::length;
            take_rest(choice.text, delta);
        }
    }
    const bool goes_on = delta.finish_reason == FinishReason::none;
    deltas_.push_back(std::move(delta));
    choice.finished = !goes_on;
    return goes_on;
}

}  // namespace tfserve
