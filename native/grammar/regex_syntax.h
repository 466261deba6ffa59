// Regular expressions, as patterns of JSON schemas and constraints have them.
#pragma once

#include <functional>
#include <string_view>

#include "grammar/grammar_builder.h"

namespace tfserve {

/// How a set of characters is written where the pattern stands: as it is, or within a JSON string.
using CharWriter = std::function<ExprId(const CharSet&)>;

enum class RegexMatch {
    whole,   ///< the text as a whole; ^ and $ at its ends change nothing
    search,  ///< a part of the text, as JSON schema's `pattern`; ^ and $ bind it to the ends
};

/// The texts that match. Known are characters and escapes, classes, groups, alternatives and quantifiers; what looks elsewhere (back
/// references, \b, looking ahead but for pattern_languages(), looking behind) or depends on tables (\p) is refused. Throws GrammarError
/// naming the position.
ExprId regex_expression(GrammarBuilder& builder, std::string_view pattern, RegexMatch match, const CharWriter& chars);

/// The character classes \d, \w and \s, in ASCII but for \s, which has Unicode's spaces too; nullopt for other letters. Upper case: all
/// others.
std::optional<CharSet> regex_class(char32_t letter);

}  // namespace tfserve
