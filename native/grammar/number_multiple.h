// Multiples of a number, as the digits that write them.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "grammar/grammar_builder.h"

namespace tfserve {

/// factor · 10^exponent, exactly; the factor does not end with a zero.
struct DecimalFactor {
    std::uint32_t factor = 1;  ///< up to kLargestFactor
    int exponent = 0;
};

inline constexpr std::uint32_t kLargestFactor = 1000;

/// A JSON number above 0, as it is written in decimal; nullopt when its digits, zeros at the ends aside, make a factor that is too large,
/// or it has more than 15 places behind the point.
std::optional<DecimalFactor> decimal_factor(const nlohmann::ordered_json& number);

/// Decimal numbers without exponent that are whole multiples, by the remainder of the digits so far. Leading zeros and -0 are among them:
/// for use beside a language that has none. Regular.
ExprId multiples_of(GrammarBuilder& builder, DecimalFactor of);

}  // namespace tfserve
