// When each token was said: dynamic time warping over the decoder's attention to the sound, as transformers' token timestamps.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace tfserve::speech {

/// Seconds of one position of the encoder's output.
inline constexpr double kSecondsPerPosition = 0.02;

/// Cross-attention probabilities of the heads that follow the sound, row-major [heads][tokens][positions]. A token's row is that of the
/// decoder's step which has the token as its input.
struct AttentionWeights {
    std::span<const float> values;
    std::size_t heads = 0;
    std::size_t tokens = 0;
    std::size_t positions = 0;
};

/// Seconds from the start of the window at which each of `weights.tokens` tokens begins; they never go back.
///
/// The first `positions` positions of the weights are looked at (10 ms frames of the recording / 2; the rest is padding). They are
/// normalised over the tokens of a head, smoothed over time by a median filter, averaged over heads, and aligned by dynamic time warping.
/// Rows of the prompt are not to be given; transformers tells 0 for them, and for the last token of the sequence the time of the one
/// before it. Positions that all tokens attend to alike, and values that are not finite, speak for no token.
///
/// Throws std::invalid_argument when values.size() is not heads * tokens * positions, when `positions` is more than there are, when
/// there is no head, or when `median_width` is not odd and between 1 and 127.
std::vector<double> align_tokens(const AttentionWeights& weights, std::size_t positions, int median_width);

}  // namespace tfserve::speech
