// The engine: one thread that turns submitted requests into batches of deltas, step by step.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/model_runner.h"
#include "engine/types.h"
#include "sampling/sampler.h"
#include "sampling/sampling_params.h"
#include "sampling/token_constraint.h"
#include "text/token_table.h"

namespace tfserve {

struct EngineConfig {
    std::int32_t max_waiting = 1024;  ///< requests that may wait, beyond those for which a slot is free; more are refused (429)
    std::int64_t max_waiting_tokens = std::int64_t{1}
                                      << 22;  ///< prompt tokens that may wait, all requests together; more are refused (429)
    bool prefix_cache = true;
    bool continuous_batching = true;     ///< false: one sequence at a time
    std::int32_t max_prefill_chunk = 0;  ///< prompt tokens a step while others decode; 0 = the whole budget
    std::uint64_t hash_key[2] = {0, 0};  ///< key of the prefix hash; {0, 0}: drawn at random
};

/// One request as the engine takes it: already tokenised, templated and resolved.
struct EngineRequest {
    SequenceId id = 0;            ///< chosen by the caller, unique among live requests, not 0
    std::vector<TokenId> prompt;  ///< at least one token
    SamplingParams sampling;
    std::int32_t n = 1;                                  ///< choices; they share the prompt's pages
    std::int32_t priority = 0;                           ///< lower goes first; equal: first come, first served
    std::string cache_salt;                              ///< prefix pages are shared only between equal salts
    std::shared_ptr<const ConstraintSource> constraint;  ///< what every choice's output must match; null: anything
};

/// Why a request was refused before it waited.
enum class SubmitError : std::uint8_t { none, queue_full, too_long, does_not_fit, invalid, shutting_down };

struct SubmitResult {
    SubmitError error = SubmitError::none;
    std::string message;  ///< for the user, when refused
};

/// What one step brought to one choice of a request.
struct Delta {
    SequenceId id = 0;
    std::int32_t choice = 0;
    std::vector<TokenId> tokens;         ///< new tokens, the end-of-sequence token included
    std::string text;                    ///< may be empty while text is held back
    std::vector<SampledToken> logprobs;  ///< one a new token; only with want_logprobs
    /// Only with prompt_logprobs, choice 0: of the prompt's tokens in their order, as they are computed, all before the first new token.
    /// The prompt's first token has none.
    std::vector<std::optional<SampledToken>> prompt_logprobs;
    FinishReason finish_reason = FinishReason::none;
    std::int32_t stop_string = -1;  ///< index of the stop string that ended it
    TokenId stop_token = -1;        ///< the end-of-sequence token that ended it
    std::int32_t num_prompt_tokens = 0;
    std::int32_t num_cached_tokens = 0;  ///< of the prompt, taken from the prefix cache
    std::int32_t num_output_tokens = 0;  ///< so far
    std::string error;                   ///< with FinishReason::error
};

/// Counters and gauges; read at any time from any thread.
struct EngineStats {
    std::int32_t running = 0;
    std::int32_t waiting = 0;
    std::int32_t blocks_total = 0;  ///< pages of all groups
    std::int32_t blocks_free = 0;
    std::int32_t blocks_cached = 0;  ///< unreferenced, still findable
    std::uint64_t steps = 0;
    std::uint64_t prompt_tokens = 0;  ///< prompt tokens of admitted requests
    std::uint64_t cached_prompt_tokens = 0;
    std::uint64_t computed_tokens = 0;
    std::uint64_t output_tokens = 0;
    std::uint64_t preemptions = 0;
    std::uint64_t prefix_queries = 0;  ///< full pages looked up
    std::uint64_t prefix_hits = 0;     ///< full pages found
    std::uint64_t evictions = 0;
    std::uint64_t block_copies = 0;
    std::uint64_t aborts_waiting = 0, aborts_prefill = 0, aborts_decode = 0;
    double last_step_ms = 0;
    double last_step_end_s = 0;  ///< steady clock, seconds; 0 before the first step
};

class Engine {
   public:
    /// Called on the engine's thread after a step that produced deltas, and never again until take() was called.
    using Wake = std::function<void()>;

    Engine(std::unique_ptr<ModelRunner> runner, std::shared_ptr<const TokenTable> tokens, EngineConfig config, Wake wake);
    ~Engine();  ///< aborts everything and joins the thread
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    /// Thread safe, does not wait for a step. What can never fit is refused here.
    SubmitResult submit(EngineRequest request);
    /// Thread safe. The request's pages are free at the next step border; its last delta has FinishReason::abort.
    /// Unknown ids are ignored.
    void abort(SequenceId id);
    /// The deltas since the last call, in order. Thread safe.
    std::vector<Delta> take();
    EngineStats stats() const;
    const RunnerCapabilities& capabilities() const;

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace tfserve
