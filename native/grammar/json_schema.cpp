#include "grammar/json_schema.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/grammar_error.h"
#include "grammar/number_range.h"
#include "grammar/pattern_languages.h"
#include "grammar/schema_keywords.h"
#include "grammar/string_format.h"

namespace tfserve {

namespace {

constexpr int kMaxDepth = 128;
/// Schemas looked at while one is compiled; the same subschema counts once, but for its parts in allOf, anyOf and oneOf.
constexpr std::size_t kMaxVisits = 50000;
/// Work on one schema, in units of some ten nanoseconds. Small schemas with many references to large parts would take minutes.
constexpr std::size_t kMaxWork = std::size_t{1} << 26;
constexpr std::size_t kWorkOfCopy = 32, kWorkOfKeyByte = 4;
/// Alternatives of one schema, when those of anyOf, oneOf and allOf are multiplied out.
constexpr std::size_t kMaxAlternatives = 512;

std::string escaped(std::string_view name) {
    std::string result;
    for (const char c : name.substr(0, 64)) result += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    return result;
}

std::string at(const std::string& place, std::string_view keyword) { return place + "/" + escaped(keyword); }
std::string at(const std::string& place, std::string_view keyword, std::size_t i) { return at(place, keyword) + "/" + std::to_string(i); }

std::uint32_t count_or(const SchemaJson& schema, const char* name, std::uint32_t fallback) {
    const auto it = schema.find(name);
    return it == schema.end() ? fallback : static_cast<std::uint32_t>(it->get<double>());
}

class SchemaCompiler {
   public:
    SchemaCompiler(GrammarBuilder& builder, const SchemaJson& root, JsonWhitespace whitespace)
        : builder_(builder), json_(builder, whitespace), root_(root) {}

    ExprId run() { return compile(root_, "#", 0); }

   private:
    using Alternatives = std::vector<SchemaJson>;

    void visit(const std::string& place, int depth) {
        if (depth > kMaxDepth)
            throw GrammarError("the schema is nested more than " + std::to_string(kMaxDepth) + " levels deep at '" + place.substr(0, 200) +
                               "'");
        if (++visits_ > kMaxVisits) throw GrammarError("the schema is too large");
    }

    void spend(std::size_t work) {
        work_ += work;
        if (work_ > kMaxWork) throw GrammarError("the schema is too large, with all that it refers to");
    }

    /// Equal schemas are one rule, which ends the recursion of $ref as well.
    ExprId compile(const SchemaJson& schema, const std::string& place, int depth) {
        if (schema == true) return json_.value();
        if (schema == false) return builder_.never();
        visit(place, depth);
        std::string key = schema.dump();
        spend(key.size() * kWorkOfKeyByte);
        const auto known = rules_.find(key);
        if (known != rules_.end()) return builder_.call(known->second);
        const RuleId rule = builder_.new_rule();
        rules_.emplace(std::move(key), rule);
        builder_.define(rule, compile_new(schema, place, depth));
        return builder_.call(rule);
    }

    ExprId compile_new(const SchemaJson& schema, const std::string& place, int depth) {
        check_keywords(schema, place);
        // alternatives and references that stand alone stay what they are; everything else is multiplied out
        const bool alone = plain_part(schema).empty() && !schema.value("nullable", false) && !schema.contains("oneOf") &&
                           schema.contains("$ref") + schema.contains("anyOf") + schema.contains("allOf") == 1;
        if (alone && schema.contains("$ref")) {
            std::string target_place;
            const SchemaJson& target = resolve(schema["$ref"].get<std::string>(), at(place, "$ref"), target_place);
            return compile(target, target_place, depth + 1);
        }
        if (alone && (schema.contains("anyOf") || schema["allOf"].size() == 1)) {
            const char* keyword = schema.contains("anyOf") ? "anyOf" : "allOf";
            std::vector<ExprId> options;
            for (std::size_t i = 0; i < schema[keyword].size(); ++i)
                options.push_back(compile(schema[keyword][i], at(place, keyword, i), depth + 1));
            return builder_.any_of(std::move(options));
        }
        std::vector<ExprId> options;
        for (const SchemaJson& alternative : flatten(schema, place, depth)) options.push_back(compile_plain(alternative, place, depth));
        return builder_.any_of(std::move(options));
    }

    const SchemaJson& resolve(const std::string& reference, const std::string& place, std::string& target_place) const {
        if (!reference.starts_with('#') || (reference.size() > 1 && reference[1] != '/')) {
            throw GrammarError("the reference '" + reference.substr(0, 100) + "' at '" + place +
                               "' is not supported: only '#' and '#/…' are");
        }
        const SchemaJson* target = nullptr;
        try {
            target = &root_.at(SchemaJson::json_pointer(reference.substr(1)));
        } catch (const SchemaJson::exception&) {
            target = nullptr;
        }
        if (target == nullptr || !(target->is_object() || target->is_boolean())) {
            throw GrammarError("the reference '" + reference.substr(0, 100) + "' at '" + place + "' leads to no schema");
        }
        target_place = reference;
        return *target;
    }

    /// A schema as alternatives that hold nothing but plain keywords.
    Alternatives flatten(const SchemaJson& schema, const std::string& place, int depth) {
        visit(place, depth);
        if (schema.is_boolean()) return {schema};
        check_keywords(schema, place);
        spend(kWorkOfCopy * weight_of(schema));
        Alternatives result{plain_part(schema)};
        const auto narrow = [&](const Alternatives& by) {
            Alternatives product;
            for (const SchemaJson& a : result) {
                for (const SchemaJson& b : by) {
                    spend(comparisons_of(a, b) + kWorkOfCopy * (weight_of(a) + weight_of(b)));
                    SchemaJson merged = merge_schemas(a, b, place);
                    if (merged != false) product.push_back(std::move(merged));
                    if (product.size() > kMaxAlternatives)
                        throw GrammarError("the schema at '" + place + "' has too many combinations of alternatives");
                }
            }
            result = std::move(product);
        };
        if (schema.contains("$ref")) {
            std::string target_place;
            const SchemaJson& target = resolve(schema["$ref"].get<std::string>(), at(place, "$ref"), target_place);
            narrow(flatten(target, target_place, depth + 1));
        }
        if (schema.contains("allOf")) {
            for (std::size_t i = 0; i < schema["allOf"].size(); ++i) narrow(flatten(schema["allOf"][i], at(place, "allOf", i), depth + 1));
        }
        if (schema.contains("anyOf")) {
            Alternatives all;
            for (const Alternatives& option : options_of(schema["anyOf"], at(place, "anyOf"), depth))
                all.insert(all.end(), option.begin(), option.end());
            narrow(all);
        }
        if (schema.contains("oneOf")) narrow(exclusive_options(schema["oneOf"], at(place, "oneOf"), depth));
        if (schema.value("nullable", false)) result.push_back({{"type", "null"}});
        return result;
    }

    std::vector<Alternatives> options_of(const SchemaJson& list, const std::string& place, int depth) {
        std::vector<Alternatives> result;
        for (std::size_t i = 0; i < list.size(); ++i) result.push_back(flatten(list[i], place + "/" + std::to_string(i), depth + 1));
        return result;
    }

    Alternatives exclusive_options(const SchemaJson& list, const std::string& place, int depth) {
        const std::vector<Alternatives> options = options_of(list, place, depth);
        Alternatives all;
        for (std::size_t i = 0; i < options.size(); ++i) {
            for (const SchemaJson& mine : options[i]) {
                const bool apart = std::ranges::all_of(all, [&](const SchemaJson& other) {
                    spend(comparisons_of(mine, other) + weight_of(mine) + weight_of(other));
                    return are_disjoint(mine, other);
                });
                if (!apart) {
                    throw GrammarError("the options of '" + place +
                                       "' are not told apart by type or by a required property of its own values: use anyOf");
                }
            }
            all.insert(all.end(), options[i].begin(), options[i].end());
            visits_ += all.size();
        }
        return all;
    }

    ExprId compile_plain(const SchemaJson& schema, const std::string& place, int depth) {
        if (schema == true) return json_.value();
        if (schema == false) return builder_.never();
        if (schema.contains("enum")) return compile_enum(schema, place);
        const std::vector<std::string> types = types_of(schema);
        if (types.empty()) return json_.value();
        std::vector<ExprId> options;
        for (const std::string& type : types) options.push_back(compile_type(type, schema, place, depth));
        return builder_.any_of(std::move(options));
    }

    /// The types to write: those of `type`, else those that the keywords are about; empty: any value.
    static std::vector<std::string> types_of(const SchemaJson& schema) {
        std::vector<std::string> types;
        if (const auto given = schema.find("type"); given != schema.end()) {
            const SchemaJson list = given->is_array() ? *given : SchemaJson::array({*given});
            for (const SchemaJson& type : list) {
                const auto name = type.get<std::string>();
                const bool covered = name == "integer" && std::ranges::find(list, SchemaJson("number")) != list.end();
                if (!covered && std::ranges::find(types, name) == types.end()) types.push_back(name);
            }
            return types;
        }
        const auto any = [&](std::initializer_list<const char*> names) {
            return std::ranges::any_of(names, [&](const char* name) { return schema.contains(name); });
        };
        if (any({"properties", "required", "additionalProperties", "minProperties", "maxProperties"})) types.emplace_back("object");
        if (any({"items", "prefixItems", "minItems", "maxItems"})) types.emplace_back("array");
        if (any({"minLength", "maxLength", "pattern", "format"})) types.emplace_back("string");
        if (any({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})) types.emplace_back("number");
        return types;
    }

    ExprId compile_enum(const SchemaJson& schema, const std::string& place) {
        for (const auto& [name, value] : schema.items()) {
            if (name != "enum" && name != "type") {
                throw GrammarError("the keyword '" + name + "' beside enum or const at '" + place + "' is not supported");
            }
        }
        std::vector<ExprId> options;
        for (const SchemaJson& value : schema["enum"]) {
            if (takes_type(schema, type_of(value))) options.push_back(json_.literal(value));
        }
        return builder_.any_of(std::move(options));
    }

    ExprId compile_type(const std::string& type, const SchemaJson& schema, const std::string& place, int depth) {
        if (type == "null") return json_.null();
        if (type == "boolean") return json_.boolean();
        if (type == "string") return compile_string(schema, place);
        if (type == "integer") return compile_integer(schema, place);
        if (type == "number") return compile_number(schema, place);
        return type == "array" ? compile_array(schema, place, depth) : compile_object(schema, place, depth);
    }

    ExprId compile_string(const SchemaJson& schema, const std::string& place) {
        const std::uint32_t min = count_or(schema, "minLength", 0), max = count_or(schema, "maxLength", kNoLimit);
        const bool bounded = min > 0 || max != kNoLimit;
        const bool has_pattern = schema.contains("pattern"), has_format = schema.contains("format");
        if (!has_pattern && !has_format) return bounded ? json_.string_of_length(min, max) : json_.string();
        const CharWriterFor chars = [](GrammarBuilder& builder) -> CharWriter {
            return [json = JsonRules(builder, JsonWhitespace::compact)](const CharSet& set) mutable { return json.string_char(set); };
        };
        std::vector<RegularLanguage> languages;
        if (bounded) {
            languages.push_back(
                {[min, max](GrammarBuilder& builder) { return JsonRules(builder, JsonWhitespace::compact).string_content(min, max); }});
        }
        if (has_format) {
            const auto name = schema["format"].get<std::string>();
            const auto pattern = string_format(name);
            if (!pattern) throw GrammarError("the format '" + name.substr(0, 64) + "' at '" + place + "' is not supported");
            for (RegularLanguage& language : pattern_languages(*pattern, RegexMatch::whole, chars))
                languages.push_back(std::move(language));
        }
        try {
            const auto pattern = has_pattern ? schema["pattern"].get<std::string>() : std::string();
            if (has_pattern) {
                for (RegularLanguage& language : pattern_languages(pattern, RegexMatch::search, chars))
                    languages.push_back(std::move(language));
            }
            return builder_.sequence({builder_.bytes("\""), languages_expression(builder_, languages), builder_.bytes("\"")});
        } catch (const GrammarError& error) {
            throw GrammarError("the string at '" + (has_pattern ? at(place, "pattern") : place) +
                               "' cannot be constrained: " + error.what());
        }
    }

    /// The tighter of an inclusive and an exclusive bound. `sign`: 1 for lower bounds, -1 for upper ones.
    static std::optional<NumberBound> bound(const SchemaJson& schema, const char* inclusive, const char* exclusive, double sign) {
        std::optional<NumberBound> result;
        if (schema.contains(inclusive)) result = NumberBound{schema[inclusive].get<double>(), false};
        if (schema.contains(exclusive)) {
            const double value = schema[exclusive].get<double>();
            if (!result || sign * value >= sign * result->value) result = NumberBound{value, true};
        }
        return result;
    }

    /// `keyword` as the closest integer that satisfies it.
    static std::optional<std::int64_t> integer_bound(const SchemaJson& schema, const char* inclusive, const char* exclusive, bool lower,
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

    static void refuse_string_keywords(const SchemaJson& schema, const std::string& place) {
        // formats of numbers (int32, double, …) say how a reader stores them
        constexpr std::string_view kNumberFormats[] = {"int32", "int64", "float", "double", "decimal"};
        const auto format = schema.find("format");
        if (format == schema.end() || takes_type(schema, "string")) return;
        if (std::ranges::find(kNumberFormats, format->get<std::string>()) == std::end(kNumberFormats)) {
            throw GrammarError("the format '" + format->get<std::string>().substr(0, 64) + "' at '" + place + "' is not supported");
        }
    }

    ExprId compile_integer(const SchemaJson& schema, const std::string& place) {
        refuse_string_keywords(schema, place);
        const auto low = integer_bound(schema, "minimum", "exclusiveMinimum", true, place);
        const auto high = integer_bound(schema, "maximum", "exclusiveMaximum", false, place);
        return low || high ? integer_between(builder_, low, high) : json_.integer();
    }

    ExprId compile_number(const SchemaJson& schema, const std::string& place) {
        refuse_string_keywords(schema, place);
        const auto low = bound(schema, "minimum", "exclusiveMinimum", 1);
        const auto high = bound(schema, "maximum", "exclusiveMaximum", -1);
        if (!low && !high) return json_.number();
        try {
            return number_between(builder_, low, high);
        } catch (const GrammarError& error) {
            throw GrammarError(std::string(error.what()) + ", at '" + place + "'");
        }
    }

    ExprId compile_array(const SchemaJson& schema, const std::string& place, int depth) {
        const std::uint32_t min = count_or(schema, "minItems", 0);
        std::uint32_t max = count_or(schema, "maxItems", kNoLimit);
        const SchemaJson none = SchemaJson::array();
        const SchemaJson& prefix = schema.contains("prefixItems") ? schema["prefixItems"] : none;
        const SchemaJson items = schema.contains("items") ? schema["items"] : SchemaJson(true);
        if (items == false) max = std::min(max, static_cast<std::uint32_t>(prefix.size()));
        if (min > max) return builder_.never();
        if (max == 0) return json_.braced("[]", builder_.never(), true);
        const auto fixed = std::min<std::uint32_t>(static_cast<std::uint32_t>(prefix.size()), max);

        // from the end: what follows the first i elements; elements behind the first have a comma
        const auto place_of = [&](std::size_t i) { return at(place, "prefixItems", i); };
        const auto more = [&](std::uint32_t written) {
            if (written >= max) return builder_.empty();
            const ExprId item = compile(items, at(place, "items"), depth + 1);
            const std::uint32_t least = min > written ? min - written : 0;
            const std::uint32_t most = max == kNoLimit ? kNoLimit : max - written;
            if (written > 0) return builder_.repeat(builder_.sequence({json_.comma(), item}), least, most);
            return builder_.sequence({item, builder_.repeat(builder_.sequence({json_.comma(), item}), least > 0 ? least - 1 : 0,
                                                            most == kNoLimit ? kNoLimit : most - 1)});
        };
        ExprId rest = more(fixed);
        for (std::uint32_t i = fixed; i-- > 0;) {
            std::vector<ExprId> parts;
            if (i > 0) parts.push_back(json_.comma());
            parts.push_back(compile(prefix[i], place_of(i), depth + 1));
            parts.push_back(rest);
            rest = builder_.sequence(std::move(parts));
            if (i > 0) rest = builder_.shared(i >= min ? builder_.optional(rest) : rest);
        }
        return json_.braced("[]", rest, min == 0);
    }

    ExprId compile_object(const SchemaJson& schema, const std::string& place, int depth) {
        struct Property {
            ExprId member;
            bool required;
        };
        const SchemaJson none = SchemaJson::array();
        const SchemaJson& names = schema.contains("required") ? schema["required"] : none;
        std::set<std::string> needed;
        SchemaJson declared = schema.contains("properties") ? schema["properties"] : SchemaJson::object();
        // where properties are listed and nothing is said of others, there are no others
        const bool open = !schema.contains("properties");
        const SchemaJson others = schema.contains("additionalProperties") ? schema["additionalProperties"] : SchemaJson(open);
        for (const SchemaJson& name : names) {
            const auto key = name.get<std::string>();
            needed.insert(key);
            if (!declared.contains(key)) declared[key] = schema.contains("additionalProperties") ? others : SchemaJson(true);
        }
        std::vector<Property> properties;
        std::vector<std::string> keys;
        std::size_t num_required = 0;
        for (const auto& [key, value] : declared.items()) {
            const bool required = needed.contains(key);
            const ExprId member =
                json_.member(builder_.bytes(SchemaJson(key).dump()), compile(value, at(place + "/properties", key), depth + 1));
            properties.push_back({builder_.shared(member), required});
            keys.push_back(key);
            num_required += required ? 1 : 0;
        }
        check_property_counts(schema, num_required, properties.size(), others != false, place);
        // what may follow when something, or nothing, has been written before
        ExprId behind = builder_.empty(), first = builder_.never();
        if (others != false) {
            const ExprId value = compile(others, at(place, "additionalProperties"), depth + 1);
            const ExprId other = builder_.shared(json_.member(keys.empty() ? json_.string() : json_.other_key(keys), value));
            behind = builder_.shared(builder_.repeat(builder_.sequence({json_.comma(), other}), 0));
            first = builder_.sequence({other, behind});
        }
        for (std::size_t i = properties.size(); i-- > 0;) {
            const auto& [member, required] = properties[i];
            const ExprId begins = builder_.sequence({member, behind});
            first = builder_.shared(required ? begins : builder_.any_of({begins, first}));
            const ExprId goes_on = builder_.sequence({json_.comma(), member});
            behind = builder_.shared(builder_.sequence({required ? goes_on : builder_.optional(goes_on), behind}));
        }
        return json_.braced("{}", first, num_required == 0);
    }

    static void check_property_counts(const SchemaJson& schema, std::size_t required, std::size_t declared, bool open,
                                      const std::string& place) {
        if (count_or(schema, "minProperties", 0) > required) {
            throw GrammarError("the keyword 'minProperties' at '" + place + "' is not supported beyond the number of required properties");
        }
        if (schema.contains("maxProperties") && (open || count_or(schema, "maxProperties", 0) < declared)) {
            throw GrammarError("the keyword 'maxProperties' at '" + place + "' is not supported below the number of properties");
        }
    }

    GrammarBuilder& builder_;
    JsonRules json_;
    const SchemaJson& root_;
    std::map<std::string, RuleId> rules_;
    std::size_t visits_ = 0;
    std::size_t work_ = 0;
};

}  // namespace

ExprId schema_expression(GrammarBuilder& builder, const SchemaJson& schema, JsonWhitespace whitespace) {
    if (!schema.is_object() && !schema.is_boolean()) throw GrammarError("a schema must be an object or a boolean");
    return SchemaCompiler(builder, schema, whitespace).run();
}

}  // namespace tfserve
