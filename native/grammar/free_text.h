// Free text that ends with a word, or lacks some.
#pragma once

#include <string>
#include <vector>

#include "grammar/grammar_builder.h"

namespace tfserve {

/// Texts in whose every place some words are looked for. Special tokens may stand in them, and those that spell a word, or a part of one,
/// count as it.
struct FreeText {
    std::vector<std::string> until;    ///< the text ends with the first occurrence of one of them; none: it ends anywhere
    std::vector<std::string> without;  ///< occur nowhere in it; one that ends where a word of `until` ends goes before that
};

/// Throws GrammarError for an empty word and for words that are too long in all.
ExprId free_text(GrammarBuilder& builder, const TokenTable* tokens, const FreeText& text);

}  // namespace tfserve
