// What two JSON schemas ask for together.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tfserve {

using SchemaJson = nlohmann::ordered_json;

/// A schema that two schemas imply together; both of plain keywords at their own level (see plain_part(); inside them anything may stand,
/// and allOf comes to stand). false where nothing satisfies both. Throws GrammarError naming `place` where it cannot be said.
SchemaJson merge_schemas(const SchemaJson& a, const SchemaJson& b, const std::string& place);

/// Both schemas as one, whatever they are.
SchemaJson both_of(const SchemaJson& a, const SchemaJson& b);

/// Whether no value satisfies both, as far as types, enumerations and required properties show it. Schemas as in merge_schemas.
bool are_disjoint(const SchemaJson& a, const SchemaJson& b);

/// How many values there are in a JSON value, itself included, and pieces of 16 bytes of its texts: what a copy costs.
std::size_t weight_of(const SchemaJson& value);

/// What are_disjoint costs, and merge_schemas besides copies, about: a quarter of the names that are compared at most.
std::size_t comparisons_of(const SchemaJson& a, const SchemaJson& b);

/// JSON schema's name of a value's type; "integer" for whole numbers.
std::string type_of(const SchemaJson& value);

/// Whether a schema's `type` (a name or a list, absent: all) takes values of a type.
bool takes_type(const SchemaJson& schema, const std::string& type);

/// Whether of all numbers a schema takes only those that are not whole, which no name of a type says. Schemas as SchemaFlattener makes
/// them.
bool excludes_integers(const SchemaJson& schema);

}  // namespace tfserve
