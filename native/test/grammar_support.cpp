#include "grammar_support.h"

#include <cmath>
#include <regex>

namespace tfserve::testing {

Walk random_walk(const CompiledConstraint& constraint, const GrammarTokens& tokens, std::mt19937& random, std::size_t longest) {
    Walk walk;
    const auto matcher = constraint.start();
    for (std::size_t step = 0; step < longest; ++step) {
        if (matcher->may_end() && (matcher->must_end() || random() % 4 == 0)) {
            walk.complete = true;
            return walk;
        }
        const std::vector<bool> allowed = mask_of(*matcher, tokens.pieces.size());
        std::vector<TokenId> choices;
        for (std::size_t i = 0; i < allowed.size(); ++i) {
            if (!allowed[i]) continue;
            // what closes is chosen more often, or nested values would hardly ever end
            const bool closes =
                tokens.pieces[i].find_first_of("\"]}") != std::string::npos && tokens.pieces[i].find_first_of("{[") == std::string::npos;
            choices.insert(choices.end(), closes ? 12 : 1, static_cast<TokenId>(i));
        }
        if (choices.empty()) return walk;
        const TokenId token = choices[random() % choices.size()];
        if (!matcher->accept(token)) {
            report(__FILE__, __LINE__, "a token of the mask is not accepted behind " + walk.text);
            return walk;
        }
        walk.text += tokens.pieces[static_cast<std::size_t>(token)];
    }
    return walk;
}

namespace {

bool has_type(const Json& value, const std::string& type) {
    if (type == "null") return value.is_null();
    if (type == "boolean") return value.is_boolean();
    if (type == "string") return value.is_string();
    if (type == "array") return value.is_array();
    if (type == "object") return value.is_object();
    if (!value.is_number()) return false;
    return type == "number" || std::floor(value.get<double>()) == value.get<double>();
}

std::size_t characters(const std::string& text) {
    std::size_t count = 0;
    for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
    return count;
}

bool finds(const std::string& pattern, const std::string& text) { return std::regex_search(text, std::regex(pattern)); }

bool satisfies_object(const Json& schema, const Json& value, const Json& root) {
    for (const Json& name : schema.value("required", Json::array())) {
        if (!value.contains(name.get<std::string>())) return false;
    }
    for (const char* keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
        const Json needs = schema.value(keyword, Json::object());
        for (const auto& [name, need] : needs.items()) {
            if (!value.contains(name)) continue;
            if (!satisfies(need.is_array() ? Json{{"required", need}} : need, value, root)) return false;
        }
    }
    const Json properties = schema.value("properties", Json::object()), patterns = schema.value("patternProperties", Json::object());
    for (const auto& [name, member] : value.items()) {
        if (schema.contains("propertyNames") && !satisfies(schema["propertyNames"], name, root)) return false;
        bool named = properties.contains(name);
        if (named && !satisfies(properties[name], member, root)) return false;
        for (const auto& [pattern, rule] : patterns.items()) {
            if (!finds(pattern, name)) continue;
            named = true;
            if (!satisfies(rule, member, root)) return false;
        }
        if (!named && !satisfies(schema.value("additionalProperties", Json(true)), member, root)) return false;
    }
    return true;
}

/// Of numbers with few places: in millionths, without rounding.
bool is_multiple(const Json& number, const Json& factor) {
    if (number.is_number_integer() && factor.is_number_integer()) return number.get<std::int64_t>() % factor.get<std::int64_t>() == 0;
    const auto millionths = [](const Json& value) { return std::llround(value.get<double>() * 1e6); };
    return millionths(number) % millionths(factor) == 0;
}

bool satisfies_array(const Json& schema, const Json& value, const Json& root) {
    if (value.size() < schema.value("minItems", 0U) || value.size() > schema.value("maxItems", 1U << 30)) return false;
    // a list of `items` is the older way to write prefixItems
    const bool older = schema.contains("items") && schema["items"].is_array();
    const Json prefix = older ? schema["items"] : schema.value("prefixItems", Json::array());
    const Json rest = schema.value(older ? "additionalItems" : "items", Json(true));
    for (std::size_t i = 0; i < value.size(); ++i) {
        if (!satisfies(i < prefix.size() ? prefix[i] : rest, value[i], root)) return false;
        if (schema.value("uniqueItems", false) && std::count(value.begin(), value.end(), value[i]) > 1) return false;
    }
    if (schema.contains("contains")) {
        const auto found = std::ranges::count_if(value, [&](const Json& item) { return satisfies(schema["contains"], item, root); });
        if (found < schema.value("minContains", 1) || found > schema.value("maxContains", 1 << 30)) return false;
    }
    return true;
}

}  // namespace

bool satisfies(const Json& schema, const Json& value, const Json& root) {
    if (schema.is_boolean()) return schema.get<bool>();
    if (schema.value("nullable", false) && value.is_null()) return true;
    if (schema.contains("$ref") && !satisfies(root.at(Json::json_pointer(schema["$ref"].get<std::string>().substr(1))), value, root))
        return false;
    if (schema.contains("type")) {
        const Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
        if (std::ranges::none_of(types, [&](const Json& type) { return has_type(value, type.get<std::string>()); })) return false;
    }
    if (schema.contains("enum") && std::ranges::find(schema["enum"], value) == schema["enum"].end()) return false;
    if (schema.contains("const") && schema["const"] != value) return false;
    const auto count = [&](const char* name) {
        return std::ranges::count_if(schema[name], [&](const Json& option) { return satisfies(option, value, root); });
    };
    if (schema.contains("anyOf") && count("anyOf") == 0) return false;
    if (schema.contains("oneOf") && count("oneOf") != 1) return false;
    if (schema.contains("allOf") && std::cmp_not_equal(count("allOf"), schema["allOf"].size())) return false;
    if (schema.contains("not") && satisfies(schema["not"], value, root)) return false;
    if (schema.contains("if")) {
        const char* branch = satisfies(schema["if"], value, root) ? "then" : "else";
        if (schema.contains(branch) && !satisfies(schema[branch], value, root)) return false;
    }
    if (value.is_object()) return satisfies_object(schema, value, root);
    if (value.is_array()) return satisfies_array(schema, value, root);
    if (value.is_string()) {
        const auto& text = value.get_ref<const std::string&>();
        if (characters(text) < schema.value("minLength", 0U) || characters(text) > schema.value("maxLength", 1U << 30)) return false;
        if (schema.contains("pattern") && !finds(schema["pattern"].get<std::string>(), text)) return false;
    }
    if (value.is_number()) {
        const double number = value.get<double>();
        if (schema.contains("minimum") && number < schema["minimum"].get<double>()) return false;
        if (schema.contains("maximum") && number > schema["maximum"].get<double>()) return false;
        if (schema.contains("exclusiveMinimum") && number <= schema["exclusiveMinimum"].get<double>()) return false;
        if (schema.contains("multipleOf") && !is_multiple(value, schema["multipleOf"])) return false;
        if (schema.contains("exclusiveMaximum") && number >= schema["exclusiveMaximum"].get<double>()) return false;
    }
    return true;
}

}  // namespace tfserve::testing
