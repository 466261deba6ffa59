// The warpers: narrow the tokens a sequence may go on with, and draw one of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/types.h"
#include "sampling/sampling_params.h"

namespace tfserve {

/// Memory that the passes over a row need; kept by a thread from row to row.
struct SamplingScratch {
    std::vector<float> maxima;
    std::vector<double> sums;
    std::vector<float> floats;
    std::vector<std::uint32_t> keys;
    std::vector<std::uint32_t> order;
    std::vector<TokenId> ids;    ///< the candidates, in the order of their ids
    std::vector<float> values;   ///< their logits
    std::vector<float> weights;  ///< their probabilities times an unknown factor
};

/// Draws a token: temperature, top_k, top_p, min_p and typical_p in this order and by transformers' definitions, then one
/// token through the cumulative distribution of what is left, in the order of the ids, at `uniform` in [0, 1).
/// Tokens that tie at the border of top_k and typical_p all stay, as in transformers; at that of top_p the lower ids do.
/// NaN and -inf are never drawn; a row without any other entry gives token 0. No logit may be +inf.
/// `maximum` and `scratch.maxima` are what block_maxima() gives for the row.
TokenId draw_token(std::span<const float> logits, float maximum, const SamplingParams& params, double uniform, SamplingScratch& scratch);

}  // namespace tfserve
