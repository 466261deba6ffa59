// What a transcript may look like: whisper's rules on the logits of its next token, as transformers' logits processors have them.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/types.h"

namespace tfserve::speech {

/// For transcripts with time tokens, `begin` standing for 0.00 s and every id after it for 0.02 s more.
struct TimestampRules {
    TokenId begin = 0;
    /// <|notimestamps|>, which is never produced.
    TokenId no_timestamps = 0;
    /// The first token is at most `begin` + this. Absent: any time.
    std::optional<int> max_initial_index;
};

struct DecodingRules {
    /// Never produced.
    std::vector<TokenId> suppress;
    /// Never the first token.
    std::vector<TokenId> begin_suppress;
    /// Ids below it are text.
    TokenId eos = 0;
    std::optional<TimestampRules> timestamps;
};

/// Sets to -inf what `rules` forbid after `output`, the tokens produced so far (without the prompt), in a row of raw logits: transformers'
/// SuppressTokensAtBegin, SuppressTokens and WhisperTimeStamp processors in this order. Times come in pairs, but for one before the end
/// of the transcript; they never go back; the first token is a time; and where all times together are likelier than the likeliest text
/// token, it is a time. Ids outside the row mean nothing; NaN counts as -inf.
void apply_decoding_rules(std::span<float> logits, const DecodingRules& rules, std::span<const TokenId> output);

}  // namespace tfserve::speech
