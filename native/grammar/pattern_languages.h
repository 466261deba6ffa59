// Regular expressions that begin with looking ahead: several languages that a text must be in, or must not be in.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "grammar/regex_syntax.h"
#include "grammar/regular_set.h"

namespace tfserve {

/// How characters are written, for whichever builder an expression is made with.
using CharWriterFor = std::function<CharWriter(GrammarBuilder&)>;

/// A pattern as the languages that make it up: `^(?=a)(?!b)c` is c, and what begins with a, and not what begins with b. Looking ahead is
/// known at the beginning of a pattern only. `pattern` must live as long as what is returned. Throws GrammarError.
std::vector<RegularLanguage> pattern_languages(std::string_view pattern, RegexMatch match, const CharWriterFor& chars);

/// The texts that are in all of the languages.
ExprId languages_expression(GrammarBuilder& builder, const std::vector<RegularLanguage>& languages);

}  // namespace tfserve
