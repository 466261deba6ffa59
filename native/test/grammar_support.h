// What the grammar tests share: vocabularies, a compiled constraint in one call, and a naive matcher to hold the automaton against.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/compiled_constraint.h"
#include "grammar/constraint_tree.h"
#include "grammar/grammar_builder.h"
#include "grammar/grammar_error.h"
#include "testing.h"

namespace tfserve::testing {

using Json = nlohmann::ordered_json;

/// Every byte, some longer pieces of JSON and text, a few special tokens. The last entry is the end of a sequence.
struct GrammarTokens {
    std::vector<std::string> pieces;
    std::vector<bool> special;

    GrammarTokens() {
        for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
        for (const char* piece : {"{\"",
                                  "\":",
                                  "\": ",
                                  ", \"",
                                  "\"}",
                                  "\",",
                                  "true",
                                  "false",
                                  "null",
                                  "na",
                                  "me",
                                  "name",
                                  " a",
                                  "the",
                                  " the",
                                  "12",
                                  "0.5",
                                  "[]",
                                  "{}",
                                  "\\n",
                                  "\\u00",
                                  "\xC3\xA4",
                                  "\xE2\x82\xAC",
                                  "\xF0\x9F",
                                  "\x98\x80",
                                  "\n  ",
                                  "    ",
                                  "-1",
                                  "<tool_call>",
                                  "abc",
                                  "ab",
                                  "\"\"",
                                  "],",
                                  "}]",
                                  "e+",
                                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}) {
            add(piece);
        }
        for (const char* piece : {"<|channel|>", "<|message|>", "<|end|>", "<eos>"}) add(piece, true);
    }
    void add(std::string piece, bool is_special = false) {
        pieces.push_back(std::move(piece));
        special.push_back(is_special);
    }
    TokenId id(std::string_view piece) const {
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            if (pieces[i] == piece) return static_cast<TokenId>(i);
        }
        throw std::runtime_error("no such token");
    }
    TokenId eos() const { return static_cast<TokenId>(pieces.size() - 1); }
    std::shared_ptr<const TokenTable> table(bool strips_space = false) const {
        return TokenTable::from_pieces(pieces, special, strips_space);
    }
    std::shared_ptr<const GrammarVocabulary> vocabulary(bool strips_space = false) const {
        return std::make_shared<const GrammarVocabulary>(table(strips_space), static_cast<std::int32_t>(pieces.size()));
    }
};

inline std::shared_ptr<const CompiledConstraint> compile(const Json& tree, const std::shared_ptr<const GrammarVocabulary>& vocabulary) {
    GrammarBuilder builder(vocabulary->table.get());
    const ExprId root = constraint_expression(builder, vocabulary->table.get(), tree.dump());
    return std::make_shared<const CompiledConstraint>(builder.build(root), vocabulary);
}

/// The sentence of the error that a tree is refused with; empty when it is not.
inline std::string refusal(const Json& tree) {
    GrammarTokens tokens;
    const auto table = tokens.table();
    try {
        GrammarBuilder builder(table.get());
        builder.build(constraint_expression(builder, table.get(), tree.dump()));
    } catch (const GrammarError& error) {
        return error.what();
    }
    return {};
}

/// Follows texts byte by byte.
class Acceptor {
   public:
    explicit Acceptor(const Json& tree) {
        const auto table = tokens_.table();
        GrammarBuilder builder(table.get());
        grammar_ = std::make_shared<const Grammar>(builder.build(constraint_expression(builder, table.get(), tree.dump())));
        automaton_ = std::make_unique<Automaton>(grammar_);
    }
    bool matches(std::string_view text) {
        const Automaton::State state = follow(text);
        return state != Automaton::kDead && automaton_->may_end(state);
    }
    bool begins(std::string_view text) { return follow(text) != Automaton::kDead; }

   private:
    Automaton::State follow(std::string_view text) {
        Automaton::State state = automaton_->start();
        for (const char c : text) {
            if (state != Automaton::kDead) state = automaton_->next(state, static_cast<unsigned char>(c));
        }
        return state;
    }
    GrammarTokens tokens_;
    std::shared_ptr<const Grammar> grammar_;
    std::unique_ptr<Automaton> automaton_;
};

inline bool fits(const Json& tree, std::string_view text) { return Acceptor(tree).matches(text); }
inline Json of_schema(const Json& schema) { return {{"type", "json_schema"}, {"schema", schema}}; }

inline std::vector<bool> mask_of(TokenConstraint& constraint, std::size_t vocab) {
    std::vector<std::uint64_t> words(mask_words(static_cast<std::int32_t>(vocab)));
    constraint.mask(words);
    std::vector<bool> allowed(vocab);
    for (std::size_t i = 0; i < vocab; ++i) allowed[i] = mask_allows(words, static_cast<TokenId>(i));
    return allowed;
}

/// A walk under the mask, ended when it may be and the dice say so. Empty optional: it was cut before it was complete.
struct Walk {
    std::string text;
    bool complete = false;
};
Walk random_walk(const CompiledConstraint& constraint, const GrammarTokens& tokens, std::mt19937& random, std::size_t longest);

/// Whether a JSON value satisfies a schema: a plain reading of the specification, for the keywords that are supported.
bool satisfies(const Json& schema, const Json& value, const Json& root);

}  // namespace tfserve::testing
