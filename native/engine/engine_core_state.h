// What the engine keeps of each request: shared by engine_core.cpp and engine_output.cpp, and nobody else's business.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine_core.h"
#include "engine/output_constraint.h"

namespace tfserve {

/// One of the n answers to a request.
struct EngineCore::Choice {
    Request* request;
    std::int32_t index;
    SequenceId sequence;  // 0 once it is closed
    Sampler sampler;
    TextStream text;
    std::optional<OutputConstraint> constraint;
    std::int32_t num_output = 0;
    bool finished = false;  // its last delta is made
};

struct EngineCore::Request {
    EngineRequest spec;
    std::vector<std::unique_ptr<Choice>> choices;  // grows from 1 to n with the first sampled token
    std::int32_t num_cached_tokens = 0;
    std::int32_t num_live = 0;  // of `choices`
    bool admitted = false;
    bool scores_begun = false;  // a delta with prompt_logprobs has been made
};

/// The prompt tokens of one request that a step's logits are about.
struct EngineCore::PromptScores {
    struct Row {
        std::span<float> logits;
        TokenId token;  // the one that follows in the prompt
        std::int32_t top_logprobs;
        SampledToken score;
        std::string error;
    };
    SequenceId sequence;
    bool first;  // the step began at the prompt's first token, which no logits are about
    std::vector<Row> rows;
};

}  // namespace tfserve
