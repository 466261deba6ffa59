// A compiled grammar: a pushdown automaton over bytes and special tokens. Plain data, immutable once made.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "engine/types.h"

namespace tfserve {

/// What the automaton reads: a byte (0 .. 255), a special token that the grammar does not name (kOtherSpecial), or one that it
/// names (kFirstNamed + index into Grammar::named_tokens).
using Symbol = std::uint16_t;
inline constexpr Symbol kOtherSpecial = 256;
inline constexpr Symbol kFirstNamed = 257;
inline constexpr Symbol kLastSymbol = std::numeric_limits<Symbol>::max();

/// How far places in a long row of copies are told apart by how many copies are left.
inline constexpr std::uint32_t kAlikeBytes = 32;

using NodeId = std::uint32_t;
using RuleId = std::uint32_t;

/// Every rule is a part of the graph with an entry and one end node. A call reads what the rule reads and goes on at its return node.
/// Pruned: from every node that is left, the end of its rule can be reached, so that a text that has been followed so far can always
/// be completed. Nothing calls itself before it has read a symbol.
struct Grammar {
    struct SymbolEdge {
        Symbol first, last;  ///< both included
        NodeId target;
    };
    struct CallEdge {
        NodeId entry;
        NodeId returns_to;
    };
    struct Node {
        std::uint32_t symbols = 0, moves = 0, calls = 0;  ///< where its edges begin; they end where the next node's begin
        bool is_end = false;
        NodeId alike = 0;  ///< for any text of up to kAlikeBytes bytes, what can follow here can follow there, and the other way round
    };

    std::vector<Node> nodes;  ///< and one more, that only says where the last edges end
    std::vector<SymbolEdge> symbol_edges;
    std::vector<NodeId> moves;  ///< edges that read nothing
    std::vector<CallEdge> calls;
    NodeId start = 0;
    std::vector<TokenId> named_tokens;

    std::vector<std::uint16_t> class_of;  ///< by symbol, up to the last named one: symbols that no edge tells apart share a class
    std::vector<Symbol> representatives;  ///< a symbol of every class

    std::size_t num_nodes() const { return nodes.size() - 1; }
    /// Only the return to the caller is left: a call that goes on here need not come back.
    bool only_ends(NodeId id) const {
        const Node& node = nodes[id];
        const Node& next = nodes[id + 1];
        return node.is_end && node.symbols == next.symbols && node.moves == next.moves && node.calls == next.calls;
    }
};

}  // namespace tfserve
