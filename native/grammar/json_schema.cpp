#include "grammar/json_schema.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/grammar_error.h"
#include "grammar/schema_containers.h"
#include "grammar/schema_keywords.h"
#include "grammar/schema_scalars.h"

namespace tfserve {

namespace {

/// Which type a plain keyword is about; it says nothing of others.
constexpr std::pair<const char*, const char*> kConcerns[] = {
    {"properties", "object"},        {"required", "object"},      {"additionalProperties", "object"},
    {"minProperties", "object"},     {"maxProperties", "object"}, {"absent", "object"},
    {"patternProperties", "object"}, {"propertyNames", "object"}, {"items", "array"},
    {"prefixItems", "array"},        {"minItems", "array"},       {"maxItems", "array"},
    {"uniqueItems", "array"},        {"contains", "array"},       {"minLength", "string"},
    {"maxLength", "string"},         {"pattern", "string"},       {"format", "string"},
    {"minimum", "number"},           {"maximum", "number"},       {"exclusiveMinimum", "number"},
    {"exclusiveMaximum", "number"},  {"multipleOf", "number"},
};

class SchemaCompiler {
   public:
    SchemaCompiler(GrammarBuilder& builder, const SchemaJson& root, JsonWhitespace whitespace)
        : builder_(builder), json_(builder, whitespace), root_(root), flattener_(root, budget_) {}

    ExprId run() { return compile(root_, "#", 0); }

   private:
    /// Equal schemas are one rule, which ends the recursion of $ref as well.
    ExprId compile(const SchemaJson& schema, const std::string& place, int depth) {
        if (schema == true) return json_.value();
        if (schema == false) return builder_.never();
        budget_.visit(place, depth);
        std::string key = schema.dump();
        budget_.spend(key.size() * kWorkOfKeyByte);
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
        const bool plain = !plain_part(schema).empty();
        const auto alone = [&](const char* keyword) { return !plain && schema.contains(keyword) && !combines(schema, keyword); };
        if (alone("$ref")) {
            std::string target_place;
            const SchemaJson& target = flattener_.resolve(schema["$ref"].get<std::string>(), at(place, "$ref"), target_place);
            return compile(target, target_place, depth + 1);
        }
        if (alone("anyOf") || (alone("allOf") && schema["allOf"].size() == 1)) {
            const char* keyword = schema.contains("anyOf") ? "anyOf" : "allOf";
            std::vector<ExprId> options;
            for (std::size_t i = 0; i < schema[keyword].size(); ++i)
                options.push_back(compile(schema[keyword][i], at(place, keyword, i), depth + 1));
            return builder_.any_of(std::move(options));
        }
        std::vector<ExprId> options;
        for (const SchemaJson& alternative : flattener_.flatten(schema, place, depth))
            options.push_back(compile_plain(alternative, place, depth));
        return builder_.any_of(std::move(options));
    }

    ExprId compile_plain(const SchemaJson& schema, const std::string& place, int depth) {
        if (schema == true) return json_.value();
        if (schema == false) return builder_.never();
        if (schema.contains("enum")) return compile_enum(schema, place);
        std::vector<std::string> types = types_of(schema);
        if (types.empty() && !schema.contains("not")) return json_.value();
        if (types.empty()) types = {"null", "boolean", "number", "string", "array", "object"};
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
        for (const char* type : {"object", "array", "string", "number"}) {
            const bool concerned = std::ranges::any_of(
                kConcerns, [&](const auto& entry) { return std::string_view(entry.second) == type && schema.contains(entry.first); });
            if (concerned) types.emplace_back(type);
        }
        return types;
    }

    ExprId compile_enum(const SchemaJson& schema, const std::string& place) {
        const SchemaJson excluded = excluded_values(schema);
        std::vector<ExprId> options;
        for (const SchemaJson& value : schema["enum"]) {
            const bool taken = takes_type(schema, type_of(value)) && std::ranges::find(excluded, value) == excluded.end() &&
                               is_within(schema, value, place);
            if (taken) options.push_back(json_.literal(value));
        }
        return builder_.any_of(std::move(options));
    }

    /// A value of an enum within the bounds beside it. Keywords about other types say nothing of it.
    static bool is_within(const SchemaJson& schema, const SchemaJson& value, const std::string& place) {
        const std::string type = value.is_number() ? "number" : type_of(value);
        const std::size_t length = value.is_string() ? characters_in(value.get_ref<const std::string&>()) : value.size();
        for (const auto& [keyword, concerned] : kConcerns) {
            const auto bound = schema.find(keyword);
            if (type != concerned || bound == schema.end()) continue;
            const std::string_view name = keyword;
            const bool within = name == "minimum"                                      ? value >= *bound
                                : name == "maximum"                                    ? value <= *bound
                                : name == "exclusiveMinimum"                           ? value > *bound
                                : name == "exclusiveMaximum"                           ? value < *bound
                                : name.starts_with("minL") || name.starts_with("minI") ? *bound <= length
                                : name.starts_with("maxL") || name.starts_with("maxI") ? *bound >= length
                                                                                       : refused_beside_enum(name, place);
            if (!within) return false;
        }
        if (type == "string" && schema.contains("not") && schema["not"].contains("patterns")) refused_beside_enum("not", place);
        return true;
    }

    static bool refused_beside_enum(std::string_view keyword, const std::string& place) {
        throw GrammarError("the keyword '" + std::string(keyword) + "' beside enum or const at '" + place +
                           "' is not supported: list the values that satisfy it");
    }

    static std::size_t characters_in(const std::string& text) {
        std::size_t count = 0;
        for (std::size_t i = 0; i < text.size(); ++count) next_character(text, i);
        return count;
    }

    static SchemaJson excluded_values(const SchemaJson& schema) {
        return schema.contains("not") ? schema["not"].value("enum", SchemaJson::array()) : SchemaJson::array();
    }

    ExprId compile_type(const std::string& type, const SchemaJson& schema, const std::string& place, int depth) {
        if (type == "string") return string_expression(builder_, json_, schema, place);
        if (type == "integer") return integer_expression(builder_, json_, schema, place);
        if (type == "number") return number_expression(builder_, json_, schema, place);
        if (type == "null" || type == "boolean") {
            const SchemaJson excluded = excluded_values(schema);
            std::vector<ExprId> options;
            for (const SchemaJson& value : type == "null" ? SchemaJson::array({nullptr}) : SchemaJson::array({true, false})) {
                if (std::ranges::find(excluded, value) == excluded.end()) options.push_back(json_.literal(value));
            }
            return builder_.any_of(std::move(options));
        }
        for (const SchemaJson& value : excluded_values(schema)) {
            if (type_of(value) == type)
                throw GrammarError("a list or an object among the values that 'not' excludes at '" + place + "' is not supported");
        }
        const SchemaPieces pieces{builder_, json_, flattener_, [this](const SchemaJson& part, const std::string& where, int level) {
                                      return compile(part, where, level);
                                  }};
        return type == "array" ? array_expression(pieces, schema, place, depth) : object_expression(pieces, schema, place, depth);
    }

    GrammarBuilder& builder_;
    JsonRules json_;
    const SchemaJson& root_;
    SchemaBudget budget_;
    SchemaFlattener flattener_;
    std::map<std::string, RuleId> rules_;
};

}  // namespace

ExprId schema_expression(GrammarBuilder& builder, const SchemaJson& schema, JsonWhitespace whitespace) {
    if (!schema.is_object() && !schema.is_boolean()) throw GrammarError("a schema must be an object or a boolean");
    return SchemaCompiler(builder, schema, whitespace).run();
}

}  // namespace tfserve
