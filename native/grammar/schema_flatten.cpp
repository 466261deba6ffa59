#include "grammar/schema_flatten.h"

#include <algorithm>

#include "grammar/grammar_error.h"
#include "grammar/schema_keywords.h"

namespace tfserve {

namespace {

/// Alternatives of one schema, when those of its parts are multiplied out.
constexpr std::size_t kMaxAlternatives = 512;

}  // namespace

const SchemaJson& SchemaFlattener::resolve(const std::string& reference, const std::string& place, std::string& target_place) const {
    if (!reference.starts_with('#') || (reference.size() > 1 && reference[1] != '/')) {
        throw GrammarError("the reference '" + reference.substr(0, 100) + "' at '" + place + "' is not supported: only '#' and '#/…' are");
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

void SchemaFlattener::narrow(SchemaAlternatives& result, const SchemaAlternatives& by, const std::string& place) {
    SchemaAlternatives product;
    for (const SchemaJson& a : result) {
        for (const SchemaJson& b : by) {
            budget_.spend(comparisons_of(a, b) + kWorkOfCopy * (weight_of(a) + weight_of(b)));
            SchemaJson merged = merge_schemas(a, b, place);
            if (merged != false) product.push_back(std::move(merged));
            if (product.size() > kMaxAlternatives)
                throw GrammarError("the schema at '" + place + "' has too many combinations of alternatives");
        }
    }
    result = std::move(product);
}

SchemaAlternatives SchemaFlattener::flatten(const SchemaJson& schema, const std::string& place, int depth) {
    budget_.visit(place, depth);
    if (schema.is_boolean()) return {schema};
    check_keywords(schema, place);
    budget_.spend(kWorkOfCopy * weight_of(schema));
    SchemaAlternatives result{plain_part(schema)};
    if (schema.contains("$ref")) {
        std::string target_place;
        const SchemaJson& target = resolve(schema["$ref"].get<std::string>(), at(place, "$ref"), target_place);
        narrow(result, flatten(target, target_place, depth + 1), place);
    }
    if (schema.contains("allOf")) {
        for (std::size_t i = 0; i < schema["allOf"].size(); ++i)
            narrow(result, flatten(schema["allOf"][i], at(place, "allOf", i), depth + 1), place);
    }
    if (schema.contains("anyOf")) {
        SchemaAlternatives all;
        for (const SchemaAlternatives& option : options_of(schema["anyOf"], at(place, "anyOf"), depth))
            all.insert(all.end(), option.begin(), option.end());
        narrow(result, all, place);
    }
    if (schema.contains("oneOf")) narrow(result, exclusive_options(schema["oneOf"], at(place, "oneOf"), depth), place);
    if (schema.contains("not")) narrow(result, negate(schema["not"], at(place, "not"), depth + 1), place);
    if (schema.contains("if") && (schema.contains("then") || schema.contains("else")))
        narrow(result, conditional(schema, place, depth), place);
    for (const char* keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
        if (!schema.contains(keyword)) continue;
        for (const auto& [name, needs] : schema[keyword].items())
            narrow(result, dependency(name, needs, at(at(place, keyword), name), depth), place);
    }
    if (schema.value("nullable", false)) result.push_back({{"type", "null"}});
    return result;
}

std::vector<SchemaAlternatives> SchemaFlattener::options_of(const SchemaJson& list, const std::string& place, int depth) {
    std::vector<SchemaAlternatives> result;
    for (std::size_t i = 0; i < list.size(); ++i) result.push_back(flatten(list[i], place + "/" + std::to_string(i), depth + 1));
    return result;
}

SchemaAlternatives SchemaFlattener::exclusive_options(const SchemaJson& list, const std::string& place, int depth) {
    const std::vector<SchemaAlternatives> options = options_of(list, place, depth);
    SchemaAlternatives all;
    for (std::size_t i = 0; i < options.size(); ++i) {
        for (const SchemaJson& mine : options[i]) {
            const bool apart = std::ranges::all_of(all, [&](const SchemaJson& other) {
                budget_.spend(comparisons_of(mine, other) + weight_of(mine) + weight_of(other));
                return are_disjoint(mine, other);
            });
            if (!apart) {
                throw GrammarError("the options of '" + place +
                                   "' are not told apart by type or by a required property of its own values: use anyOf");
            }
        }
        all.insert(all.end(), options[i].begin(), options[i].end());
        budget_.visits(all.size());
    }
    return all;
}

SchemaAlternatives SchemaFlattener::conditional(const SchemaJson& schema, const std::string& place, int depth) {
    SchemaAlternatives holds = flatten(schema["if"], at(place, "if"), depth + 1);
    if (schema.contains("then")) narrow(holds, flatten(schema["then"], at(place, "then"), depth + 1), place);
    SchemaAlternatives fails = negate(schema["if"], at(place, "if"), depth + 1);
    if (schema.contains("else")) narrow(fails, flatten(schema["else"], at(place, "else"), depth + 1), place);
    holds.insert(holds.end(), fails.begin(), fails.end());
    return holds;
}

SchemaAlternatives SchemaFlattener::dependency(const std::string& name, const SchemaJson& needs, const std::string& place, int depth) {
    SchemaJson required = SchemaJson::array({name});
    if (needs.is_array()) required.insert(required.end(), needs.begin(), needs.end());
    SchemaAlternatives with;
    with.push_back({{"required", std::move(required)}});
    if (!needs.is_array()) narrow(with, flatten(needs, place, depth + 1), place);
    with.push_back({{"absent", SchemaJson::array({name})}});
    return with;
}

}  // namespace tfserve
