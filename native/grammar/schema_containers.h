// Arrays and objects that satisfy the plain keywords of a schema.
#pragma once

#include <functional>
#include <string>

#include "grammar/json_rules.h"
#include "grammar/schema_flatten.h"

namespace tfserve {

/// What arrays and objects are made with. `compile` makes the values of a schema that may combine others.
struct SchemaPieces {
    GrammarBuilder& builder;
    JsonRules& json;
    SchemaFlattener& flattener;
    std::function<ExprId(const SchemaJson& schema, const std::string& place, int depth)> compile;
};

/// Schemas as SchemaFlattener gives them. Both throw GrammarError naming keyword and `place`.
ExprId array_expression(const SchemaPieces& pieces, const SchemaJson& schema, const std::string& place, int depth);
ExprId object_expression(const SchemaPieces& pieces, const SchemaJson& schema, const std::string& place, int depth);

}  // namespace tfserve
