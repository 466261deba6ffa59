#include "grammar/number_range.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <vector>

#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

constexpr double kLargestBound = 1e15;
/// Digits behind the point, where the bounds themselves have no more.
constexpr int kFractionDigits = 6;

ExprId digits(GrammarBuilder& builder, char first, char last) {
    return builder.symbols(static_cast<unsigned char>(first), static_cast<unsigned char>(last));
}

/// Any digits, so many of them or up to so many. All that ask for the same are given the same rule: where ranges are followed side by
/// side with something else, it does not matter any more how the digits before were told from the bounds.
class FreeDigits {
   public:
    explicit FreeDigits(GrammarBuilder& builder) : builder_(builder) {}

    ExprId exactly(std::size_t count) { return run(exactly_, count, false); }
    ExprId up_to(std::size_t count) { return run(up_to_, count, true); }

   private:
    ExprId run(std::vector<ExprId>& known, std::size_t count, bool may_stop) {
        if (known.empty()) known.push_back(builder_.empty());
        while (known.size() <= count) {
            const ExprId longer = builder_.sequence({digits(builder_, '0', '9'), known.back()});
            known.push_back(builder_.shared(may_stop ? builder_.optional(longer) : longer));
        }
        return known[count];
    }

    GrammarBuilder& builder_;
    std::vector<ExprId> exactly_, up_to_;
};

/// Digit strings of one length between two others of that length, from position i on.
ExprId between(GrammarBuilder& builder, FreeDigits& any, const std::string& low, const std::string& high, std::size_t i, bool at_low,
               bool at_high) {
    const std::size_t rest = low.size() - i;
    if (rest == 0) return builder.empty();
    if (!at_low && !at_high) return any.exactly(rest);
    const char first = at_low ? low[i] : '0';
    const char last = at_high ? high[i] : '9';
    if (first == last && at_low && at_high) {
        return builder.sequence({digits(builder, first, first), between(builder, any, low, high, i + 1, true, true)});
    }
    std::vector<ExprId> options;
    char inner_first = first, inner_last = last;
    if (at_low) {
        options.push_back(builder.sequence({digits(builder, first, first), between(builder, any, low, high, i + 1, true, false)}));
        ++inner_first;
    }
    if (at_high) {
        options.push_back(builder.sequence({digits(builder, last, last), between(builder, any, low, high, i + 1, false, true)}));
        --inner_last;
    }
    if (inner_first <= inner_last) {
        options.push_back(
            builder.sequence({digits(builder, inner_first, inner_last), between(builder, any, low, high, i + 1, false, false)}));
    }
    return builder.any_of(std::move(options));
}

/// 0 <= low <= high.
ExprId natural_between(GrammarBuilder& builder, FreeDigits& any, std::uint64_t low, std::uint64_t high) {
    std::vector<ExprId> options;
    for (std::uint64_t begin = low; begin <= high;) {
        const std::string text = std::to_string(begin);
        const std::uint64_t longest = std::stoull(std::string(text.size(), '9'));
        const std::uint64_t end = std::min(high, longest);
        options.push_back(between(builder, any, text, std::to_string(end), 0, true, true));
        begin = end + 1;
    }
    return builder.any_of(std::move(options));
}

ExprId negative(GrammarBuilder& builder, ExprId magnitude) { return builder.sequence({digits(builder, '-', '-'), magnitude}); }

/// Up to 19 digits: natural_between's own steps stay below 2^64.
std::uint64_t magnitude_of(std::int64_t value) {
    return value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
}

/// A bound's magnitude in decimal digits.
struct Decimal {
    std::uint64_t whole = 0;
    std::string fraction;
};

Decimal decimal_of(double value) {
    std::array<char, 512> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::abs(value), std::chars_format::fixed).ptr;
    const std::string text(buffer.data(), end);
    const std::size_t point = text.find('.');
    Decimal result;
    result.whole = std::stoull(text.substr(0, point));
    if (point != std::string::npos) result.fraction = text.substr(point + 1);
    return result;
}

/// What may follow the point, and whether there must be one, when the digits are bound to stay on a side of others.
struct FractionBounds {
    const std::string* low = nullptr;   ///< digits that the fraction is not below; null: free
    const std::string* high = nullptr;  ///< not above
    bool low_exclusive = false, high_exclusive = false;
    std::size_t longest = 0;
};

bool zeros_from(const std::string& text, std::size_t i) { return i >= text.size() || text.find_first_not_of('0', i) == std::string::npos; }

/// The fraction so far is equal to the beginnings of those bounds that are still `at_`.
bool may_stop(const FractionBounds& bounds, std::size_t i, bool at_low, bool at_high) {
    if (at_low && !(zeros_from(*bounds.low, i) && !bounds.low_exclusive)) return false;
    return !(at_high && bounds.high_exclusive && zeros_from(*bounds.high, i));
}

ExprId fraction_digits(GrammarBuilder& builder, FreeDigits& any, const FractionBounds& bounds, std::size_t i, bool at_low, bool at_high) {
    const std::size_t rest = bounds.longest - i;
    if (!at_low && !at_high) {
        return i > 0 ? any.up_to(rest) : builder.sequence({digits(builder, '0', '9'), any.up_to(rest - 1)});
    }
    std::vector<ExprId> options;
    if (i > 0 && may_stop(bounds, i, at_low, at_high)) options.push_back(builder.empty());
    if (rest > 0) {
        const char first = at_low && i < bounds.low->size() ? (*bounds.low)[i] : '0';
        const char last = !at_high ? '9' : i < bounds.high->size() ? (*bounds.high)[i] : '0';
        const auto branch = [&](char from, char to, bool low, bool high) {
            if (from > to) return;
            options.push_back(builder.sequence({digits(builder, from, to), fraction_digits(builder, any, bounds, i + 1, low, high)}));
        };
        if (at_low && at_high && first == last) {
            branch(first, first, true, true);
        } else if (first <= last) {
            if (at_low) branch(first, first, true, false);
            if (at_high) branch(last, last, false, true);
            branch(at_low ? static_cast<char>(first + 1) : first, at_high ? static_cast<char>(last - 1) : last, false, false);
        }
    }
    return builder.any_of(std::move(options));
}

ExprId fraction(GrammarBuilder& builder, FreeDigits& any, const FractionBounds& bounds) {
    const bool at_low = bounds.low != nullptr, at_high = bounds.high != nullptr;
    std::vector<ExprId> options;
    if (may_stop(bounds, 0, at_low, at_high)) options.push_back(builder.empty());
    if (bounds.longest > 0)
        options.push_back(builder.sequence({digits(builder, '.', '.'), fraction_digits(builder, any, bounds, 0, at_low, at_high)}));
    return builder.any_of(std::move(options));
}

/// Numbers from 0 on.
ExprId magnitude_between(GrammarBuilder& builder, FreeDigits& any, const NumberBound& lowest, const NumberBound& highest) {
    const Decimal low = decimal_of(lowest.value), high = decimal_of(highest.value);
    FractionBounds bounds;
    const std::size_t room =
        static_cast<std::size_t>(kNumberDigits) - std::min<std::size_t>(kNumberDigits, std::to_string(high.whole).size());
    bounds.longest = std::max({low.fraction.size(), high.fraction.size(), std::min<std::size_t>(kFractionDigits, room)});
    const FractionBounds free = bounds;
    const auto with_low = [&](FractionBounds b) {
        b.low = &low.fraction;
        b.low_exclusive = lowest.exclusive;
        return b;
    };
    const auto with_high = [&](FractionBounds b) {
        b.high = &high.fraction;
        b.high_exclusive = highest.exclusive;
        return b;
    };
    const auto part = [&](std::uint64_t first, std::uint64_t last, const FractionBounds& rest) {
        return builder.sequence({natural_between(builder, any, first, last), fraction(builder, any, rest)});
    };
    if (low.whole == high.whole) return part(low.whole, low.whole, with_high(with_low(free)));
    std::vector<ExprId> options{part(low.whole, low.whole, with_low(free)), part(high.whole, high.whole, with_high(free))};
    if (high.whole - low.whole > 1) options.push_back(part(low.whole + 1, high.whole - 1, free));
    return builder.any_of(std::move(options));
}

bool is_empty(const NumberBound& low, const NumberBound& high) {
    return low.value > high.value || (low.value == high.value && (low.exclusive || high.exclusive));
}

}  // namespace

ExprId integer_between(GrammarBuilder& builder, std::optional<std::int64_t> lowest, std::optional<std::int64_t> highest) {
    constexpr std::int64_t kLargest = 999'999'999'999'999'999;
    std::int64_t low = lowest.value_or(-kLargest), high = highest.value_or(kLargest);
    // a bound beyond the digits that a missing one stands for: as many values again on the far side of it
    if (!highest && low > kLargest) high = std::numeric_limits<std::int64_t>::max();
    if (!lowest && high < -kLargest) low = std::numeric_limits<std::int64_t>::min();
    if (low > high) return builder.never();
    FreeDigits any(builder);
    std::vector<ExprId> options;
    if (high >= 0)
        options.push_back(
            natural_between(builder, any, static_cast<std::uint64_t>(std::max<std::int64_t>(low, 0)), static_cast<std::uint64_t>(high)));
    if (low < 0) {
        options.push_back(
            negative(builder, natural_between(builder, any, magnitude_of(std::min<std::int64_t>(high, -1)), magnitude_of(low))));
    }
    return builder.any_of(std::move(options));
}

ExprId number_between(GrammarBuilder& builder, std::optional<NumberBound> lowest, std::optional<NumberBound> highest) {
    for (const auto& bound : {lowest, highest}) {
        if (bound && !(std::abs(bound->value) < kLargestBound)) throw GrammarError("a bound of a number must be below 1e15");
    }
    // a missing bound: nine digits, or three more than the other one has
    const auto far = [](double other) { return std::min(kLargestBound - 1, std::max(1e9, std::abs(other) * 1000)); };
    const NumberBound low = lowest.value_or(NumberBound{-far(highest ? highest->value : 0), false});
    const NumberBound high = highest.value_or(NumberBound{far(lowest ? lowest->value : 0), false});
    if (is_empty(low, high)) return builder.never();
    FreeDigits any(builder);
    std::vector<ExprId> options;
    const NumberBound zero{0, false};
    const NumberBound from = low.value >= 0 ? low : zero;
    if (!is_empty(from, high)) options.push_back(magnitude_between(builder, any, from, high));
    if (low.value < 0) {
        // -0 is written as 0
        const NumberBound least = high.value < 0 ? NumberBound{-high.value, high.exclusive} : NumberBound{0, true};
        options.push_back(negative(builder, magnitude_between(builder, any, least, NumberBound{-low.value, low.exclusive})));
    }
    return builder.any_of(std::move(options));
}

}  // namespace tfserve
