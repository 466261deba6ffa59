// Masks against the naive oracle: a token is allowed exactly when its bytes can be followed one by one; then rollback, ends, special
// tokens.
#include <algorithm>

#include "grammar/constraint_compiler.h"
#include "grammar_support.h"

using namespace tfserve;
using namespace tfserve::testing;

namespace {

Json literal(const char* text) { return {{"type", "literal"}, {"text", text}}; }
Json regex(const char* pattern) { return {{"type", "regex"}, {"pattern", pattern}}; }
const Json kFree = {{"type", "free_text"}};

const std::vector<Json>& samples() {
    static const std::vector<Json> all{
        regex("(a|ab|abc)*d?"),
        regex("[^\"\\\\]*"),
        regex("\\u00e4+|\\u20ac?[\\u{1F600}-\\u{1F64F}]"),
        {{"type", "json_object"}},
        of_schema({{"type", "string"}, {"minLength", 40}, {"maxLength", 120}}),
        of_schema({{"type", "array"}, {"items", {{"type", "string"}, {"maxLength", 36}}}, {"maxItems", 70}}),
        regex("(a{0,40}|[ab]{35,50}c?){1,3}"),
        of_schema({{"type", "object"},
                   {"properties", {{"name", {{"type", "string"}, {"maxLength", 4}}}, {"n", {{"type", "integer"}}}}},
                   {"required", {"name"}}}),
        of_schema(true),
        {{"type", "sequence"}, {"parts", {{{"type", "text_until"}, {"literals", {"<|end|>", "abc"}}}, {{"type", "json_object"}}}}},
        {{"type", "repeat"},
         {"item", {{"type", "any_of"}, {"options", {literal("true"), literal("the"), literal("<|channel|>")}}}},
         {"min", 1},
         {"max", 3},
         {"separator", literal(", \"")}},
        {{"type", "grammar"}, {"text", "root ::= \"[\" (item (\",\" item)*)? \"]\"\nitem ::= root | [a-c]{1,3} # nested\n"}},
        kFree,
        {{"type", "free_text"}, {"without", {"<|end|>", "true", "ue,"}}},
        {{"type", "sequence"}, {"parts", {{{"type", "text_until"}, {"literals", {"{"}}, {"without", {"abc", "<|end|>"}}}, literal("}")}}},
    };
    return all;
}

}  // namespace

TEST(the_mask_is_exactly_what_can_be_followed_byte_by_byte) {
    const GrammarTokens tokens;
    for (const bool strips : {false, true}) {
        const auto vocabulary = tokens.vocabulary(strips);
        for (const Json& tree : samples()) {
            const auto constraint = compile(tree, vocabulary);
            std::mt19937 random(7);
            for (int round = 0; round < 12; ++round) {
                const auto matcher = constraint->start();
                std::vector<TokenId> said;
                for (int step = 0; step < 20; ++step) {
                    const std::vector<bool> allowed = mask_of(*matcher, tokens.pieces.size());
                    std::vector<TokenId> choices;
                    for (std::size_t i = 0; i < allowed.size(); ++i) {
                        // a matcher of its own for each token, brought here anew
                        const auto probe = constraint->start();
                        for (const TokenId token : said) REQUIRE(probe->accept(token));
                        const auto id = static_cast<TokenId>(i);
                        if (!CHECK_EQ(probe->accept(id), static_cast<bool>(allowed[i])))
                            std::cout << tree.dump() << " token " << tokens.pieces[i] << "\n";
                        if (allowed[i]) choices.push_back(id);
                    }
                    if (choices.empty()) break;
                    said.push_back(choices[random() % choices.size()]);
                    REQUIRE(matcher->accept(said.back()));
                    if (round > 2 && step > 6) break;
                }
            }
        }
    }
}

TEST(the_automaton_follows_what_a_naive_reading_of_the_pattern_allows) {
    // all words over a small alphabet against a table of patterns written out by hand
    const auto words = [] {
        std::vector<std::string> all{""};
        for (std::size_t begin = 0, length = 0; length < 6; ++length) {
            const std::size_t end = all.size();
            for (; begin < end; ++begin) {
                for (const char c : {'a', 'b', '|'}) all.push_back(all[begin] + c);
            }
        }
        return all;
    }();
    const auto count = [](const std::string& word, char c) { return std::ranges::count(word, c); };
    const std::vector<std::pair<const char*, std::function<bool(const std::string&)>>> table{
        {"a*b?", [&](const std::string& w) { return count(w, 'b') <= 1 && count(w, '|') == 0 && (count(w, 'b') == 0 || w.back() == 'b'); }},
        {"(a|b){2,4}", [&](const std::string& w) { return count(w, '|') == 0 && w.size() >= 2 && w.size() <= 4; }},
        {"(a*)*b", [&](const std::string& w) { return !w.empty() && w.back() == 'b' && std::cmp_equal(count(w, 'a'), w.size() - 1); }},
        {"[^b]+", [&](const std::string& w) { return !w.empty() && count(w, 'b') == 0; }},
        {"(?:ab|a)(ba)?\\|{0,2}",
         [&](const std::string& w) {
             for (const char* head : {"a", "ab", "aba", "abba"}) {
                 for (const char* tail : {"", "|", "||"}) {
                     if (w == std::string(head) + tail) return true;
                 }
             }
             return false;
         }},
        {"^(a|b|)$", [&](const std::string& w) { return w.empty() || w == "a" || w == "b"; }},
        {"", [&](const std::string& w) { return w.empty(); }},
    };
    for (const auto& [pattern, expected] : table) {
        Acceptor acceptor(regex(pattern));
        for (const std::string& word : words) {
            if (!CHECK_EQ(acceptor.matches(word), expected(word))) std::cout << pattern << " on '" << word << "'\n";
        }
    }
}

TEST(utf8_is_matched_by_character_and_never_broken) {
    Acceptor one(regex("."));
    for (const char* text : {"a", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xED\x9F\xBF", "\xEE\x80\x80", "\xF4\x8F\xBF\xBF"})
        CHECK(one.matches(text));
    for (const char* text :
         {"\n", "\x80", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5", "ab"})
        CHECK(!one.matches(text));
    CHECK(one.begins("\xF0\x9F"));
    // every character of some ranges, by a naive encoder
    const auto utf8 = [](char32_t c) {
        std::string text;
        if (c < 0x80) return std::string(1, static_cast<char>(c));
        if (c < 0x800) text += static_cast<char>(0xC0 | c >> 6);
        if (c >= 0x800 && c < 0x10000) text += static_cast<char>(0xE0 | c >> 12);
        if (c >= 0x10000) text += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F))};
        if (c >= 0x800) text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
        return text + static_cast<char>(0x80 | (c & 0x3F));
    };
    Acceptor ranges(regex("[\\u0041-\\u00ff\\u07fe-\\u0801\\ufffe-\\u{10001}]"));
    for (char32_t c = 1; c < 0x10100; ++c) {
        if (c >= 0xD800 && c < 0xE000) continue;
        const bool inside = (c >= 0x41 && c <= 0xFF) || (c >= 0x7FE && c <= 0x801) || (c >= 0xFFFE && c <= 0x10001);
        if (ranges.matches(utf8(c)) != inside) CHECK_EQ(static_cast<unsigned>(c), 0U);
    }
}

TEST(rollback_takes_back_tokens_and_their_ends) {
    const GrammarTokens tokens;
    for (const Json& tree : samples()) {
        const auto constraint = compile(tree, tokens.vocabulary());
        std::mt19937 random(3);
        const auto matcher = constraint->start();
        std::vector<TokenId> said;
        for (int step = 0; step < 200; ++step) {
            const std::vector<bool> allowed = mask_of(*matcher, tokens.pieces.size());
            std::vector<TokenId> choices;
            for (std::size_t i = 0; i < allowed.size(); ++i) {
                if (allowed[i]) choices.push_back(static_cast<TokenId>(i));
            }
            const std::size_t back = said.empty() ? 0 : random() % std::min<std::size_t>(said.size() + 1, 8);
            if (!choices.empty() && random() % 3 != 0) {
                said.push_back(choices[random() % choices.size()]);
                REQUIRE(matcher->accept(said.back()));
            } else if (matcher->rollback(back)) {
                said.resize(said.size() - back);
            }
            const auto fresh = constraint->start();
            for (const TokenId token : said) REQUIRE(fresh->accept(token));
            CHECK_EQ(fresh->may_end(), matcher->may_end());
            CHECK_EQ(fresh->must_end(), matcher->must_end());
            CHECK(mask_of(*fresh, tokens.pieces.size()) == mask_of(*matcher, tokens.pieces.size()));
        }
        CHECK(!matcher->rollback(matcher->max_rollback() + 1));
    }
}

TEST(special_tokens_match_where_a_literal_names_them_and_nowhere_in_json) {
    const GrammarTokens tokens;
    const auto vocabulary = tokens.vocabulary();
    const auto matcher = compile(literal("<|channel|>final<|message|>"), vocabulary)->start();
    REQUIRE(matcher->accept(tokens.id("<|channel|>")));
    for (const char* letter : {"f", "i", "n", "a", "l"}) REQUIRE(matcher->accept(tokens.id(letter)));
    CHECK(!matcher->accept(tokens.id("<|end|>")));
    CHECK(mask_of(*matcher, tokens.pieces.size())[static_cast<std::size_t>(tokens.id("<"))]);
    REQUIRE(matcher->accept(tokens.id("<|message|>")));
    CHECK(matcher->may_end() && matcher->must_end());

    const auto json = compile({{"type", "json_object"}}, vocabulary)->start();
    REQUIRE(json->accept(tokens.id("{\"")));
    CHECK(!json->accept(tokens.id("<|channel|>")));
    // a token that is not special is text, whatever it looks like
    CHECK(json->accept(tokens.id("<tool_call>")));
}

TEST(text_until_ends_with_the_first_of_its_words) {
    const Json until = {{"type", "text_until"}, {"literals", {"</think>", "abab"}}};
    Acceptor acceptor(until);
    CHECK(acceptor.matches("</think>"));
    CHECK(acceptor.matches("a < b </thin </think>"));
    CHECK(acceptor.matches("aabab"));
    CHECK(!acceptor.begins("aababx"));
    CHECK(!acceptor.begins("</think>x"));
    CHECK(!acceptor.matches("no end"));
    CHECK(acceptor.begins("\xFF\x80 any bytes"));

    const GrammarTokens tokens;
    const auto matcher = compile({{"type", "text_until"}, {"literals", {"x<|end|>"}}}, tokens.vocabulary())->start();
    REQUIRE(matcher->accept(tokens.id("<|end|>")));  // not behind an x
    REQUIRE(matcher->accept(tokens.id("x")));
    REQUIRE(matcher->accept(tokens.id("<|channel|>")));
    CHECK(!matcher->may_end());
    REQUIRE(matcher->accept(tokens.id("x")));
    REQUIRE(matcher->accept(tokens.id("<|end|>")));
    CHECK(matcher->must_end());
}

namespace {

/// Where a word first ends in a text, by trying every place.
std::size_t first_end(const std::string& text, const std::vector<std::string>& words) {
    for (std::size_t end = 1; end <= text.size(); ++end) {
        for (const std::string& word : words) {
            if (std::string_view(text).substr(0, end).ends_with(word)) return end;
        }
    }
    return std::string::npos;
}

}  // namespace

TEST(free_text_holds_none_of_the_words_it_must_be_without) {
    std::mt19937 random(3);
    const auto draw = [&](std::size_t longest) {
        std::string text;
        for (std::size_t i = 1 + random() % longest; i > 0; --i) text += "ab<"[random() % 3];
        return text;
    };
    int taken = 0, ended = 0;
    for (int round = 0; round < 60; ++round) {
        const std::vector<std::string> until{draw(4), draw(3)}, without{draw(4), draw(5)};
        const Json ending = {{"type", "text_until"}, {"literals", until}, {"without", without}};
        if (!refusal(ending).empty()) continue;  // every word of `until` ends with one of `without`
        Acceptor ends(ending);
        Acceptor free({{"type", "free_text"}, {"without", without}});
        for (int i = 0; i < 150; ++i) {
            const std::string text = i == 0 ? "" : draw(12);
            const std::size_t barred = first_end(text, without), end = first_end(text, until);
            CHECK_EQ(free.matches(text), barred == std::string::npos);
            CHECK_EQ(ends.matches(text), end == text.size() && barred == std::string::npos);
            taken += free.matches(text) ? 1 : 0;
            ended += ends.matches(text) ? 1 : 0;
        }
    }
    CHECK(taken > 1000 && ended > 100);

    const GrammarTokens tokens;
    const auto matcher = compile({{"type", "free_text"}, {"without", {"x<|end|>"}}}, tokens.vocabulary())->start();
    REQUIRE(matcher->accept(tokens.id("<|end|>")));  // not behind an x
    REQUIRE(matcher->accept(tokens.id("x")));
    CHECK(!matcher->accept(tokens.id("<|end|>")));
    CHECK(matcher->may_end());
}

TEST(the_first_token_is_read_as_the_decoder_writes_it) {
    const GrammarTokens tokens;
    const auto matcher = compile(literal("ab"), tokens.vocabulary(true))->start();
    // " a" is written as "a" where the decoder drops the first space
    REQUIRE(matcher->accept(tokens.id(" a")));
    CHECK(!matcher->accept(tokens.id(" a")));
    REQUIRE(matcher->accept(tokens.id("b")));
    CHECK(matcher->must_end());
    CHECK(!compile(literal("ab"), tokens.vocabulary(false))->start()->accept(tokens.id(" a")));
}

TEST(many_long_outputs_outlive_the_automaton_that_they_began_with) {
    const GrammarTokens tokens;
    // counts make a new state of every character, so that the automaton fills up and is replaced
    const auto constraint = compile(of_schema({{"type", "string"}, {"minLength", 60000}}), tokens.vocabulary());
    const auto first = constraint->start();
    REQUIRE(first->accept(tokens.id("\"")));
    for (int i = 0; i < 30000; ++i) REQUIRE(first->accept(tokens.id("ab")));
    const auto second = constraint->start();
    REQUIRE(second->accept(tokens.id("\"")));
    for (int i = 0; i < 60000; ++i) REQUIRE(second->accept(tokens.id("x")));
    REQUIRE(first->accept(tokens.id("\"")));
    CHECK(first->must_end());
    REQUIRE(second->accept(tokens.id("\"")));
    CHECK(second->must_end());
    REQUIRE(second->rollback(2));
    CHECK(!second->accept(tokens.id("\"")));
}

TEST(what_cannot_be_followed_is_refused) {
    const auto grammar = [](const char* text) { return refusal({{"type", "grammar"}, {"text", text}}); };
    CHECK(grammar("root ::= root \"a\" | \"b\"").find("left-recursive") != std::string::npos);
    CHECK(grammar("root ::= nothing root \"a\" | \"b\"\nnothing ::= \"x\"?").find("left-recursive") != std::string::npos);
    CHECK(grammar("root ::= \"a\" root").find("no text") != std::string::npos);
    CHECK(grammar("root ::= other").find("'other'") != std::string::npos);
    CHECK(grammar("a ::= \"a\"").find("'root'") != std::string::npos);
    CHECK(grammar("root ::= \"a").find("line 1") != std::string::npos);
    CHECK(grammar("root ::= \"a\"\nroot ::= \"b\"").find("twice") != std::string::npos);
    CHECK(grammar("root ::= \"a\" root | \"b\"").empty());
    for (const char* pattern : {"(",      ")",   "a**",   "[",      "[z-a]",    "a(?=a)", "(?=a)|b", "(?<!a)",  "\\1",   "\\b",
                                "\\p{L}", "a^b", "(a$)b", "a{3,2}", "a{99999}", "*",      "\\",      "\\ud800", "(?i)a", "a++"}) {
        if (!CHECK(!refusal(regex(pattern)).empty())) std::cout << pattern << "\n";
    }
    CHECK(!refusal({{"type", "anything"}}).empty());
    CHECK(!refusal({{"type", "literal"}}).empty());
    CHECK(!refusal({{"type", "text_until"}, {"literals", {""}}}).empty());
    CHECK(!refusal(Json::array()).empty());
    CHECK(!refusal({{"type", "any_of"}, {"options", Json::array()}}).empty());
    CHECK(refusal({{"type", "repeat"}, {"item", regex("(ab*){1000}")}, {"min", 65536}, {"max", nullptr}}).find("too large") ==
          std::string::npos);
    Json nested = kFree;
    for (int i = 0; i < 40; ++i) nested = {{"type", "sequence"}, {"parts", Json::array({nested})}};
    CHECK(refusal(nested).find("deep") != std::string::npos);
    GrammarTokens tokens;
    const auto table = tokens.table();
    GrammarBuilder builder(table.get());
    CHECK_THROWS(constraint_expression(builder, table.get(), std::string(5000, '[')), GrammarError);
    CHECK_THROWS(constraint_expression(builder, table.get(), "{"), GrammarError);
}

TEST(equal_constraints_are_compiled_once_while_they_are_remembered) {
    const GrammarTokens tokens;
    ConstraintCompiler compiler(tokens.table(), static_cast<std::int32_t>(tokens.pieces.size()));
    const auto text = [](int i) { return literal(("n" + std::to_string(i)).c_str()).dump(); };
    const auto first = compiler.compile(text(0));
    CHECK(compiler.compile(text(0)) == first);
    for (int i = 1; i < 100; ++i) compiler.compile(text(i));
    const auto again = compiler.compile(text(0));
    CHECK(again != first);
    const auto matcher = first->start();
    CHECK(matcher->accept(tokens.id("n")));
}

TEST(remembered_constraints_are_forgotten_when_they_take_too_much_memory) {
    const GrammarTokens tokens;
    const auto vocab = static_cast<std::int32_t>(tokens.pieces.size());
    ConstraintCompiler compiler(tokens.table(), vocab, std::size_t{3} << 20);
    const auto large = [](int i) { return regex(("n" + std::to_string(i) + "[a-z]{0,20000}").c_str()).dump(); };
    const auto first = compiler.compile(large(0));
    CHECK(compiler.compile(large(0)) == first);
    for (int i = 1; i < 8; ++i) compiler.compile(large(i));
    CHECK(compiler.compile(large(7)) == compiler.compile(large(7)));
    CHECK(compiler.compile(large(0)) != first);
    ConstraintCompiler small(tokens.table(), vocab, 1);
    CHECK(small.compile(large(0)) == small.compile(large(0)));
}

TEST(a_vocabulary_that_cannot_write_the_beginning_is_found_out) {
    const auto table = TokenTable::from_pieces({"a", "b"}, {false, false}, false);
    ConstraintCompiler compiler(table, 2);
    CHECK_THROWS(compiler.compile(R"({"type":"json_object"})"), GrammarError);
    CHECK(compiler.compile(R"({"type":"regex","pattern":"a*"})") != nullptr);
}
