#include "sampling/warpers.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>

#include "sampling/row.h"

namespace tfserve {

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Unsigned integers in the descending order of floats (0 and -0 are one).
std::uint32_t descending_key(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value + 0.0F);
    const std::uint32_t ascending = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
    return ~ascending;
}

/// Where a mass is reached when candidates are taken in the ascending order of their keys.
struct MassBorder {
    std::uint32_t key = 0;   ///< of the candidate with which the mass is reached
    double mass_before = 0;  ///< of all candidates with smaller keys
};

/// Radix selection: three passes over ever fewer candidates, no sorting. `order` is overwritten.
/// The last candidate is the border when rounding leaves the whole below `mass`.
MassBorder find_mass_border(std::span<const std::uint32_t> keys, std::span<const float> weights, double mass,
                            std::vector<std::uint32_t>& order) {
    constexpr std::array<int, 3> kShifts = {21, 10, 0};
    constexpr std::array<std::uint32_t, 3> kMasks = {0x7FFU, 0x7FFU, 0x3FFU};
    MassBorder border;
    order.resize(keys.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
    for (std::size_t pass = 0; pass < kShifts.size(); ++pass) {
        std::array<double, 2048> bucket_mass{};
        std::array<bool, 2048> used{};
        const auto digit = [&](std::uint32_t i) { return (keys[i] >> kShifts[pass]) & kMasks[pass]; };
        for (const std::uint32_t i : order) {
            bucket_mass[digit(i)] += static_cast<double>(weights[i]);
            used[digit(i)] = true;
        }
        std::uint32_t chosen = 0;
        double before_chosen = border.mass_before;
        double before = border.mass_before;
        for (std::uint32_t bucket = 0; bucket < bucket_mass.size(); ++bucket) {
            if (!used[bucket]) continue;
            chosen = bucket;
            before_chosen = before;
            before += bucket_mass[bucket];
            if (before >= mass) break;
        }
        border.key |= chosen << kShifts[pass];
        border.mass_before = before_chosen;
        std::erase_if(order, [&](std::uint32_t i) { return digit(i) != chosen; });
    }
    return border;
}

/// Keeps the candidates for which `keep(position)` holds, asked once each in the order of the ids.
template <typename Keep>
void keep_if(SamplingScratch& s, Keep keep) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < s.ids.size(); ++i) {
        if (!keep(i)) continue;
        s.ids[kept] = s.ids[i];
        s.values[kept] = s.values[i];
        s.weights[kept] = s.weights[i];
        ++kept;
    }
    s.ids.resize(kept);
    s.values.resize(kept);
    s.weights.resize(kept);
}

double sum_of(std::span<const float> weights) {
    double sum = 0;
    for (const float weight : weights) sum += static_cast<double>(weight);
    return sum;
}

/// A candidate stays when the mass of those before it, the likeliest first, is below top_p of the whole.
void apply_top_p(SamplingScratch& s, double top_p, double whole) {
    s.keys.resize(s.values.size());
    for (std::size_t i = 0; i < s.keys.size(); ++i) s.keys[i] = descending_key(s.values[i]);
    const MassBorder border = find_mass_border(s.keys, s.weights, top_p * whole, s.order);
    double before = border.mass_before;
    bool first = true;  // of the ties at the border; one always stays
    keep_if(s, [&](std::size_t i) {
        if (s.keys[i] != border.key) return s.keys[i] < border.key;
        const bool keep = first || before < top_p * whole;
        first = false;
        before += static_cast<double>(s.weights[i]);
        return keep;
    });
}

/// Keeps the candidates whose surprise is nearest to the entropy, up to and with the one that completes the mass, and its ties.
void apply_typical_p(SamplingScratch& s, double typical_p, float maximum, float inverse_temperature) {
    const double whole = sum_of(s.weights);
    const double log_whole = std::log(whole);
    const auto log_probability = [&](std::size_t i) {
        return static_cast<double>(s.values[i] - maximum) * static_cast<double>(inverse_temperature) - log_whole;
    };
    double entropy = 0;
    for (std::size_t i = 0; i < s.values.size(); ++i) {
        if (s.weights[i] > 0) entropy -= log_probability(i) * static_cast<double>(s.weights[i]) / whole;
    }
    s.keys.resize(s.values.size());
    for (std::size_t i = 0; i < s.keys.size(); ++i) {
        // the bits of floats that are not negative are in the order of their values
        s.keys[i] = std::bit_cast<std::uint32_t>(static_cast<float>(std::fabs(-log_probability(i) - entropy)));
    }
    const MassBorder border = find_mass_border(s.keys, s.weights, typical_p * whole, s.order);
    keep_if(s, [&](std::size_t i) { return s.keys[i] <= border.key; });
}

/// Draws from the whole row: block sums first, then within one block.
TokenId draw_from_row(std::span<const float> logits, float maximum, float inverse_temperature, double uniform, SamplingScratch& s) {
    const double target = uniform * block_sums(logits, maximum, inverse_temperature, s.sums);
    double before = 0;
    std::size_t block = 0;
    std::size_t last_used = 0;
    for (; block < s.sums.size(); ++block) {
        if (s.sums[block] > 0) last_used = block;
        if (before + s.sums[block] > target) break;
        before += s.sums[block];
    }
    if (block == s.sums.size()) {  // rounding only
        block = last_used;
        before = target;
    }
    const std::span<const float> part = logits.subspan(block * kRowBlock, std::min(kRowBlock, logits.size() - block * kRowBlock));
    std::array<float, kRowBlock> weights{};
    weights_of(part, maximum, inverse_temperature, std::span(weights).first(part.size()));
    std::size_t chosen = 0;
    for (std::size_t i = 0; i < part.size(); ++i) {
        if (!(weights[i] > 0)) continue;
        chosen = i;
        before += static_cast<double>(weights[i]);
        if (before > target) break;
    }
    return static_cast<TokenId>(block * kRowBlock + chosen);
}

}  // namespace

TokenId draw_token(std::span<const float> logits, float maximum, const SamplingParams& params, double uniform, SamplingScratch& s) {
    if (maximum == kMinusInfinity) return 0;
    // a temperature next to zero would make the factor infinite, and infinity times zero is NaN
    const float inverse_temperature = 1.0F / std::max(params.temperature, 1e-30F);
    const bool with_top_k = params.top_k > 0 && static_cast<std::size_t>(params.top_k) < logits.size();
    const bool with_top_p = params.top_p < 1.0F;
    const bool with_min_p = params.min_p > 0.0F;
    const bool with_typical_p = params.typical_p < 1.0F;
    if (!with_top_k && !with_top_p && !with_min_p && !with_typical_p) {
        return draw_from_row(logits, maximum, inverse_temperature, uniform, s);
    }

    // In one go: what top_k leaves, or a superset of what top_p or min_p will leave of the whole row.
    float threshold = kMinusInfinity;
    double whole = 0;
    if (with_top_k) {
        threshold = kth_largest(logits, s.maxima, static_cast<std::size_t>(params.top_k), s.floats);
    } else if (with_top_p || with_min_p) {
        double least_weight = 0;
        if (with_top_p) {
            // all tokens at or below this weight together weigh no more than the part that top_p cuts off
            whole = block_sums(logits, maximum, inverse_temperature, s.sums);
            least_weight = (1.0 - static_cast<double>(params.top_p)) * whole / static_cast<double>(logits.size());
        } else {
            least_weight = static_cast<double>(params.min_p);
        }
        const double distance = std::log(least_weight) / static_cast<double>(inverse_temperature);
        const double slack = 1e-3 / static_cast<double>(inverse_temperature) + 1e-6 * (std::fabs(distance) + std::fabs(maximum));
        const double lowest = static_cast<double>(std::numeric_limits<float>::lowest());
        threshold = static_cast<float>(std::clamp(static_cast<double>(maximum) + distance - slack, lowest, static_cast<double>(maximum)));
    }
    s.ids.clear();
    s.values.clear();
    collect_at_least(logits, s.maxima, threshold, s.ids, s.values);
    s.weights.resize(s.values.size());
    weights_of(s.values, maximum, inverse_temperature, s.weights);

    if (with_top_p) {
        if (with_top_k) whole = sum_of(s.weights);
        apply_top_p(s, static_cast<double>(params.top_p), whole);
    }
    if (with_min_p) keep_if(s, [&](std::size_t i) { return s.weights[i] >= std::min(params.min_p, 1.0F); });
    if (with_typical_p) apply_typical_p(s, static_cast<double>(params.typical_p), maximum, inverse_temperature);

    const double target = uniform * sum_of(s.weights);
    TokenId chosen = s.ids.empty() ? 0 : s.ids.front();
    double before = 0;
    for (std::size_t i = 0; i < s.ids.size(); ++i) {
        if (!(s.weights[i] > 0)) continue;
        chosen = s.ids[i];
        before += static_cast<double>(s.weights[i]);
        if (before > target) break;
    }
    return chosen;
}

}  // namespace tfserve
