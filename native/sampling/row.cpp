#include "sampling/row.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <limits>

namespace tfserve {

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr std::size_t kLanes = 16;

/// Comparisons are written `x > best ? x : best` all through: false for NaN, and exactly the processors' own maximum.
float max_of_block(const float* logits) {
    float lanes[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = kMinusInfinity;
    for (std::size_t i = 0; i < kRowBlock; i += kLanes) {
        for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = logits[i + lane] > lanes[lane] ? logits[i + lane] : lanes[lane];
    }
    for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
        for (std::size_t lane = 0; lane < width; ++lane)
            lanes[lane] = lanes[lane + width] > lanes[lane] ? lanes[lane + width] : lanes[lane];
    }
    return lanes[0];
}

float max_of(std::span<const float> logits) {
    float best = kMinusInfinity;
    for (const float logit : logits) best = logit > best ? logit : best;
    return best;
}

/// Cody-Waite reduction to |r| <= ln(2) / 2 and a polynomial of degree 6. `z` in [-87, 0].
inline float exp_reduced(float z) {
    constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    const float shifted = z * 1.44269504F + kRound;
    const float n = shifted - kRound;
    const float r = (z - n * 0.693359375F) + n * 2.12194440e-4F;
    float p = 1.0F / 720.0F;
    p = p * r + 1.0F / 120.0F;
    p = p * r + 1.0F / 24.0F;
    p = p * r + 1.0F / 6.0F;
    p = p * r + 0.5F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    const auto exponent = std::bit_cast<std::uint32_t>(shifted) << 23;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + exponent);
}

/// Selects by masks: a choice between floats that might trap is a branch to the compiler, and a branch ends vectorisation.
inline float exp_clamped(float z) {
    constexpr float kLowest = -87.0F;
    const std::uint32_t in_range = z > kLowest ? ~0U : 0U;
    const std::uint32_t clamped = (std::bit_cast<std::uint32_t>(z) & in_range) | (std::bit_cast<std::uint32_t>(kLowest) & ~in_range);
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(exp_reduced(std::bit_cast<float>(clamped))) & in_range);
}

}  // namespace

float exp_nonpositive(float z) { return exp_clamped(z); }

TokenId argmax(std::span<const float> logits) {
    float best = kMinusInfinity;
    std::size_t best_begin = 0;
    std::size_t begin = 0;
    for (; begin + kRowBlock <= logits.size(); begin += kRowBlock) {
        const float maximum = max_of_block(logits.data() + begin);
        if (maximum > best) {
            best = maximum;
            best_begin = begin;
        }
    }
    if (max_of(logits.subspan(begin)) > best) {
        best = max_of(logits.subspan(begin));
        best_begin = begin;
    }
    if (best == kMinusInfinity) return 0;
    const auto found = std::find(logits.begin() + static_cast<std::ptrdiff_t>(best_begin), logits.end(), best);
    return static_cast<TokenId>(found - logits.begin());
}

float block_maxima(std::span<const float> logits, std::vector<float>& maxima) {
    maxima.clear();
    maxima.reserve(logits.size() / kRowBlock + 1);
    std::size_t begin = 0;
    for (; begin + kRowBlock <= logits.size(); begin += kRowBlock) maxima.push_back(max_of_block(logits.data() + begin));
    if (begin < logits.size()) maxima.push_back(max_of(logits.subspan(begin)));
    return max_of(maxima);
}

void weights_of(std::span<const float> logits, float maximum, float inverse_temperature, std::span<float> weights) {
    for (std::size_t i = 0; i < logits.size(); ++i) weights[i] = exp_clamped((logits[i] - maximum) * inverse_temperature);
}

double block_sums(std::span<const float> logits, float maximum, float inverse_temperature, std::vector<double>& sums) {
    sums.clear();
    sums.reserve(logits.size() / kRowBlock + 1);
    float weights[kRowBlock];
    double total = 0;
    for (std::size_t begin = 0; begin < logits.size(); begin += kRowBlock) {
        double lanes[4] = {0, 0, 0, 0};
        if (begin + kRowBlock <= logits.size()) {
            for (std::size_t i = 0; i < kRowBlock; ++i) weights[i] = exp_clamped((logits[begin + i] - maximum) * inverse_temperature);
            for (std::size_t i = 0; i < kRowBlock; i += 4) {
                for (std::size_t lane = 0; lane < 4; ++lane) lanes[lane] += static_cast<double>(weights[i + lane]);
            }
        } else {
            for (std::size_t i = begin; i < logits.size(); ++i) lanes[0] += exp_clamped((logits[i] - maximum) * inverse_temperature);
        }
        sums.push_back((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]));
        total += sums.back();
    }
    return total;
}

float kth_largest(std::span<const float> logits, std::span<const float> maxima, std::size_t k, std::vector<float>& scratch) {
    float floor = kMinusInfinity;
    if (k <= maxima.size()) {
        // every block holds a logit as large as its maximum, so the k-th largest of the maxima bounds the answer from below
        scratch.assign(maxima.begin(), maxima.end());
        std::nth_element(scratch.begin(), scratch.begin() + static_cast<std::ptrdiff_t>(k - 1), scratch.end(), std::greater<>());
        floor = scratch[k - 1];
    }
    scratch.clear();
    for (std::size_t block = 0; block < maxima.size(); ++block) {
        if (!(maxima[block] >= floor) || maxima[block] == kMinusInfinity) continue;
        const std::size_t end = std::min(logits.size(), (block + 1) * kRowBlock);
        for (std::size_t i = block * kRowBlock; i < end; ++i) {
            if (logits[i] >= floor && logits[i] > kMinusInfinity) scratch.push_back(logits[i]);
        }
    }
    if (scratch.size() < k) return kMinusInfinity;
    std::nth_element(scratch.begin(), scratch.begin() + static_cast<std::ptrdiff_t>(k - 1), scratch.end(), std::greater<>());
    return scratch[k - 1];
}

void collect_at_least(std::span<const float> logits, std::span<const float> maxima, float threshold, std::vector<TokenId>& ids,
                      std::vector<float>& values) {
    for (std::size_t block = 0; block < maxima.size(); ++block) {
        if (!(maxima[block] >= threshold) || maxima[block] == kMinusInfinity) continue;
        const std::size_t end = std::min(logits.size(), (block + 1) * kRowBlock);
        const std::size_t begin = block * kRowBlock;
        const std::size_t size = ids.size();
        ids.resize(size + (end - begin));
        values.resize(size + (end - begin));
        std::size_t next = size;
        for (std::size_t i = begin; i < end; ++i) {
            // written without a branch: which logits pass is as good as random to the processor
            ids[next] = static_cast<TokenId>(i);
            values[next] = logits[i];
            next += static_cast<std::size_t>(logits[i] >= threshold && logits[i] > kMinusInfinity);
        }
        ids.resize(next);
        values.resize(next);
    }
}

}  // namespace tfserve
