// Texts that are in several regular languages at once.
#pragma once

#include <functional>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/grammar_builder.h"

namespace tfserve {

/// A language, said by an expression that it is given a builder for. Without calls of rules it did not make itself.
struct RegularLanguage {
    std::function<ExprId(GrammarBuilder&)> make;
    bool excluded = false;  ///< the texts that are not in it
};

/// The texts that are in all languages, at least one of which is not excluded. All are followed side by side, so the states multiply;
/// throws GrammarError when there are too many.
ExprId in_all_of(GrammarBuilder& builder, const std::vector<RegularLanguage>& languages);

/// Whether there is any such text. Throws as in_all_of(); `builder` bears the cost, and nothing is added to it.
bool have_common_text(GrammarBuilder& builder, const std::vector<RegularLanguage>& languages);

/// A language's own automaton, for texts to be tried. The same about `builder`.
Automaton automaton_of(GrammarBuilder& builder, const RegularLanguage& language);

}  // namespace tfserve
