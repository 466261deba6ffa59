// Free text that ends with a word.
#pragma once

#include <string>
#include <vector>

#include "grammar/grammar_builder.h"

namespace tfserve {

/// Any text up to and including the first occurrence of one of the words, none of which is empty; special tokens may stand in it, and
/// those that spell a word, or a part of one, count as it.
ExprId text_until(GrammarBuilder& builder, const TokenTable* tokens, const std::vector<std::string>& words);

}  // namespace tfserve
