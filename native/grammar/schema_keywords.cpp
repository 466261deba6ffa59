#include "grammar/schema_keywords.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

enum class Expected {
    anything,
    text,
    flag,
    count,
    number,
    values,      ///< a list with one value at least
    types,       ///< the name of a type, or a list of some
    names,       ///< a list of strings
    schema,      ///< an object or a boolean
    schemas,     ///< a list of schemas, not empty
    schema_map,  ///< an object of schemas
    items,       ///< a schema, or a list of schemas
    needs,       ///< an object of lists of strings, or of schemas
    factor,      ///< a number above 0
};

struct Keyword {
    std::string_view name;
    Expected expected;
    bool says_nothing = false;  ///< of values
};

/// They combine other schemas: what they say comes into the plain part when they are multiplied out.
constexpr std::string_view kCombining[] = {
    "$ref", "allOf", "anyOf", "oneOf", "nullable", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"};

constexpr Keyword kKeywords[] = {
    {"type", Expected::types},
    {"enum", Expected::values},
    {"const", Expected::anything},
    {"properties", Expected::schema_map},
    {"required", Expected::names},
    {"additionalProperties", Expected::schema},
    {"minProperties", Expected::count},
    {"maxProperties", Expected::count},
    {"items", Expected::items},
    {"prefixItems", Expected::schemas},
    {"additionalItems", Expected::schema},
    {"minItems", Expected::count},
    {"maxItems", Expected::count},
    {"minLength", Expected::count},
    {"maxLength", Expected::count},
    {"pattern", Expected::text},
    {"format", Expected::text},
    {"minimum", Expected::number},
    {"maximum", Expected::number},
    {"exclusiveMinimum", Expected::number},
    {"exclusiveMaximum", Expected::number},
    {"anyOf", Expected::schemas},
    {"oneOf", Expected::schemas},
    {"allOf", Expected::schemas},
    {"$ref", Expected::text},
    {"nullable", Expected::flag},
    {"multipleOf", Expected::factor},
    {"patternProperties", Expected::schema_map},
    {"propertyNames", Expected::schema},
    {"uniqueItems", Expected::flag},
    {"contains", Expected::schema},
    {"minContains", Expected::count},
    {"maxContains", Expected::count},
    {"not", Expected::schema},
    {"if", Expected::schema},
    {"then", Expected::schema},
    {"else", Expected::schema},
    {"dependentRequired", Expected::needs},
    {"dependentSchemas", Expected::needs},
    {"dependencies", Expected::needs},
    {"$defs", Expected::schema_map, true},
    {"definitions", Expected::schema_map, true},
    {"title", Expected::anything, true},
    {"description", Expected::anything, true},
    {"default", Expected::anything, true},
    {"example", Expected::anything, true},
    {"examples", Expected::anything, true},
    {"deprecated", Expected::anything, true},
    {"readOnly", Expected::anything, true},
    {"writeOnly", Expected::anything, true},
    {"discriminator", Expected::anything, true},
    {"$schema", Expected::anything, true},
    {"$comment", Expected::anything, true},
    {"$id", Expected::anything, true},
    {"strict", Expected::anything, true},
};

/// Supported where they change nothing.
bool is_neutral(std::string_view name, const SchemaJson& value) {
    if (name == "unevaluatedProperties" || name == "unevaluatedItems") return value == true;
    return name.starts_with("x-");
}

bool is_schema(const SchemaJson& value) { return value.is_object() || value.is_boolean(); }

bool is_type(const SchemaJson& value) {
    constexpr std::string_view kTypes[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    return value.is_string() && std::ranges::find(kTypes, value.get_ref<const std::string&>()) != std::end(kTypes);
}

bool is_names(const SchemaJson& value) {
    return value.is_array() && std::ranges::all_of(value, [](const SchemaJson& name) { return name.is_string(); });
}

const char* complaint(Expected expected, const SchemaJson& value) {
    const bool list = value.is_array() && !value.empty();
    switch (expected) {
        case Expected::anything: return nullptr;
        case Expected::text: return value.is_string() ? nullptr : "a string";
        case Expected::flag: return value.is_boolean() ? nullptr : "true or false";
        case Expected::number: return value.is_number() ? nullptr : "a number";
        case Expected::values: return list ? nullptr : "a list of values";
        case Expected::schema: return is_schema(value) ? nullptr : "a schema";
        case Expected::schemas: return list && std::ranges::all_of(value, is_schema) ? nullptr : "a list of schemas";
        case Expected::items:
            return is_schema(value) || (value.is_array() && std::ranges::all_of(value, is_schema)) ? nullptr
                                                                                                   : "a schema or a list of schemas";
        case Expected::schema_map: return value.is_object() && std::ranges::all_of(value, is_schema) ? nullptr : "an object of schemas";
        case Expected::needs:
            return value.is_object() && std::ranges::all_of(value, [](const SchemaJson& one) { return is_names(one) || is_schema(one); })
                       ? nullptr
                       : "an object of lists of strings or of schemas";
        case Expected::factor: return value.is_number() && value > 0 ? nullptr : "a number above 0";
        case Expected::names: return is_names(value) ? nullptr : "a list of strings";
        case Expected::types:
            return is_type(value) || (list && std::ranges::all_of(value, is_type)) ? nullptr : "a JSON type or a list of them";
        case Expected::count:
            return value.is_number() && value >= 0 && value <= std::numeric_limits<std::int32_t>::max() && type_of(value) == "integer"
                       ? nullptr
                       : "a whole number from 0 to 2147483647";
    }
    return nullptr;
}

const Keyword* find_keyword(std::string_view name) {
    const auto it = std::ranges::find(kKeywords, name, &Keyword::name);
    return it == std::end(kKeywords) ? nullptr : it;
}

}  // namespace

void check_keywords(const SchemaJson& schema, const std::string& place) {
    for (const auto& [name, value] : schema.items()) {
        const Keyword* keyword = find_keyword(name);
        if (keyword == nullptr) {
            if (is_neutral(name, value)) continue;
            throw GrammarError("the keyword '" + name.substr(0, 64) + "' at '" + place + "' is not supported");
        }
        if (const char* expected = complaint(keyword->expected, value)) {
            throw GrammarError("the keyword '" + name + "' at '" + place + "' must be " + expected);
        }
    }
}

bool says_nothing(const std::string& name) {
    const Keyword* keyword = find_keyword(name);
    return keyword == nullptr || keyword->says_nothing;
}

bool combines(const SchemaJson& schema, std::string_view but) {
    return std::ranges::any_of(kCombining, [&](std::string_view name) { return name != but && schema.contains(name); });
}

SchemaJson plain_part(const SchemaJson& schema) {
    SchemaJson result = SchemaJson::object();
    for (const auto& [name, value] : schema.items()) {
        const Keyword* keyword = find_keyword(name);
        if (keyword == nullptr || keyword->says_nothing) continue;
        if (name == "const" || std::ranges::find(kCombining, name) != std::end(kCombining)) continue;
        if (name == "additionalItems" || (name == "items" && value.is_array())) continue;
        result[name] = value;
    }
    const auto items = schema.find("items");
    if (items != schema.end() && items->is_array()) {
        if (!items->empty()) result["prefixItems"] = *items;
        if (schema.contains("additionalItems")) result["items"] = schema["additionalItems"];
    }
    if (schema.contains("const")) {
        const SchemaJson& value = schema["const"];
        const bool listed = !schema.contains("enum") || std::ranges::find(schema["enum"], value) != schema["enum"].end();
        result["enum"] = listed ? SchemaJson::array({value}) : SchemaJson::array();
    }
    return result;
}

}  // namespace tfserve
