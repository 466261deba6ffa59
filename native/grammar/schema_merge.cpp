#include "grammar/schema_merge.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <set>
#include <vector>

#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

constexpr std::array<const char*, 7> kTypes{"null", "boolean", "integer", "number", "string", "array", "object"};

bool names_type(const SchemaJson& types, const std::string& type) {
    if (types.is_string()) return types == type;
    return std::ranges::any_of(types, [&](const SchemaJson& one) { return one == type; });
}

const SchemaJson& member_or(const SchemaJson& schema, const char* name, const SchemaJson& fallback) {
    const auto it = schema.find(name);
    return it == schema.end() ? fallback : *it;
}

bool has_name(const SchemaJson& names, const std::string& name) {
    return std::ranges::any_of(names, [&](const SchemaJson& one) { return one == name; });
}

const SchemaJson kAnything = true;
const SchemaJson kNothing = false;
const SchemaJson kNone = SchemaJson::array();
const SchemaJson kNoMembers = SchemaJson::object();

/// Some values, to be found quickly among many.
class ValueSet {
   public:
    explicit ValueSet(const SchemaJson& list) {
        for (const SchemaJson& value : list) values_.insert(&value);
    }
    bool contains(const SchemaJson& value) const { return values_.contains(&value); }

   private:
    struct Less {
        bool operator()(const SchemaJson* a, const SchemaJson* b) const { return *a < *b; }
    };
    std::set<const SchemaJson*, Less> values_;
};

bool share_values(const SchemaJson& a, const SchemaJson& b) {
    const ValueSet others(b);
    return std::ranges::any_of(a, [&](const SchemaJson& value) { return others.contains(value); });
}

/// What a schema asks of a property.
const SchemaJson& asked_of(const SchemaJson& schema, const std::string& name) {
    if (has_name(member_or(schema, "absent", kNone), name)) return kNothing;
    const auto properties = schema.find("properties");
    if (properties != schema.end() && properties->contains(name)) return (*properties)[name];
    // where patterns say something of it, nothing is known
    if (schema.contains("patternProperties")) return kAnything;
    return member_or(schema, "additionalProperties", kAnything);
}

/// What a schema asks of the i-th element.
const SchemaJson& asked_of(const SchemaJson& schema, std::size_t i) {
    const auto prefix = schema.find("prefixItems");
    if (prefix != schema.end() && i < prefix->size()) return (*prefix)[i];
    return member_or(schema, "items", kAnything);
}

/// The values of two lists, each once.
void merge_lists(const SchemaJson& a, const SchemaJson& b, const char* keyword, SchemaJson& result) {
    if (!a.contains(keyword) && !b.contains(keyword)) return;
    SchemaJson all = member_or(a, keyword, kNone);
    const ValueSet known(member_or(a, keyword, kNone));
    for (const SchemaJson& value : member_or(b, keyword, kNone)) {
        if (!known.contains(value)) all.push_back(value);
    }
    result[keyword] = std::move(all);
}

/// What a schema says of members that are matched by a pattern of the other one would depend on the member.
void merge_patterns(const SchemaJson& a, const SchemaJson& b, const std::string& place, SchemaJson& result) {
    if (!a.contains("patternProperties") && !b.contains("patternProperties")) return;
    const auto closes = [](const SchemaJson& schema) { return member_or(schema, "additionalProperties", kAnything) != true; };
    const auto declares = [](const SchemaJson& schema) { return schema.contains("properties") || schema.contains("patternProperties"); };
    if ((closes(a) && (declares(b) || closes(b))) || (closes(b) && declares(a))) {
        throw GrammarError("'patternProperties' and 'additionalProperties' in different schemas that must hold together at '" + place +
                           "' are not supported: write them into one");
    }
    SchemaJson patterns = member_or(a, "patternProperties", kNoMembers);
    for (const auto& [pattern, schema] : member_or(b, "patternProperties", kNoMembers).items())
        patterns[pattern] = patterns.contains(pattern) ? both_of(patterns[pattern], schema) : schema;
    result["patternProperties"] = std::move(patterns);
}

/// Values and patterns that either excludes, and whole numbers.
void merge_excluded(const SchemaJson& a, const SchemaJson& b, SchemaJson& result) {
    if (!a.contains("not") && !b.contains("not")) return;
    SchemaJson excluded = SchemaJson::object();
    for (const char* kind : {"enum", "patterns"})
        merge_lists(member_or(a, "not", kNoMembers), member_or(b, "not", kNoMembers), kind, excluded);
    if (excludes_integers(a) || excludes_integers(b)) excluded["integers"] = true;
    result["not"] = std::move(excluded);
}

/// The least common multiple of two factors, where both are whole numbers or one is a multiple of the other.
void merge_factors(const SchemaJson& a, const SchemaJson& b, const std::string& place, SchemaJson& result) {
    if (!a.contains("multipleOf") || !b.contains("multipleOf")) {
        if (a.contains("multipleOf") || b.contains("multipleOf"))
            result["multipleOf"] = a.contains("multipleOf") ? a["multipleOf"] : b["multipleOf"];
        return;
    }
    const SchemaJson &x = a["multipleOf"], &y = b["multipleOf"];
    constexpr std::int64_t kLargest = 1'000'000'000;
    const auto whole = [](const SchemaJson& value) { return value.is_number_integer() && value <= kLargest; };
    if (x == y) {
        result["multipleOf"] = x;
    } else if (whole(x) && whole(y)) {
        result["multipleOf"] = std::lcm(x.get<std::int64_t>(), y.get<std::int64_t>());
    } else {
        throw GrammarError("two different values of 'multipleOf' that must hold together at '" + place + "' are not supported");
    }
}

void merge_objects(const SchemaJson& a, const SchemaJson& b, const std::string& place, SchemaJson& result) {
    merge_patterns(a, b, place, result);
    SchemaJson properties = SchemaJson::object();
    for (const SchemaJson* from : {&a, &b}) {
        const SchemaJson& members = member_or(*from, "properties", kNoMembers);
        for (const auto& [name, schema] : members.items()) {
            if (!properties.contains(name)) properties[name] = both_of(asked_of(a, name), asked_of(b, name));
        }
    }
    if (a.contains("properties") || b.contains("properties")) result["properties"] = std::move(properties);
    if (a.contains("additionalProperties") || b.contains("additionalProperties")) {
        result["additionalProperties"] =
            both_of(member_or(a, "additionalProperties", kAnything), member_or(b, "additionalProperties", kAnything));
    }
    merge_lists(a, b, "required", result);
    merge_lists(a, b, "absent", result);
}

void merge_arrays(const SchemaJson& a, const SchemaJson& b, SchemaJson& result) {
    const std::size_t prefix = std::max(member_or(a, "prefixItems", kNone).size(), member_or(b, "prefixItems", kNone).size());
    if (prefix > 0) {
        SchemaJson list = SchemaJson::array();
        for (std::size_t i = 0; i < prefix; ++i) list.push_back(both_of(asked_of(a, i), asked_of(b, i)));
        result["prefixItems"] = std::move(list);
    }
    if (a.contains("items") || b.contains("items")) {
        result["items"] = both_of(member_or(a, "items", kAnything), member_or(b, "items", kAnything));
    }
}

void merge_bound(const SchemaJson& a, const SchemaJson& b, const char* name, bool largest, SchemaJson& result) {
    const auto in_a = a.find(name), in_b = b.find(name);
    if (in_a == a.end() && in_b == b.end()) return;
    if (in_a == a.end() || in_b == b.end()) {
        result[name] = in_a == a.end() ? *in_b : *in_a;
        return;
    }
    result[name] = (*in_a < *in_b) == largest ? *in_b : *in_a;
}

/// The keyword of both, which must be the same.
void merge_equal(const SchemaJson& a, const SchemaJson& b, const char* name, const std::string& place, SchemaJson& result) {
    if (a.contains(name) && b.contains(name) && a[name] != b[name]) {
        throw GrammarError("two different values of '" + std::string(name) + "' that must hold together at '" + place +
                           "' are not supported");
    }
    if (a.contains(name) || b.contains(name)) result[name] = a.contains(name) ? a[name] : b[name];
}

/// How often `contains` counts says nothing where that is absent, and at least once where nothing is said.
void merge_counted(const SchemaJson& a, const SchemaJson& b, const std::string& place, SchemaJson& result) {
    merge_equal(a, b, "contains", place, result);
    const auto counts = [](const SchemaJson& schema) {
        SchemaJson own = SchemaJson::object();
        if (!schema.contains("contains")) return own;
        own["minContains"] = schema.value("minContains", SchemaJson(1));
        if (schema.contains("maxContains")) own["maxContains"] = schema["maxContains"];
        return own;
    };
    const SchemaJson of_a = counts(a), of_b = counts(b);
    merge_bound(of_a, of_b, "minContains", true, result);
    merge_bound(of_a, of_b, "maxContains", false, result);
}

/// false: no type satisfies both.
bool merge_types(const SchemaJson& a, const SchemaJson& b, SchemaJson& result) {
    if (!a.contains("type") && !b.contains("type")) return true;
    SchemaJson types = SchemaJson::array();
    for (const char* type : kTypes) {
        const bool named = (a.contains("type") && names_type(a["type"], type)) || (b.contains("type") && names_type(b["type"], type));
        if (named && takes_type(a, type) && takes_type(b, type)) types.push_back(type);
    }
    if (types.empty()) return false;
    result["type"] = std::move(types);
    return true;
}

}  // namespace

std::size_t weight_of(const SchemaJson& value) {
    std::size_t weight = 1;
    if (value.is_string()) return weight + value.get_ref<const std::string&>().size() / 16;
    if (!value.is_structured()) return weight;
    for (const auto& [name, member] : value.items()) weight += weight_of(member) + name.size() / 16;
    return weight;
}

std::size_t comparisons_of(const SchemaJson& a, const SchemaJson& b) {
    const auto required = [](const SchemaJson& s) { return s.is_object() ? member_or(s, "required", kNone).size() : 0; };
    const auto declared = [](const SchemaJson& s) { return s.is_object() ? member_or(s, "properties", kNoMembers).size() : 0; };
    const std::size_t required_names = required(a) + required(b);
    return 16 + required_names * (required_names + declared(a) + declared(b)) / 4;
}

std::string type_of(const SchemaJson& value) {
    if (value.is_null()) return "null";
    if (value.is_boolean()) return "boolean";
    if (value.is_number_integer()) return "integer";
    if (value.is_number()) {
        const double number = value.get<double>();
        return number == static_cast<double>(static_cast<long long>(std::clamp(number, -9e15, 9e15))) ? "integer" : "number";
    }
    return value.is_string() ? "string" : value.is_array() ? "array" : "object";
}

bool takes_type(const SchemaJson& schema, const std::string& type) {
    const auto types = schema.find("type");
    if (type == "integer" && excludes_integers(schema)) return false;
    if (types == schema.end()) return true;
    return names_type(*types, type) || (type == "integer" && names_type(*types, "number"));
}

bool excludes_integers(const SchemaJson& schema) {
    const auto excluded = schema.find("not");
    return excluded != schema.end() && excluded->contains("integers");
}

SchemaJson both_of(const SchemaJson& a, const SchemaJson& b) {
    if (a == b || b == true) return a;
    if (a == true) return b;
    if (a == false || b == false) return false;
    return {{"allOf", SchemaJson::array({a, b})}};
}

SchemaJson merge_schemas(const SchemaJson& a, const SchemaJson& b, const std::string& place) {
    if (a.is_boolean() || b.is_boolean()) return both_of(a, b);
    SchemaJson result = SchemaJson::object();
    if (!merge_types(a, b, result)) return false;
    merge_objects(a, b, place, result);
    merge_excluded(a, b, result);
    merge_factors(a, b, place, result);
    merge_arrays(a, b, result);
    if (a.value("uniqueItems", false) || b.value("uniqueItems", false)) result["uniqueItems"] = true;
    for (const char* name : {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
        merge_bound(a, b, name, true, result);
    for (const char* name : {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
        merge_bound(a, b, name, false, result);
    for (const char* name : {"pattern", "format", "propertyNames"}) merge_equal(a, b, name, place, result);
    merge_counted(a, b, place, result);
    if (a.contains("enum") && b.contains("enum")) {
        SchemaJson values = SchemaJson::array();
        const ValueSet others(b["enum"]);
        for (const SchemaJson& value : a["enum"]) {
            if (others.contains(value)) values.push_back(value);
        }
        result["enum"] = std::move(values);
    } else if (a.contains("enum") || b.contains("enum")) {
        result["enum"] = a.contains("enum") ? a["enum"] : b["enum"];
    }
    return result;
}

bool are_disjoint(const SchemaJson& a, const SchemaJson& b) {
    if (a == false || b == false) return true;
    if (a.is_boolean() || b.is_boolean()) return false;
    const auto takes = [](const SchemaJson& schema, const std::string& type) {
        if (!takes_type(schema, type)) return false;
        const auto values = schema.find("enum");
        return values == schema.end() || std::ranges::any_of(*values, [&](const SchemaJson& value) {
                   return type_of(value) == type || (type == "number" && type_of(value) == "integer");
               });
    };
    const bool share_other =
        std::ranges::any_of(kTypes, [&](const std::string& type) { return type != "object" && takes(a, type) && takes(b, type); });
    const bool both_listed = a.contains("enum") && b.contains("enum");
    if (both_listed) return !share_values(a["enum"], b["enum"]);
    if (share_other) return false;
    if (!takes(a, "object") || !takes(b, "object")) return true;
    const auto is_required = [](const SchemaJson& schema, const std::string& name) {
        return has_name(member_or(schema, "required", kNone), name);
    };
    for (const auto& [left, right] : {std::pair(&a, &b), std::pair(&b, &a)}) {
        for (const SchemaJson& name : member_or(*left, "required", kNone)) {
            if (!name.is_string()) continue;  // inner schemas have not been checked yet
            const SchemaJson& mine = asked_of(*left, name.get<std::string>());
            const SchemaJson& theirs = asked_of(*right, name.get<std::string>());
            if (theirs == false) return true;
            const auto plain = [](SchemaJson schema) {
                if (schema.is_object() && schema.contains("const")) schema["enum"] = SchemaJson::array({schema["const"]});
                return schema;
            };
            // what else stands in a schema only narrows it, but for `nullable`
            const auto decided = [](const SchemaJson& schema) {
                return schema.is_object() && !schema.contains("nullable") && (schema.contains("enum") || schema.contains("type"));
            };
            const SchemaJson x = plain(mine), y = plain(theirs);
            // a property that may be absent on one side is no difference
            if (is_required(*right, name) && decided(x) && decided(y) && are_disjoint(x, y)) return true;
        }
    }
    return false;
}

}  // namespace tfserve
