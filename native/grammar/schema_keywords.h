// Which keywords of JSON schema are known, and what their values must be.
#pragma once

#include <string>
#include <string_view>

#include "grammar/schema_merge.h"

namespace tfserve {

/// Throws GrammarError naming keyword and place for a keyword that is not supported or whose value is not valid. `place` is the schema's
/// JSON pointer. The insides of subschemas are not looked at.
void check_keywords(const SchemaJson& schema, const std::string& place);

/// Of a keyword that check_keywords() lets pass: it says nothing about values.
bool says_nothing(const std::string& name);

/// Whether a schema has keywords that combine other schemas, besides `but`.
bool combines(const SchemaJson& schema, std::string_view but);

/// The schema without what says nothing about values and without what combines other schemas, with const as enum and with a list of `items`
/// as prefixItems. Where others are multiplied out two more words join the plain ones: `not`, with `enum` (values) and `patterns` that are
/// excluded, and `absent`, the names of members that must not be there.
SchemaJson plain_part(const SchemaJson& schema);

}  // namespace tfserve
