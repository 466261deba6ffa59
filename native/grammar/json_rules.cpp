#include "grammar/json_rules.h"

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "grammar/number_range.h"

namespace tfserve {

namespace {

constexpr std::uint32_t kMostSpaces = 32, kMostTabs = 8;

using Json = nlohmann::ordered_json;

/// Stand in a string without an escape.
CharSet plain_characters() { return CharSet{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}.complement(); }

/// A beginning of names, and the beginnings that are a character longer, by their place in a list; they stand behind it.
struct NamePart {
    bool ends = false;
    std::map<char32_t, std::size_t> next;
};

}  // namespace

template <class Make>
ExprId JsonRules::once(std::optional<RuleId>& rule, const Make& make) {
    if (!rule) {
        rule = builder_.new_rule();  // known before it is made: values hold values
        builder_.define(*rule, make());
    }
    return builder_.call(*rule);
}

ExprId JsonRules::space() {
    if (whitespace_ == JsonWhitespace::compact) return builder_.empty();
    return once(space_, [this] {
        const ExprId line = builder_.bytes("\n");
        const ExprId spaces = builder_.repeat(builder_.bytes(" "), 0, kMostSpaces);
        const ExprId tabs = builder_.repeat(builder_.bytes("\t"), 1, kMostTabs);
        return builder_.any_of({builder_.empty(), builder_.bytes(" "), builder_.sequence({line, builder_.any_of({spaces, tabs})})});
    });
}

ExprId JsonRules::string_char(const CharSet& set) {
    std::vector<ExprId> options;
    if (const CharSet plain = set.both(plain_characters()); !plain.empty()) options.push_back(builder_.chars(plain));
    const CharSet escaped = set.without(plain_characters());
    for (const CharSet::Range& range : escaped.ranges()) {
        for (char32_t c = range.first; c <= range.last; ++c) {
            const std::string quoted = Json(std::string(1, static_cast<char>(c))).dump();
            options.push_back(builder_.bytes(std::string_view(quoted).substr(1, quoted.size() - 2)));
        }
    }
    return builder_.any_of(std::move(options));
}

ExprId JsonRules::any_char() {
    return once(char_, [this] {
        const auto ascii = [this](std::string_view set) { return builder_.chars(CharSet::of(set)); };
        const ExprId hex = ascii("0123456789abcdefABCDEF");
        const ExprId one =
            builder_.any_of({builder_.sequence({ascii("0123456789abcefABCEF"), hex}), builder_.sequence({ascii("dD"), ascii("01234567")})});
        const ExprId unit = builder_.sequence({one, hex, hex});
        const ExprId high = builder_.sequence({ascii("dD"), ascii("89abAB"), hex, hex});
        const ExprId low = builder_.sequence({ascii("dD"), ascii("cdefCDEF"), hex, hex});
        const ExprId code =
            builder_.sequence({builder_.bytes("u"), builder_.any_of({unit, builder_.sequence({high, builder_.bytes("\\u"), low})})});
        return builder_.any_of(
            {builder_.chars(plain_characters()), builder_.sequence({builder_.bytes("\\"), builder_.any_of({ascii("\"\\/bfnrt"), code})})});
    });
}

ExprId JsonRules::string_content(std::uint32_t min, std::uint32_t max) { return builder_.repeat(any_char(), min, max); }

ExprId JsonRules::string_of_length(std::uint32_t min, std::uint32_t max) {
    return builder_.sequence({builder_.bytes("\""), string_content(min, max), builder_.bytes("\"")});
}

ExprId JsonRules::string() {
    return once(string_, [this] { return string_of_length(0, kNoLimit); });
}

ExprId JsonRules::integer() {
    return once(integer_, [this] { return integer_between(builder_, std::nullopt, std::nullopt); });
}

ExprId JsonRules::number() {
    return once(number_, [this] {
        const ExprId digit = builder_.symbols('0', '9');
        const ExprId natural = builder_.any_of(
            {builder_.bytes("0"), builder_.sequence({builder_.symbols('1', '9'), builder_.repeat(digit, 0, kNumberDigits - 1)})});
        const ExprId fraction = builder_.sequence({builder_.bytes("."), builder_.repeat(digit, 1, kNumberDigits)});
        const ExprId exponent = builder_.sequence(
            {builder_.chars(CharSet::of("eE")), builder_.optional(builder_.chars(CharSet::of("+-"))), builder_.repeat(digit, 1, 2)});
        return builder_.sequence(
            {builder_.optional(builder_.bytes("-")), natural, builder_.optional(fraction), builder_.optional(exponent)});
    });
}

ExprId JsonRules::boolean() { return builder_.any_of({builder_.bytes("true"), builder_.bytes("false")}); }

ExprId JsonRules::null() { return builder_.bytes("null"); }

ExprId JsonRules::value() {
    return once(value_, [this] { return builder_.any_of({string(), number(), boolean(), null(), object(), array()}); });
}

ExprId JsonRules::comma() { return builder_.sequence({builder_.bytes(","), space()}); }

ExprId JsonRules::member(ExprId key, ExprId value) { return builder_.sequence({key, builder_.bytes(":"), space(), value}); }

ExprId JsonRules::braced(std::string_view braces, ExprId content, bool may_be_empty) {
    std::vector<ExprId> inside{builder_.sequence({space(), content, space()})};
    if (may_be_empty) inside.push_back(space());
    return builder_.sequence({builder_.bytes(braces.substr(0, 1)), builder_.any_of(std::move(inside)), builder_.bytes(braces.substr(1))});
}

ExprId JsonRules::object() {
    return once(object_, [this] {
        const ExprId one = builder_.shared(member(string(), value()));
        return braced("{}", builder_.sequence({one, builder_.repeat(builder_.sequence({comma(), one}), 0)}), true);
    });
}

ExprId JsonRules::array() {
    return once(array_, [this] {
        return braced("[]", builder_.sequence({value(), builder_.repeat(builder_.sequence({comma(), value()}), 0)}), true);
    });
}

ExprId JsonRules::literal(const Json& value) {
    if (!value.is_structured()) return builder_.bytes(value.dump());
    std::vector<ExprId> parts;
    for (const auto& [key, element] : value.items()) {
        if (!parts.empty()) parts.push_back(comma());
        parts.push_back(value.is_object() ? member(builder_.bytes(Json(key).dump()), literal(element)) : literal(element));
    }
    const bool empty = parts.empty();
    return braced(value.is_object() ? "{}" : "[]", empty ? builder_.never() : builder_.sequence(std::move(parts)), empty);
}

ExprId JsonRules::other_key(const std::vector<std::string>& names) {
    std::vector<NamePart> parts(1);
    for (const std::string& name : names) {
        std::size_t at = 0;
        for (std::size_t i = 0; i < name.size();) {
            const auto [it, added] = parts[at].next.try_emplace(next_character(name, i), parts.size());
            at = it->second;
            if (added) parts.emplace_back();
        }
        parts[at].ends = true;
    }
    const CharSet plain = plain_characters();
    const ExprId quote = builder_.bytes("\"");
    const ExprId anything = builder_.shared(builder_.sequence({builder_.repeat(builder_.chars(plain), 0), quote}));
    // from the end, without recursion: a name may be as long as the schema
    std::vector<ExprId> differs(parts.size());
    for (std::size_t at = parts.size(); at-- > 0;) {
        std::vector<ExprId> options;
        CharSet taken;
        for (const auto& [c, below] : parts[at].next) {
            taken.add(c, c);
            // what must be escaped cannot go on here: such names are told apart by their beginning
            if (plain.contains(c)) options.push_back(builder_.sequence({builder_.chars({{c, c}}), differs[below]}));
        }
        options.push_back(builder_.sequence({builder_.chars(plain.without(taken)), anything}));
        if (!parts[at].ends) options.push_back(quote);
        differs[at] = builder_.shared(builder_.any_of(std::move(options)));
    }
    return builder_.sequence({quote, differs.front()});
}

}  // namespace tfserve
