// Divisors of rotary frequencies, by the formulas of transformers.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "loader/tensor_plan.h"

namespace tfserve {

namespace {

/// Wavelengths long against the original context are divided by `factor`, short ones stay, those between are blended.
double llama3_divisor(const RopeConfig& rope, double frequency) {
    const double wavelength = 2 * std::numbers::pi / frequency, context = rope.original_max_position_embeddings;
    if (wavelength < context / rope.high_freq_factor) return 1;
    if (wavelength > context / rope.low_freq_factor) return rope.factor;
    const double smooth = (context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
    return 1 / ((1 - smooth) / rope.factor + smooth);
}

}  // namespace

std::vector<float> rope_frequency_factors(const RopeConfig& rope, std::int32_t rotary_dim) {
    if (rope.type == RopeType::proportional) {
        // pairs beyond the rotated part stand still: their frequency is divided by as much as there is
        constexpr float kStill = 1e30f;
        const auto rotated = static_cast<std::int32_t>(rope.partial * rotary_dim / 2);
        std::vector<float> factors(static_cast<std::size_t>(rotary_dim / 2), kStill);
        std::fill_n(factors.begin(), rotated, static_cast<float>(rope.factor));
        return factors;
    }
    if (rope.type == RopeType::longrope) return {rope.short_factors.begin(), rope.short_factors.end()};
    if (rope.type != RopeType::llama3 && rope.type != RopeType::yarn) return {};
    // yarn: the pair that turns `rotations` times within the original context
    auto pair_of = [&](double rotations) {
        return rotary_dim * std::log(rope.original_max_position_embeddings / (rotations * 2 * std::numbers::pi)) /
               (2 * std::log(rope.theta));
    };
    double low = pair_of(rope.beta_fast), high = pair_of(rope.beta_slow);
    if (rope.truncate) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, rotary_dim - 1.0);
    if (low == high) high += 0.001;

    std::vector<float> factors;
    for (std::int32_t pair = 0; pair < rotary_dim / 2; ++pair) {
        double divisor = 0;
        if (rope.type == RopeType::llama3) {
            divisor = llama3_divisor(rope, std::pow(rope.theta, -2.0 * pair / rotary_dim));
        } else {
            const double interpolated = std::clamp((pair - low) / (high - low), 0.0, 1.0);
            divisor = 1 / (interpolated / rope.factor + (1 - interpolated));
        }
        factors.push_back(static_cast<float>(divisor));
    }
    return factors;
}

}  // namespace tfserve
