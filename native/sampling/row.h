// Passes over a whole row of logits, written so that compilers turn them into vector instructions.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/types.h"

namespace tfserve {

/// Logits a block; maxima and sums are kept per block so that later passes can leave out most of a row.
inline constexpr std::size_t kRowBlock = 64;

/// exp(z) for z <= 0 with a relative error of about 1e-7; 0 below -87, for -inf and for NaN.
float exp_nonpositive(float z);

/// Lowest id of the largest logit; NaN counts as -inf; 0 for a row without an entry above -inf.
TokenId argmax(std::span<const float> logits);

/// Largest logit of every block of kRowBlock logits (NaN left out, -inf for a block without any other), and the largest of all.
float block_maxima(std::span<const float> logits, std::vector<float>& maxima);

/// Sum of exp((logit - maximum) * inverse_temperature) per block, and the sum of all. Needs maximum >= every logit, finite.
double block_sums(std::span<const float> logits, float maximum, float inverse_temperature, std::vector<double>& sums);

/// exp((logit - maximum) * inverse_temperature) of every logit.
void weights_of(std::span<const float> logits, float maximum, float inverse_temperature, std::span<float> weights);

/// The k-th largest logit (k >= 1), counting equal ones as often as they occur; -inf when fewer than k are above -inf.
/// `maxima` are those of block_maxima(); `scratch` is overwritten.
float kth_largest(std::span<const float> logits, std::span<const float> maxima, std::size_t k, std::vector<float>& scratch);

/// Appends the tokens with logit >= threshold and logit > -inf, in the order of their ids.
void collect_at_least(std::span<const float> logits, std::span<const float> maxima, float threshold, std::vector<TokenId>& ids,
                      std::vector<float>& values);

}  // namespace tfserve
