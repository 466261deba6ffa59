// Grammars as expressions, and their way to a pushdown automaton.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/char_set.h"
#include "grammar/grammar.h"
#include "text/token_table.h"

namespace tfserve {

using ExprId = std::uint32_t;

/// Repeats without a limit.
inline constexpr std::uint32_t kNoLimit = std::numeric_limits<std::uint32_t>::max();

/// Expressions are made bottom up; each may be used several times, and every use is a copy in the automaton. Rules are shared instead,
/// and may be used before they are defined. Everything is bounded; past a bound a GrammarError is thrown.
class GrammarBuilder {
   public:
    /// `tokens`: where literals find special tokens; null: there are none.
    explicit GrammarBuilder(const TokenTable* tokens = nullptr);

    ExprId empty();  ///< the empty text
    ExprId never();  ///< no text at all
    ExprId symbols(Symbol first, Symbol last);
    ExprId chars(CharSet set);
    ExprId bytes(std::string_view text);
    /// A text in which the text of a special token stands for that token as well.
    ExprId literal(std::string_view text);
    /// The symbol by which a special token is told apart from the others.
    Symbol symbol_of(TokenId token);
    ExprId sequence(std::vector<ExprId> parts);
    ExprId any_of(std::vector<ExprId> options);
    ExprId repeat(ExprId item, std::uint32_t min, std::uint32_t max = kNoLimit);
    ExprId optional(ExprId item) { return repeat(item, 0, 1); }
    ExprId call(RuleId rule);

    RuleId new_rule();
    void define(RuleId rule, ExprId body);
    /// A new rule for an expression, called.
    ExprId shared(ExprId body);

    /// Work beside the building, in units of some ten nanoseconds; throws when it becomes too much for one grammar.
    void spend(std::size_t work);

    /// Compiles. The builder is used up.
    Grammar build(ExprId root);

   private:
    friend class Lowering;
    enum class Kind : std::uint8_t { sequence, any_of, repeat, symbols, chars, literal, call };
    struct Expr {
        Kind kind;
        std::uint32_t a = 0, b = 0;  ///< first and last symbol; min and max; index of the set or text; the rule
        std::vector<ExprId> parts;
        std::uint32_t size = 1;  ///< about how many nodes a copy of it has
    };
    ExprId add(Expr expr);

    std::vector<Expr> exprs_;
    std::vector<CharSet> sets_;
    std::vector<std::string> texts_;
    std::vector<std::optional<ExprId>> rules_;
    std::unordered_multimap<std::string_view, TokenId> specials_;  // by text
    std::map<char, std::set<std::size_t>> special_lengths_;        // of those texts, by first byte
    std::vector<TokenId> named_;
    std::size_t work_ = 0;
};

}  // namespace tfserve
