#include "grammar/grammar_graph.h"

#include <algorithm>
#include <utility>

#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

/// From which nodes the end of their rule can be reached; without `through_symbols`, by reading nothing.
std::vector<bool> nodes_that_end(const GrammarGraph& graph, bool through_symbols) {
    struct Caller {
        NodeId from;
        RuleId rule;
    };
    const std::size_t n = graph.nodes.size();
    std::vector<std::vector<NodeId>> sources(n);
    std::vector<std::vector<Caller>> callers_by_return(n);
    std::vector<std::vector<std::pair<NodeId, NodeId>>> callers_by_entry(n);  // caller, return node
    for (NodeId from = 0; from < n; ++from) {
        const GrammarGraph::Node& node = graph.nodes[from];
        for (const NodeId to : node.moves) sources[to].push_back(from);
        if (through_symbols) {
            for (const auto& edge : node.symbols) sources[edge.target].push_back(from);
        }
        for (const auto& call : node.calls) {
            callers_by_return[call.returns_to].push_back({from, call.rule});
            callers_by_entry[graph.rules[call.rule].entry].emplace_back(from, call.returns_to);
        }
    }
    std::vector<bool> ends(n);
    std::vector<NodeId> todo;
    const auto reach = [&](NodeId node) {
        if (ends[node]) return;
        ends[node] = true;
        todo.push_back(node);
    };
    for (const auto& rule : graph.rules) reach(rule.end);
    while (!todo.empty()) {
        const NodeId node = todo.back();
        todo.pop_back();
        for (const NodeId source : sources[node]) reach(source);
        for (const auto& [from, rule] : callers_by_return[node]) {
            if (ends[graph.rules[rule].entry]) reach(from);
        }
        for (const auto& [from, returns_to] : callers_by_entry[node]) {
            if (ends[returns_to]) reach(from);
        }
    }
    return ends;
}

/// Strongly connected components of the steps that read nothing (Tarjan's algorithm, without recursion). A call that lies within one
/// would be made again and again before anything is read.
class LeftRecursion {
   public:
    LeftRecursion(const GrammarGraph& graph, const std::vector<bool>& completes) : graph_(graph), completes_(completes) {
        nullable_ = nodes_that_end(graph, false);
        const std::size_t n = graph.nodes.size();
        index_.assign(n, 0);
        low_.assign(n, 0);
        component_.assign(n, 0);
    }

    bool found() {
        for (NodeId node = 0; node < graph_.nodes.size(); ++node) {
            if (completes_[node] && index_[node] == 0) visit(node);
        }
        for (NodeId node = 0; node < graph_.nodes.size(); ++node) {
            if (!completes_[node]) continue;
            for (const auto& call : graph_.nodes[node].calls) {
                if (useful(call) && component_[node] == component_[graph_.rules[call.rule].entry]) return true;
            }
        }
        return false;
    }

   private:
    bool useful(const GrammarGraph::Call& call) const { return completes_[call.returns_to] && completes_[graph_.rules[call.rule].entry]; }

    std::vector<NodeId> steps(NodeId node) const {
        std::vector<NodeId> targets;
        for (const NodeId to : graph_.nodes[node].moves) {
            if (completes_[to]) targets.push_back(to);
        }
        for (const auto& call : graph_.nodes[node].calls) {
            if (!useful(call)) continue;
            const NodeId entry = graph_.rules[call.rule].entry;
            targets.push_back(entry);
            if (nullable_[entry]) targets.push_back(call.returns_to);
        }
        return targets;
    }

    void visit(NodeId root) {
        struct Frame {
            NodeId node;
            std::vector<NodeId> targets;
            std::size_t next = 0;
        };
        std::vector<Frame> frames;
        const auto open = [&](NodeId node) {
            index_[node] = low_[node] = ++counter_;
            stack_.push_back(node);
            frames.push_back({node, steps(node)});
        };
        open(root);
        while (!frames.empty()) {
            Frame& frame = frames.back();
            if (frame.next < frame.targets.size()) {
                const NodeId target = frame.targets[frame.next++];
                if (index_[target] == 0) {
                    open(target);
                } else if (component_[target] == 0) {
                    low_[frame.node] = std::min(low_[frame.node], index_[target]);
                }
                continue;
            }
            const NodeId node = frame.node;
            frames.pop_back();
            if (!frames.empty()) low_[frames.back().node] = std::min(low_[frames.back().node], low_[node]);
            if (low_[node] != index_[node]) continue;
            ++num_components_;
            NodeId member;
            do {
                member = stack_.back();
                stack_.pop_back();
                component_[member] = num_components_;
            } while (member != node);
        }
    }

    const GrammarGraph& graph_;
    const std::vector<bool>& completes_;
    std::vector<bool> nullable_;
    std::vector<std::uint32_t> index_, low_, component_;  // 0: not yet
    std::vector<NodeId> stack_;
    std::uint32_t counter_ = 0, num_components_ = 0;
};

void set_classes(Grammar& grammar) {
    const std::size_t num_symbols = kFirstNamed + grammar.named_tokens.size();
    std::vector<bool> begins(num_symbols + 1);
    // unnamed special tokens are no bytes, and each named one is told apart where an edge does so
    begins[0] = begins[kOtherSpecial] = true;
    for (const auto& edge : grammar.symbol_edges) {
        begins[std::min<std::size_t>(edge.first, num_symbols)] = true;
        begins[std::min<std::size_t>(std::size_t{edge.last} + 1, num_symbols)] = true;
    }
    for (std::size_t symbol = 0; symbol < num_symbols; ++symbol) {
        if (begins[symbol]) grammar.representatives.push_back(static_cast<Symbol>(symbol));
        grammar.class_of.push_back(static_cast<std::uint16_t>(grammar.representatives.size() - 1));
    }
}

}  // namespace

NodeId GrammarGraph::add_node() {
    if (nodes.size() >= kMaxGraphNodes) {
        throw GrammarError("the constraint is too large: it has more than " + std::to_string(kMaxGraphNodes) + " states");
    }
    nodes.emplace_back();
    nodes.back().alike = static_cast<NodeId>(nodes.size() - 1);
    return nodes.back().alike;
}

Grammar finish_grammar(const GrammarGraph& graph, std::vector<TokenId> named_tokens) {
    const std::vector<bool> completes = nodes_that_end(graph, true);
    const NodeId root = graph.rules[graph.root].entry;
    if (!completes[root]) throw GrammarError("no text can satisfy the constraint");
    if (LeftRecursion(graph, completes).found()) {
        throw GrammarError("the constraint is left-recursive: a rule refers to itself before anything is written");
    }
    std::vector<NodeId> number(graph.nodes.size(), 0);
    NodeId count = 0;
    for (NodeId node = 0; node < graph.nodes.size(); ++node) {
        if (completes[node]) number[node] = count++;
    }
    std::vector<bool> is_end(graph.nodes.size());
    for (const auto& rule : graph.rules) is_end[rule.end] = true;

    Grammar grammar;
    grammar.named_tokens = std::move(named_tokens);
    grammar.start = number[root];
    const auto begin_node = [&](bool end, NodeId alike) {
        grammar.nodes.push_back({static_cast<std::uint32_t>(grammar.symbol_edges.size()), static_cast<std::uint32_t>(grammar.moves.size()),
                                 static_cast<std::uint32_t>(grammar.calls.size()), end, alike});
    };
    for (NodeId id = 0; id < graph.nodes.size(); ++id) {
        if (!completes[id]) continue;
        const GrammarGraph::Node& node = graph.nodes[id];
        begin_node(is_end[id], number[completes[node.alike] ? node.alike : id]);
        for (const auto& edge : node.symbols) {
            if (completes[edge.target]) grammar.symbol_edges.push_back({edge.first, edge.last, number[edge.target]});
        }
        for (const NodeId to : node.moves) {
            if (completes[to]) grammar.moves.push_back(number[to]);
        }
        for (const auto& call : node.calls) {
            const NodeId entry = graph.rules[call.rule].entry;
            if (completes[call.returns_to] && completes[entry]) grammar.calls.push_back({number[entry], number[call.returns_to]});
        }
    }
    begin_node(false, 0);
    set_classes(grammar);
    return grammar;
}

}  // namespace tfserve
