// JSON schemas as grammars.
#pragma once

#include "grammar/grammar_builder.h"
#include "grammar/json_rules.h"
#include "grammar/schema_merge.h"

namespace tfserve {

/// JSON that validates against a schema; which of it is written, and which keywords are known, is in docs/structured-output.md. What is not
/// known is refused. Throws GrammarError naming keyword and place (a JSON pointer).
ExprId schema_expression(GrammarBuilder& builder, const SchemaJson& schema, JsonWhitespace whitespace);

}  // namespace tfserve
