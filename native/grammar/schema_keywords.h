// Which keywords of JSON schema are known, and what their values must be.
#pragma once

#include <string>

#include "grammar/schema_merge.h"

namespace tfserve {

/// Throws GrammarError naming keyword and place for a keyword that is not supported or whose value is not valid. `place` is the schema's
/// JSON pointer. The insides of subschemas are not looked at.
void check_keywords(const SchemaJson& schema, const std::string& place);

/// The schema without what says nothing about values, without $ref, allOf, anyOf, oneOf and nullable, with const as enum and with a
/// list of `items` as prefixItems.
SchemaJson plain_part(const SchemaJson& schema);

}  // namespace tfserve
