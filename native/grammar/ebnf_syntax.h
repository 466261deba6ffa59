// The grammar dialect of docs/structured-output.md.
#pragma once

#include <string_view>

#include "grammar/grammar_builder.h"

namespace tfserve {

/// The texts of the rule `root`. Throws GrammarError naming the line.
ExprId ebnf_expression(GrammarBuilder& builder, std::string_view text);

}  // namespace tfserve
