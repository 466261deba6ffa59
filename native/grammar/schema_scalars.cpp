#include "grammar/schema_scalars.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>

#include "grammar/grammar_error.h"
#include "grammar/number_multiple.h"
#include "grammar/number_range.h"
#include "grammar/pattern_languages.h"
#include "grammar/schema_budget.h"
#include "grammar/string_format.h"

namespace tfserve {

namespace {

/// Remainders times digits of a number that has no bound: what can be followed side by side.
constexpr std::uint32_t kFollowedDigits = 4000;
/// An integer's thousandfold is 64 bits.
constexpr std::int64_t kFarthest = 9'000'000'000'000'000;
/// Digits before the point where a number has no bound but a factor.
constexpr std::uint32_t kOpenDigits = 9;

CharWriterFor string_chars() {
    return [](GrammarBuilder& builder) -> CharWriter {
        return [json = JsonRules(builder, JsonWhitespace::compact)](const CharSet& set) mutable { return json.string_char(set); };
    };
}

/// What a schema excludes, of a kind.
SchemaJson excluded(const SchemaJson& schema, const char* kind) {
    return schema.contains("not") ? schema["not"].value(kind, SchemaJson::array()) : SchemaJson::array();
}

/// The tighter of an inclusive and an exclusive bound. `sign`: 1 for lower bounds, -1 for upper ones.
std::optional<NumberBound> bound(const SchemaJson& schema, const char* inclusive, const char* exclusive, double sign) {
    std::optional<NumberBound> result;
    if (schema.contains(inclusive)) result = NumberBound{schema[inclusive].get<double>(), false};
    if (schema.contains(exclusive)) {
        const double value = schema[exclusive].get<double>();
        if (!result || sign * value >= sign * result->value) result = NumberBound{value, true};
    }
    return result;
}

/// `keyword` as the closest integer that satisfies it.
std::optional<std::int64_t> integer_bound(const SchemaJson& schema, const char* inclusive, const char* exclusive, bool lower,
                                          const std::string& place) {
    std::optional<std::int64_t> result;
    for (const char* keyword : {inclusive, exclusive}) {
        const auto it = schema.find(keyword);
        if (it == schema.end()) continue;
        const bool is_exclusive = keyword == exclusive;
        constexpr double kLimit = 9.2e18;
        const double real = it->get<double>();
        if (!(std::abs(real) < kLimit)) throw GrammarError("the bound '" + std::string(keyword) + "' at '" + place + "' is too large");
        std::int64_t value =
            it->is_number_integer() ? it->get<std::int64_t>() : static_cast<std::int64_t>(lower ? std::ceil(real) : std::floor(real));
        const bool whole = it->is_number_integer() || std::floor(real) == real;
        if (is_exclusive && whole) value += lower ? 1 : -1;
        result = !result ? value : lower ? std::max(*result, value) : std::min(*result, value);
    }
    return result;
}

void refuse_string_keywords(const SchemaJson& schema, const std::string& place) {
    // formats of numbers (int32, double, …) say how a reader stores them
    constexpr std::string_view kNumberFormats[] = {"int32", "int64", "float", "double", "decimal"};
    const auto format = schema.find("format");
    if (format == schema.end() || takes_type(schema, "string")) return;
    if (std::ranges::find(kNumberFormats, format->get<std::string>()) == std::end(kNumberFormats)) {
        throw GrammarError("the format '" + format->get<std::string>().substr(0, 64) + "' at '" + place + "' is not supported");
    }
}

std::optional<DecimalFactor> factor_of(const SchemaJson& schema, const std::string& place) {
    if (!schema.contains("multipleOf")) return std::nullopt;
    auto factor = decimal_factor(schema["multipleOf"]);
    if (!factor) {
        throw GrammarError("the keyword 'multipleOf' at '" + place + "' is supported up to " + std::to_string(kLargestFactor) +
                           ", zeros at its ends aside, and 15 places behind the point");
    }
    return factor;
}

/// What stands for a missing bound beside a factor: a number of so many digits that they can be followed together with their remainders.
std::int64_t followed_bound(DecimalFactor factor, std::uint32_t most_digits) {
    const auto places = static_cast<std::uint32_t>(std::max(0, -factor.exponent));
    const std::uint32_t followed = kFollowedDigits / factor.factor;
    const std::uint32_t digits = std::clamp<std::uint32_t>(followed - std::min(followed, places), 2, most_digits);
    return static_cast<std::int64_t>(std::pow(10.0, digits)) - 1;
}

/// The ways that a number is written without exponent; of whole numbers without a point only, unless `real`.
ExprId spellings(GrammarBuilder& builder, const SchemaJson& number, bool real) {
    std::array<char, 512> buffer{};
    const double value = number.get<double>();
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value == 0 ? 0.0 : value, std::chars_format::fixed).ptr;
    const std::string text = number.is_number_integer() ? number.dump() : std::string(buffer.data(), end);
    const ExprId zero = builder.bytes("0");
    if (text.find('.') != std::string::npos) return builder.sequence({builder.bytes(text), builder.repeat(zero, 0)});
    if (!real) return builder.bytes(text);
    return builder.sequence({builder.bytes(text), builder.optional(builder.sequence({builder.bytes("."), builder.repeat(zero, 1)}))});
}

bool excludes_numbers(const SchemaJson& schema) {
    return std::ranges::any_of(excluded(schema, "enum"), [](const SchemaJson& value) { return value.is_number(); });
}

/// Whole numbers, however they are written without exponent.
ExprId whole_numbers(GrammarBuilder& builder) {
    const ExprId digits = builder.repeat(builder.symbols('0', '9'), 1);
    const ExprId zeros = builder.sequence({builder.bytes("."), builder.repeat(builder.bytes("0"), 1)});
    return builder.sequence({builder.optional(builder.bytes("-")), digits, builder.optional(zeros)});
}

/// A range of numbers less what is excluded, and only the multiples.
ExprId narrowed_numbers(GrammarBuilder& builder, RegularLanguage range, const SchemaJson& schema, bool real, const std::string& place) {
    std::vector<RegularLanguage> languages{std::move(range)};
    if (const auto factor = factor_of(schema, place))
        languages.push_back({[factor = *factor](GrammarBuilder& own) { return multiples_of(own, factor); }});
    if (excludes_numbers(schema)) {
        languages.push_back({[values = excluded(schema, "enum"), real](GrammarBuilder& own) {
                                 std::vector<ExprId> options;
                                 for (const SchemaJson& value : values) {
                                     if (value.is_number()) options.push_back(spellings(own, value, real));
                                 }
                                 return own.any_of(std::move(options));
                             },
                             true});
    }
    if (excludes_integers(schema)) languages.push_back({whole_numbers, true});
    try {
        return languages_expression(builder, languages);
    } catch (const GrammarError& error) {
        throw GrammarError("the number at '" + place + "' cannot be constrained: " + error.what());
    }
}

}  // namespace

std::uint32_t count_or(const SchemaJson& schema, const char* name, std::uint32_t fallback) {
    const auto it = schema.find(name);
    return it == schema.end() ? fallback : static_cast<std::uint32_t>(it->get<double>());
}

RegularLanguage any_string() {
    return {[](GrammarBuilder& builder) { return builder.repeat(string_chars()(builder)(CharSet::all()), 0); }};
}

RegularLanguage listed_strings(std::vector<std::string> texts) {
    return {[texts = std::move(texts)](GrammarBuilder& builder) {
        std::vector<ExprId> options;
        for (const std::string& text : texts) {
            const std::string quoted = SchemaJson(text).dump();
            options.push_back(builder.bytes(std::string_view(quoted).substr(1, quoted.size() - 2)));
        }
        return builder.any_of(std::move(options));
    }};
}

std::vector<RegularLanguage> matching_strings(const std::string& pattern, const std::string& place) {
    try {
        return pattern_languages(pattern, RegexMatch::search, string_chars());
    } catch (const GrammarError& error) {
        throw GrammarError("the string at '" + place + "' cannot be constrained: " + error.what());
    }
}

std::vector<RegularLanguage> string_languages(const SchemaJson& schema, const std::string& place) {
    std::vector<RegularLanguage> languages;
    const std::uint32_t min = count_or(schema, "minLength", 0), max = count_or(schema, "maxLength", kNoLimit);
    if (min > 0 || max != kNoLimit) {
        languages.push_back(
            {[min, max](GrammarBuilder& builder) { return JsonRules(builder, JsonWhitespace::compact).string_content(min, max); }});
    }
    if (schema.contains("format")) {
        const auto name = schema["format"].get<std::string>();
        const auto pattern = string_format(name);
        if (!pattern) throw GrammarError("the format '" + name.substr(0, 64) + "' at '" + place + "' is not supported");
        for (RegularLanguage& language : pattern_languages(*pattern, RegexMatch::whole, string_chars()))
            languages.push_back(std::move(language));
    }
    if (schema.contains("pattern")) {
        for (RegularLanguage& language : matching_strings(schema["pattern"].get_ref<const std::string&>(), at(place, "pattern")))
            languages.push_back(std::move(language));
    }
    std::vector<std::string> texts;
    for (const SchemaJson& value : excluded(schema, "enum")) {
        if (value.is_string()) texts.push_back(value.get<std::string>());
    }
    const SchemaJson patterns = excluded(schema, "patterns");
    if (texts.empty() && patterns.empty()) return languages;
    // an escape could write what is excluded in another way
    languages.push_back(any_string());
    if (!texts.empty()) {
        languages.push_back(listed_strings(std::move(texts)));
        languages.back().excluded = true;
    }
    for (const SchemaJson& pattern : patterns) {
        std::vector<RegularLanguage> found = matching_strings(pattern.get<std::string>(), place);
        if (found.size() > 1) throw GrammarError("a pattern that looks ahead cannot be excluded, at '" + place + "'");
        found.front().excluded = true;
        languages.push_back(std::move(found.front()));
    }
    return languages;
}

ExprId string_expression(GrammarBuilder& builder, JsonRules& json, const SchemaJson& schema, const std::string& place) {
    const bool plain = !schema.contains("pattern") && !schema.contains("format") && !schema.contains("not");
    const std::uint32_t min = count_or(schema, "minLength", 0), max = count_or(schema, "maxLength", kNoLimit);
    if (plain) return min > 0 || max != kNoLimit ? json.string_of_length(min, max) : json.string();
    const std::vector<RegularLanguage> languages = string_languages(schema, place);
    if (languages.empty()) return json.string();
    try {
        return builder.sequence({builder.bytes("\""), languages_expression(builder, languages), builder.bytes("\"")});
    } catch (const GrammarError& error) {
        throw GrammarError("the string at '" + (schema.contains("pattern") ? at(place, "pattern") : place) +
                           "' cannot be constrained: " + error.what());
    }
}

ExprId integer_expression(GrammarBuilder& builder, JsonRules& json, const SchemaJson& schema, const std::string& place) {
    refuse_string_keywords(schema, place);
    auto low = integer_bound(schema, "minimum", "exclusiveMinimum", true, place);
    auto high = integer_bound(schema, "maximum", "exclusiveMaximum", false, place);
    const auto factor = factor_of(schema, place);
    if (!factor && !excludes_numbers(schema)) return low || high ? integer_between(builder, low, high) : json.integer();
    if (factor) {
        const std::int64_t far = followed_bound(*factor, kIntegerDigits);
        // beyond that: three digits more than the other bound
        const auto behind = [](std::int64_t other) { return std::abs(other) < kFarthest ? std::optional(other * 1000) : std::nullopt; };
        if (!low) low = !high || *high > -far ? -far : behind(*high);
        if (!high && low) high = *low < far ? far : behind(*low);
    }
    return narrowed_numbers(builder, {[low, high](GrammarBuilder& own) { return integer_between(own, low, high); }}, schema, false, place);
}

ExprId number_expression(GrammarBuilder& builder, JsonRules& json, const SchemaJson& schema, const std::string& place) {
    refuse_string_keywords(schema, place);
    auto low = bound(schema, "minimum", "exclusiveMinimum", 1);
    auto high = bound(schema, "maximum", "exclusiveMaximum", -1);
    const bool narrowed = schema.contains("multipleOf") || excludes_numbers(schema) || excludes_integers(schema);
    if (!low && !high && !narrowed) return json.number();
    try {
        if (!narrowed) return number_between(builder, low, high);
    } catch (const GrammarError& error) {
        throw GrammarError(std::string(error.what()) + ", at '" + place + "'");
    }
    if (const auto factor = factor_of(schema, place)) {
        const NumberBound far{static_cast<double>(followed_bound(*factor, kOpenDigits)), false};
        if (!low && (!high || high->value > -far.value)) low = NumberBound{-far.value, false};
        if (!high && low->value < far.value) high = far;
    }
    return narrowed_numbers(builder, {[low, high](GrammarBuilder& own) { return number_between(own, low, high); }}, schema, true, place);
}

}  // namespace tfserve
