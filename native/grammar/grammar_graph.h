// The graph between expressions and the compiled grammar: what can be pruned, what is refused.
#pragma once

#include <vector>

#include "grammar/grammar.h"

namespace tfserve {

inline constexpr std::uint32_t kMaxGraphNodes = 1U << 18;

struct GrammarGraph {
    struct Call {
        RuleId rule;
        NodeId returns_to;
    };
    struct Node {
        std::vector<Grammar::SymbolEdge> symbols;
        std::vector<NodeId> moves;
        std::vector<Call> calls;
        NodeId alike = 0;  ///< see Grammar::Node; itself, where no other is known
    };
    struct Rule {
        NodeId entry, end;
    };

    std::vector<Node> nodes;
    std::vector<Rule> rules;
    RuleId root = 0;

    /// Throws GrammarError when there are too many.
    NodeId add_node();
    void add_symbols(NodeId from, Grammar::SymbolEdge edge) { nodes[from].symbols.push_back(edge); }
    void add_move(NodeId from, NodeId to) {
        if (from != to) nodes[from].moves.push_back(to);
    }
    void add_call(NodeId from, RuleId rule, NodeId returns_to) { nodes[from].calls.push_back({rule, returns_to}); }
};

/// Prunes what can never be completed, and packs the rest. Throws GrammarError when nothing is left, or when a rule can call itself
/// before it has read anything.
Grammar finish_grammar(const GrammarGraph& graph, std::vector<TokenId> named_tokens);

}  // namespace tfserve
