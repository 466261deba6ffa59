// The tree of constraints that src/engine/constraint.ts describes, read from JSON.
#pragma once

#include <string_view>

#include "grammar/grammar_builder.h"

namespace tfserve {

/// The texts of a tree, given as JSON text. `tokens`: the vocabulary, for its special tokens. Everything is checked anew. Throws
/// GrammarError with a sentence for whoever wrote it.
ExprId constraint_expression(GrammarBuilder& builder, const TokenTable* tokens, std::string_view json);

}  // namespace tfserve
