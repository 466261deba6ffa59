#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <vector>

#include "grammar/grammar_error.h"
#include "grammar/schema_containers.h"
#include "grammar/schema_scalars.h"

namespace tfserve {

namespace {

/// Values of which each may stand once in an array: their orders are followed by what has been written, 2^n sets of values.
constexpr std::size_t kMostUnique = 10;
/// Elements written times elements found of an array with `contains`.
constexpr std::size_t kMostCounted = 4096;

struct Length {
    std::uint32_t min, max;
};

ExprId with_comma(const SchemaPieces& pieces, ExprId item, bool first) {
    return first ? item : pieces.builder.sequence({pieces.json.comma(), item});
}

/// Elements one after the other: some with a schema of their own, then any number of others.
ExprId listed_items(const SchemaPieces& pieces, const SchemaJson& schema, Length length, const std::string& place, int depth) {
    GrammarBuilder& builder = pieces.builder;
    const SchemaJson none = SchemaJson::array();
    const SchemaJson& prefix = schema.contains("prefixItems") ? schema["prefixItems"] : none;
    const SchemaJson items = schema.contains("items") ? schema["items"] : SchemaJson(true);
    const auto [min, max] = length;
    const auto fixed = std::min<std::uint32_t>(static_cast<std::uint32_t>(prefix.size()), max);
    const auto more = [&](std::uint32_t written) {
        if (written >= max) return builder.empty();
        const ExprId item = pieces.compile(items, at(place, "items"), depth + 1);
        const std::uint32_t least = min > written ? min - written : 0;
        const std::uint32_t most = max == kNoLimit ? kNoLimit : max - written;
        if (written > 0) return builder.repeat(with_comma(pieces, item, false), least, most);
        return builder.sequence(
            {item, builder.repeat(with_comma(pieces, item, false), least > 0 ? least - 1 : 0, most == kNoLimit ? kNoLimit : most - 1)});
    };
    // from the end: what follows the first i elements; elements behind the first have a comma
    ExprId rest = more(fixed);
    for (std::uint32_t i = fixed; i-- > 0;) {
        std::vector<ExprId> parts;
        if (i > 0) parts.push_back(pieces.json.comma());
        parts.push_back(pieces.compile(prefix[i], at(place, "prefixItems", i), depth + 1));
        parts.push_back(rest);
        rest = builder.sequence(std::move(parts));
        if (i > 0) rest = builder.shared(i >= min ? builder.optional(rest) : rest);
    }
    return rest;
}

/// The values of a schema where they are few and each is written in one way; nullopt where they are not.
std::optional<SchemaJson> few_values(const SchemaPieces& pieces, const SchemaJson& schema, const std::string& place, int depth) {
    SchemaJson values = SchemaJson::array();
    const auto add = [&](const SchemaJson& value) {
        if (std::ranges::find(values, value) == values.end()) values.push_back(value);
    };
    for (const SchemaJson& alternative : pieces.flattener.flatten(schema, place, depth)) {
        const SchemaJson excluded = alternative.is_object() && alternative.contains("not") ? alternative["not"] : SchemaJson::object();
        if (excluded.contains("patterns") || !alternative.is_object()) return std::nullopt;
        const SchemaJson out = excluded.value("enum", SchemaJson::array());
        SchemaJson own = SchemaJson::array();
        if (alternative.contains("enum")) {
            for (const auto& [name, value] : alternative.items()) {
                if (name != "enum" && name != "type" && name != "not") return std::nullopt;
            }
            for (const SchemaJson& value : alternative["enum"]) {
                if (takes_type(alternative, type_of(value))) own.push_back(value);
            }
        } else {
            if (!alternative.contains("type")) return std::nullopt;
            for (const char* type : {"integer", "number", "string", "array", "object"}) {
                if (takes_type(alternative, type)) return std::nullopt;
            }
            if (takes_type(alternative, "boolean")) own = {false, true};
            if (takes_type(alternative, "null")) own.push_back(nullptr);
        }
        for (const SchemaJson& value : own) {
            if (std::ranges::find(out, value) == out.end()) add(value);
            if (values.size() > kMostUnique) return std::nullopt;
        }
    }
    return values;
}

/// Elements that are all different: a rule for each set of values that have been written.
ExprId unique_items(const SchemaPieces& pieces, const SchemaJson& schema, Length length, const std::string& place, int depth) {
    GrammarBuilder& builder = pieces.builder;
    const auto values = schema.contains("prefixItems") ? std::nullopt
                                                       : few_values(pieces, schema.contains("items") ? schema["items"] : SchemaJson(true),
                                                                    at(place, "items"), depth + 1);
    if (!values) {
        throw GrammarError("the keyword 'uniqueItems' at '" + place + "' is supported for items of an enum of up to " +
                           std::to_string(kMostUnique) + " values, and where 'maxItems' is 1: leave it out, or list the values");
    }
    std::vector<ExprId> written;
    for (const SchemaJson& value : *values) written.push_back(builder.shared(pieces.json.literal(value)));
    std::vector<RuleId> rules;
    for (std::size_t set = 0; set < std::size_t{1} << written.size(); ++set) rules.push_back(builder.new_rule());
    for (std::size_t set = 0; set < rules.size(); ++set) {
        const auto count = static_cast<std::uint32_t>(std::popcount(set));
        std::vector<ExprId> options;
        if (count >= length.min && count > 0) options.push_back(builder.empty());
        for (std::size_t i = 0; i < written.size() && count < length.max; ++i) {
            if ((set >> i & 1) == 0)
                options.push_back(
                    builder.sequence({with_comma(pieces, written[i], count == 0), builder.call(rules[set | std::size_t{1} << i])}));
        }
        builder.define(rules[set], builder.any_of(std::move(options)));
    }
    return builder.call(rules.front());
}

/// Elements of which some satisfy `contains`: a rule for each pair of how many are written and how many of them were meant to.
ExprId counted_items(const SchemaPieces& pieces, const SchemaJson& schema, Length length, const std::string& place, int depth) {
    GrammarBuilder& builder = pieces.builder;
    const std::uint32_t least = count_or(schema, "minContains", 1), most = count_or(schema, "maxContains", kNoLimit);
    const SchemaJson items = schema.contains("items") ? schema["items"] : SchemaJson(true);
    // past what is counted, one more makes no difference
    const std::uint64_t last = length.max != kNoLimit ? length.max : std::max(length.min, 1U);
    const std::uint64_t last_found = most != kNoLimit ? most : least;
    if (schema.contains("prefixItems") || (last + 1) * (last_found + 1) > kMostCounted) {
        throw GrammarError("the keyword 'contains' at '" + place + "' is not supported beside 'prefixItems' or for so many elements");
    }
    const SchemaJson& wanted = schema["contains"];
    const SchemaJson not_wanted = {{"not", wanted}};
    const SchemaJson other = most == kNoLimit ? items : both_of(items, not_wanted);
    const ExprId hit = builder.shared(pieces.compile(both_of(items, wanted), at(place, "contains"), depth + 1));
    const ExprId miss = builder.shared(pieces.compile(other, at(place, "contains"), depth + 1));
    std::map<std::pair<std::uint64_t, std::uint64_t>, RuleId> rules;
    for (std::uint64_t i = 0; i <= last; ++i) {
        for (std::uint64_t found = 0; found <= last_found; ++found) rules[{i, found}] = builder.new_rule();
    }
    for (const auto& [state, rule] : rules) {
        const auto& [i, found] = state;
        std::vector<ExprId> options;
        if (i >= length.min && i > 0 && found >= least) options.push_back(builder.empty());
        if (i < length.max) {
            const std::uint64_t next = std::min(i + 1, last);
            options.push_back(builder.sequence({with_comma(pieces, miss, i == 0), builder.call(rules[{next, found}])}));
            if (found < last_found)
                options.push_back(builder.sequence({with_comma(pieces, hit, i == 0), builder.call(rules[{next, found + 1}])}));
        }
        builder.define(rule, builder.any_of(std::move(options)));
    }
    return builder.call(rules.at({0, 0}));
}

}  // namespace

ExprId array_expression(const SchemaPieces& pieces, const SchemaJson& schema, const std::string& place, int depth) {
    Length length{count_or(schema, "minItems", 0), count_or(schema, "maxItems", kNoLimit)};
    const bool no_others = schema.contains("items") && schema["items"] == false;
    if (no_others) {
        const std::size_t prefix = schema.contains("prefixItems") ? schema["prefixItems"].size() : 0;
        length.max = std::min(length.max, static_cast<std::uint32_t>(prefix));
    }
    const bool counted = schema.contains("contains");
    bool may_be_empty = length.min == 0;
    if (counted) may_be_empty = may_be_empty && count_or(schema, "minContains", 1) == 0;
    if (length.min > length.max) return pieces.builder.never();
    if (length.max == 0) return may_be_empty ? pieces.json.braced("[]", pieces.builder.never(), true) : pieces.builder.never();
    const bool unique = schema.value("uniqueItems", false) && length.max > 1;
    if (unique && counted) throw GrammarError("the keyword 'uniqueItems' beside 'contains' at '" + place + "' is not supported");
    const auto content = unique ? unique_items : counted ? counted_items : listed_items;
    return pieces.json.braced("[]", content(pieces, schema, length, place, depth), may_be_empty);
}

}  // namespace tfserve
