// Strings and numbers that satisfy the plain keywords of a schema.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "grammar/json_rules.h"
#include "grammar/regular_set.h"
#include "grammar/schema_merge.h"

namespace tfserve {

/// Schemas as plain_part() makes them. All throw GrammarError naming keyword and `place`.
ExprId string_expression(GrammarBuilder& builder, JsonRules& json, const SchemaJson& schema, const std::string& place);
ExprId integer_expression(GrammarBuilder& builder, JsonRules& json, const SchemaJson& schema, const std::string& place);
ExprId number_expression(GrammarBuilder& builder, JsonRules& json, const SchemaJson& schema, const std::string& place);

/// What stands between the quotes of a string, each character written in one way only, as languages that hold together; none: any string.
std::vector<RegularLanguage> string_languages(const SchemaJson& schema, const std::string& place);

/// Any content of a string, in the same writing.
RegularLanguage any_string();
/// Strings out of a list, in the same writing.
RegularLanguage listed_strings(std::vector<std::string> texts);
/// Strings in which the pattern is found.
std::vector<RegularLanguage> matching_strings(const std::string& pattern, const std::string& place);

/// A count of a schema's keyword.
std::uint32_t count_or(const SchemaJson& schema, const char* name, std::uint32_t fallback);

}  // namespace tfserve
