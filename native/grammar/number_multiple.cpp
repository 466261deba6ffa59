#include "grammar/number_multiple.h"

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tfserve {

namespace {

constexpr int kMostPlaces = 15, kMostZeros = 18;

/// A rule for each remainder of the digits so far, for whole numbers and for every place behind the point.
class Remainders {
   public:
    Remainders(GrammarBuilder& builder, DecimalFactor of) : builder_(builder), factor_(of.factor) {
        places_ = of.exponent < 0 ? static_cast<std::uint32_t>(-of.exponent) : 0;
        zeros_ = of.exponent > 0 ? static_cast<std::uint32_t>(of.exponent) : 0;
        for (std::uint32_t i = 0; i < factor_ * (places_ + 1); ++i) rules_.push_back(builder.new_rule());
    }

    ExprId run() {
        for (std::uint32_t place = 0; place <= places_; ++place) {
            for (std::uint32_t remainder = 0; remainder < factor_; ++remainder) define(remainder, place);
        }
        std::vector<ExprId> options{at(0, 0)};
        if (zeros_ > 0) options.push_back(builder_.bytes("0"));
        return builder_.sequence({builder_.optional(builder_.bytes("-")), builder_.any_of(std::move(options))});
    }

   private:
    RuleId rule(std::uint32_t remainder, std::uint32_t place) const { return rules_[place * factor_ + remainder]; }
    ExprId at(std::uint32_t remainder, std::uint32_t place) { return builder_.call(rule(remainder, place)); }

    /// The digits so far, with zeros in the places that are left, are a multiple.
    bool is_multiple(std::uint32_t remainder, std::uint32_t place) const {
        for (; place < places_; ++place) remainder = remainder * 10 % factor_;
        return remainder == 0;
    }

    ExprId digits_to(std::uint32_t remainder, std::uint32_t place) {
        std::vector<ExprId> options;
        for (std::uint32_t digit = 0; digit < 10; ++digit) {
            const auto byte = static_cast<Symbol>('0' + digit);
            options.push_back(builder_.sequence({builder_.symbols(byte, byte), at((remainder * 10 + digit) % factor_, place)}));
        }
        return builder_.any_of(std::move(options));
    }

    void define(std::uint32_t remainder, std::uint32_t place) {
        std::vector<ExprId> options;
        if (is_multiple(remainder, place)) options.push_back(builder_.repeat(builder_.bytes("0"), zeros_, zeros_));
        if (place == 0) options.push_back(digits_to(remainder, 0));
        if (place == 0 && places_ > 0) options.push_back(builder_.sequence({builder_.bytes("."), digits_to(remainder, 1)}));
        if (place > 0 && place < places_) options.push_back(digits_to(remainder, place + 1));
        builder_.define(rule(remainder, place), builder_.any_of(std::move(options)));
    }

    GrammarBuilder& builder_;
    std::uint32_t factor_, places_, zeros_;
    std::vector<RuleId> rules_;
};

}  // namespace

std::optional<DecimalFactor> decimal_factor(const nlohmann::ordered_json& number) {
    std::array<char, 64> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number.get<double>(), std::chars_format::scientific).ptr;
    const std::string text(buffer.data(), end);
    const std::size_t e = text.find('e');
    std::string digits = number.is_number_integer() ? number.dump() : text.substr(0, 1) + (e > 2 ? text.substr(2, e - 2) : "");
    int exponent = number.is_number_integer() ? 0 : std::stoi(text.substr(e + 1)) - static_cast<int>(digits.size()) + 1;
    while (digits.size() > 1 && digits.back() == '0') {
        digits.pop_back();
        ++exponent;
    }
    if (digits.size() > std::to_string(kLargestFactor).size() || exponent < -kMostPlaces || exponent > kMostZeros) return std::nullopt;
    const auto factor = static_cast<std::uint32_t>(std::stoul(digits));
    if (factor > kLargestFactor) return std::nullopt;
    return DecimalFactor{factor, exponent};
}

ExprId multiples_of(GrammarBuilder& builder, DecimalFactor of) { return Remainders(builder, of).run(); }

}  // namespace tfserve
