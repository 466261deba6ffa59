// A grammar over a vocabulary: which tokens may come next.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/token_trie.h"
#include "sampling/token_constraint.h"
#include "text/token_table.h"

namespace tfserve {

/// A vocabulary as grammars see it.
struct GrammarVocabulary {
    GrammarVocabulary(std::shared_ptr<const TokenTable> table, std::int32_t vocab_size)
        : table(std::move(table)), trie(*this->table, vocab_size) {}
    std::shared_ptr<const TokenTable> table;
    TokenTrie trie;
};

/// The automaton and the masks of its states are shared by all sequences and made as they are needed, within bounds.
class CompiledConstraint final : public ConstraintSource {
   public:
    CompiledConstraint(Grammar grammar, std::shared_ptr<const GrammarVocabulary> vocabulary);
    ~CompiledConstraint() override;

    std::unique_ptr<TokenConstraint> start() const override;
    /// Whether the vocabulary can write a beginning of what is asked for.
    bool has_first_token() const;
    /// Bytes, about, with all that is remembered of it so far.
    std::size_t memory() const override;

   private:
    friend class ConstraintMatcher;
    struct Shared;
    std::shared_ptr<Shared> shared_;
};

}  // namespace tfserve
