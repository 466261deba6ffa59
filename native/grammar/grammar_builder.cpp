#include "grammar/grammar_builder.h"

#include <algorithm>

#include "grammar/grammar_error.h"
#include "grammar/grammar_graph.h"

namespace tfserve {

namespace {

constexpr std::size_t kMaxExprs = std::size_t{1} << 19;
constexpr std::size_t kMaxNamed = 1024;
constexpr std::size_t kMaxWork = std::size_t{1} << 27;
/// Copies of an expression of more nodes than this are calls of one rule.
constexpr std::uint32_t kSmallCopy = 3;

}  // namespace

GrammarBuilder::GrammarBuilder(const TokenTable* tokens) {
    if (tokens == nullptr) return;
    for (TokenId id = 0; id < tokens->size(); ++id) {
        const std::string_view text = tokens->bytes(id);
        if (!tokens->is_special(id) || text.empty()) continue;
        specials_.emplace(text, id);
        special_lengths_[text.front()].insert(text.size());
    }
}

ExprId GrammarBuilder::add(Expr expr) {
    if (exprs_.size() >= kMaxExprs) throw GrammarError("the constraint is too large");
    exprs_.push_back(std::move(expr));
    return static_cast<ExprId>(exprs_.size() - 1);
}

ExprId GrammarBuilder::empty() { return add({Kind::sequence, 0, 0, {}}); }

ExprId GrammarBuilder::never() { return add({Kind::any_of, 0, 0, {}}); }

ExprId GrammarBuilder::symbols(Symbol first, Symbol last) { return add({Kind::symbols, first, last, {}}); }

ExprId GrammarBuilder::chars(CharSet set) {
    sets_.push_back(std::move(set));
    const std::uint32_t size = sets_.back().ranges().empty() || sets_.back().ranges().back().last < 0x80 ? 1 : 8;
    return add({Kind::chars, static_cast<std::uint32_t>(sets_.size() - 1), 0, {}, size});
}

ExprId GrammarBuilder::bytes(std::string_view text) {
    std::vector<ExprId> parts;
    for (const char c : text) parts.push_back(symbols(static_cast<unsigned char>(c), static_cast<unsigned char>(c)));
    return sequence(std::move(parts));
}

ExprId GrammarBuilder::literal(std::string_view text) {
    const bool has_special = std::ranges::any_of(text, [this](char c) { return special_lengths_.contains(c); });
    if (!has_special) return bytes(text);
    texts_.emplace_back(text);
    const auto index = static_cast<std::uint32_t>(texts_.size() - 1);
    return add({Kind::literal, index, 0, {}, static_cast<std::uint32_t>(text.size())});
}

ExprId GrammarBuilder::sequence(std::vector<ExprId> parts) {
    if (parts.size() == 1) return parts.front();
    std::uint64_t size = 1;
    for (const ExprId part : parts) size += exprs_[part].size;
    return add({Kind::sequence, 0, 0, std::move(parts), static_cast<std::uint32_t>(std::min<std::uint64_t>(size, kMaxGraphNodes))});
}

ExprId GrammarBuilder::any_of(std::vector<ExprId> options) {
    if (options.size() == 1) return options.front();
    std::uint64_t size = 1;
    for (const ExprId option : options) size += exprs_[option].size;
    return add({Kind::any_of, 0, 0, std::move(options), static_cast<std::uint32_t>(std::min<std::uint64_t>(size, kMaxGraphNodes))});
}

ExprId GrammarBuilder::repeat(ExprId item, std::uint32_t min, std::uint32_t max) {
    if (min > max) return never();
    if (max == 0) return empty();
    if (min == 1 && max == 1) return item;
    const std::uint64_t copies = max == kNoLimit ? std::uint64_t{min} + 1 : max;
    if (copies > 2 && exprs_[item].size > (copies > kAlikeBytes ? 1 : kSmallCopy)) item = shared(item);
    const std::uint64_t size = std::min<std::uint64_t>(copies * exprs_[item].size, kMaxGraphNodes);
    return add({Kind::repeat, min, max, {item}, static_cast<std::uint32_t>(size)});
}

ExprId GrammarBuilder::call(RuleId rule) { return add({Kind::call, rule, 0, {}}); }

RuleId GrammarBuilder::new_rule() {
    if (rules_.size() >= kMaxExprs) throw GrammarError("the constraint has too many rules");
    rules_.emplace_back();
    return static_cast<RuleId>(rules_.size() - 1);
}

void GrammarBuilder::define(RuleId rule, ExprId body) { rules_.at(rule) = body; }

ExprId GrammarBuilder::shared(ExprId body) {
    if (exprs_[body].kind == Kind::call) return body;
    const RuleId rule = new_rule();
    define(rule, body);
    return call(rule);
}

void GrammarBuilder::spend(std::size_t work) {
    work_ += work;
    if (work_ > kMaxWork) throw GrammarError("the constraint takes too long to compile: too much of it must hold for one text together");
}

Symbol GrammarBuilder::symbol_of(TokenId token) {
    auto it = std::ranges::find(named_, token);
    if (it == named_.end()) {
        if (named_.size() >= kMaxNamed) throw GrammarError("the constraint names too many special tokens");
        it = named_.insert(named_.end(), token);
    }
    return static_cast<Symbol>(kFirstNamed + (it - named_.begin()));
}

/// Turns expressions into the graph's nodes and edges.
class Lowering {
   public:
    explicit Lowering(GrammarBuilder& builder) : builder_(builder) {
        // one by one: literals of a rule's body may name tokens, but no rule is made any more
        for (std::size_t i = 0; i < builder.rules_.size(); ++i) graph_.rules.push_back({graph_.add_node(), graph_.add_node()});
    }

    GrammarGraph run(ExprId root) {
        for (std::size_t i = 0; i < builder_.rules_.size(); ++i) {
            const auto& body = builder_.rules_[i];
            if (body) lower(*body, graph_.rules[i].entry, graph_.rules[i].end, 0);
        }
        graph_.root = static_cast<RuleId>(graph_.rules.size());
        graph_.rules.push_back({graph_.add_node(), graph_.add_node()});
        lower(root, graph_.rules.back().entry, graph_.rules.back().end, 0);
        return std::move(graph_);
    }

   private:
    using Kind = GrammarBuilder::Kind;

    /// Paths from `from` to `to` that read what the expression reads. Loops run through nodes of their own, so that paths of
    /// neighbours that share `from` or `to` cannot enter them.
    void lower(ExprId id, NodeId from, NodeId to, int depth) {
        constexpr int kMaxNesting = 2000;
        if (depth > kMaxNesting) throw GrammarError("the constraint is nested too deep");
        const GrammarBuilder::Expr& expr = builder_.exprs_[id];
        switch (expr.kind) {
            case Kind::symbols: return graph_.add_symbols(from, {static_cast<Symbol>(expr.a), static_cast<Symbol>(expr.b), to});
            case Kind::chars: return lower_chars(builder_.sets_[expr.a], from, to);
            case Kind::literal: return lower_literal(builder_.texts_[expr.a], from, to);
            case Kind::call: return graph_.add_call(from, expr.a, to);
            case Kind::any_of:
                for (const ExprId option : expr.parts) lower(option, from, to, depth + 1);
                return;
            case Kind::repeat: return lower_repeat(expr, from, to, depth);
            case Kind::sequence: {
                if (expr.parts.empty()) return graph_.add_move(from, to);
                for (std::size_t i = 0; i < expr.parts.size(); ++i) {
                    const NodeId next = i + 1 == expr.parts.size() ? to : graph_.add_node();
                    lower(expr.parts[i], from, next, depth + 1);
                    from = next;
                }
                return;
            }
        }
    }

    /// Each copy reads a byte at least, or nothing: with more than kAlikeBytes copies left, one more or less makes no difference to them.
    void lower_repeat(const GrammarBuilder::Expr& expr, NodeId from, NodeId to, int depth) {
        const ExprId item = expr.parts.front();
        NodeId at = graph_.add_node();
        graph_.add_move(from, at);
        NodeId first = at;
        for (std::uint32_t i = 0; i < expr.a; ++i) {
            if (expr.a - i > kAlikeBytes) graph_.nodes[at].alike = first;
            const NodeId next = graph_.add_node();
            lower(item, at, next, depth + 1);
            at = next;
        }
        if (expr.b == kNoLimit) {
            const NodeId loop = graph_.add_node();
            graph_.add_move(at, loop);
            lower(item, loop, loop, depth + 1);
            return graph_.add_move(loop, to);
        }
        first = at;
        for (std::uint32_t i = expr.a; i < expr.b; ++i) {
            if (expr.b - i > kAlikeBytes) graph_.nodes[at].alike = first;
            graph_.add_move(at, to);
            const NodeId next = graph_.add_node();
            lower(item, at, next, depth + 1);
            at = next;
        }
        graph_.add_move(at, to);
    }

    void lower_chars(const CharSet& set, NodeId from, NodeId to) {
        // sequences that end alike share the nodes of their ends
        std::map<ByteSequence, NodeId> shared;
        for (const ByteSequence& sequence : utf8_sequences(set)) {
            NodeId next = to;
            for (std::size_t i = sequence.size() - 1; i > 0; --i) {
                const ByteSequence rest(sequence.begin() + static_cast<std::ptrdiff_t>(i), sequence.end());
                auto it = shared.find(rest);
                if (it == shared.end()) {
                    it = shared.emplace(rest, graph_.add_node()).first;
                    graph_.add_symbols(it->second, {sequence[i].first, sequence[i].last, next});
                }
                next = it->second;
            }
            graph_.add_symbols(from, {sequence.front().first, sequence.front().last, next});
        }
    }

    void lower_literal(std::string_view text, NodeId from, NodeId to) {
        std::vector<NodeId> nodes{from};
        for (std::size_t i = 1; i < text.size(); ++i) nodes.push_back(graph_.add_node());
        nodes.push_back(to);
        for (std::size_t i = 0; i < text.size(); ++i) {
            const auto byte = static_cast<unsigned char>(text[i]);
            graph_.add_symbols(nodes[i], {byte, byte, nodes[i + 1]});
            const auto lengths = builder_.special_lengths_.find(text[i]);
            if (lengths == builder_.special_lengths_.end()) continue;
            for (const std::size_t length : lengths->second) {
                if (length > text.size() - i) break;
                const auto [first, last] = builder_.specials_.equal_range(text.substr(i, length));
                for (auto it = first; it != last; ++it) {
                    const Symbol symbol = builder_.symbol_of(it->second);
                    graph_.add_symbols(nodes[i], {symbol, symbol, nodes[i + length]});
                }
            }
        }
    }

    GrammarBuilder& builder_;
    GrammarGraph graph_;
};

Grammar GrammarBuilder::build(ExprId root) {
    const GrammarGraph graph = Lowering(*this).run(root);
    return finish_grammar(graph, std::move(named_));
}

}  // namespace tfserve
