// What does not satisfy a schema: a keyword's opposite as other keywords.
#include <array>

#include "grammar/grammar_error.h"
#include "grammar/schema_flatten.h"
#include "grammar/schema_keywords.h"

namespace tfserve {

namespace {

constexpr std::array<const char*, 6> kTypes{"null", "boolean", "number", "string", "array", "object"};

/// The types that a schema takes no value of. Numbers that are no integers have no name.
SchemaJson other_types(const SchemaJson& schema) {
    SchemaJson types = SchemaJson::array();
    for (const char* type : kTypes) {
        const bool taken = takes_type(schema, type) || (type == std::string("number") && takes_type(schema, "integer"));
        if (!taken) types.push_back(type);
    }
    return types;
}

struct Opposite {
    const char* keyword;
    const char* type;  ///< that the keyword is about: values of all others satisfy it
    const char* opposite;
    int step;  ///< from the keyword's bound to the opposite one
};

constexpr Opposite kBounds[] = {
    {"minimum", "number", "exclusiveMaximum", 0}, {"exclusiveMinimum", "number", "maximum", 0},
    {"maximum", "number", "exclusiveMinimum", 0}, {"exclusiveMaximum", "number", "minimum", 0},
    {"minLength", "string", "maxLength", -1},     {"maxLength", "string", "minLength", 1},
    {"minItems", "array", "maxItems", -1},        {"maxItems", "array", "minItems", 1},
};

}  // namespace

SchemaAlternatives SchemaFlattener::negate(const SchemaJson& schema, const std::string& place, int depth) {
    budget_.visit(place, depth);
    if (schema == true) return {};
    if (schema == false) return {true};
    check_keywords(schema, place);
    budget_.spend(kWorkOfCopy * weight_of(schema));
    SchemaAlternatives result;
    for (const auto& [name, value] : schema.items()) {
        if (says_nothing(name) || name == "nullable") continue;
        SchemaAlternatives fails = negated_keyword(schema, name, place, depth);
        result.insert(result.end(), fails.begin(), fails.end());
        budget_.visits(fails.size());
    }
    if (schema.value("nullable", false)) {
        const SchemaJson null = {{"type", "null"}};
        const SchemaJson not_null = {{"type", other_types(null)}};
        narrow(result, {not_null}, place);
    }
    return result;
}

SchemaAlternatives SchemaFlattener::negated_keyword(const SchemaJson& schema, const std::string& name, const std::string& place,
                                                    int depth) {
    const SchemaJson& value = schema[name];
    SchemaAlternatives result;
    if (name == "type") {
        SchemaJson types = other_types(schema);
        if (!types.empty()) result.push_back({{"type", std::move(types)}});
        if (takes_type(schema, "integer") && !takes_type(schema, "number"))
            result.push_back({{"type", "number"}, {"not", {{"integers", true}}}});
    } else if (name == "enum" || name == "const") {
        result.push_back({{"not", {{"enum", name == "enum" ? value : SchemaJson::array({value})}}}});
    } else if (name == "pattern") {
        result.push_back({{"type", "string"}, {"not", {{"patterns", SchemaJson::array({value})}}}});
    } else if (name == "required") {
        for (const SchemaJson& member : value) result.push_back({{"type", "object"}, {"absent", SchemaJson::array({member})}});
    } else if (name == "properties") {
        for (const auto& [key, member] : value.items()) {
            result.push_back({{"type", "object"}, {"required", SchemaJson::array({key})}, {"properties", {{key, {{"not", member}}}}}});
        }
    } else if (name == "not") {
        result = flatten(value, at(place, name), depth + 1);
    } else if (name == "$ref") {
        std::string target_place;
        const SchemaJson& target = resolve(value.get<std::string>(), at(place, name), target_place);
        result = negate(target, target_place, depth + 1);
    } else if (name == "allOf") {
        for (std::size_t i = 0; i < value.size(); ++i) {
            const SchemaAlternatives fails = negate(value[i], at(place, name, i), depth + 1);
            result.insert(result.end(), fails.begin(), fails.end());
        }
    } else if (name == "anyOf") {
        result.emplace_back(true);
        for (std::size_t i = 0; i < value.size(); ++i) narrow(result, negate(value[i], at(place, name, i), depth + 1), place);
    } else {
        for (const auto& [keyword, type, opposite, step] : kBounds) {
            if (name != keyword) continue;
            if (step < 0 && value == 0) return {};  // everything satisfies it
            result.push_back({{"type", type}, {opposite, step == 0 ? value : SchemaJson(value.get<double>() + step)}});
            return result;
        }
        throw GrammarError("the opposite of the keyword '" + name.substr(0, 64) + "' at '" + place +
                           "' is not supported: say what is allowed instead, with anyOf");
    }
    return result;
}

}  // namespace tfserve
