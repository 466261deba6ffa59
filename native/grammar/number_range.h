// Numbers within bounds, as the digits that write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "grammar/grammar_builder.h"

namespace tfserve {

/// Digits of an integer that has no bound on a side; fits 64 bits.
inline constexpr int kIntegerDigits = 18;
/// Significant digits of a number with bounds: so many survive a double, so that no rounding can cross a bound.
inline constexpr int kNumberDigits = 15;

/// Integers from lowest to highest, both included, without leading zeros. Where a bound is missing: up to kIntegerDigits digits.
ExprId integer_between(GrammarBuilder& builder, std::optional<std::int64_t> lowest, std::optional<std::int64_t> highest);

/// A bound on a number. Magnitudes from 1e15 on are not possible.
struct NumberBound {
    double value = 0;
    bool exclusive = false;
};

/// Decimal numbers within bounds (at least one is given), without exponent. Throws GrammarError for a bound that is too large.
ExprId number_between(GrammarBuilder& builder, std::optional<NumberBound> lowest, std::optional<NumberBound> highest);

}  // namespace tfserve
