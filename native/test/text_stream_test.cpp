#include "text/text_stream.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "testing.h"
#include "text/utf8.h"

using namespace tfserve;

namespace {

using Rng = std::mt19937_64;
using Table = std::shared_ptr<const TokenTable>;

int pick(Rng& rng, int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng); }

struct Result {
    std::string text;
    std::int32_t stop_index = -1;
    bool operator==(const Result&) const = default;
};

/// Pushes until a stop string is found; `pieces` gets the text of every call, that of close() last.
Result run(TextStream stream, const std::vector<TokenId>& ids, std::vector<std::string>* pieces = nullptr) {
    Result result;
    const auto take = [&](const TextStream::Piece& piece) {
        result.text += piece.text;
        result.stop_index = piece.stop_index;
        if (pieces != nullptr) pieces->push_back(piece.text);
        CHECK_EQ(piece.stopped, piece.stop_index >= 0);
        CHECK_EQ(to_valid_utf8(piece.text), piece.text);
        return piece.stopped;
    };
    for (const TokenId id : ids) {
        if (take(stream.push(id))) return result;
    }
    take(stream.close());
    return result;
}

/// Decoding by the book: all tokens at once.
std::string decode_all(const TokenTable& table, const std::vector<TokenId>& ids, bool skip_special) {
    std::string text;
    std::string plain;
    std::string bytes;
    const auto end_plain = [&] {
        text += to_valid_utf8(plain);
        plain.clear();
    };
    const auto end_bytes = [&] {
        if (to_valid_utf8(bytes) == bytes) {
            text += bytes;
        } else {
            for (std::size_t i = 0; i < bytes.size(); ++i) text += kReplacementCharacter;
        }
        bytes.clear();
    };
    for (const TokenId id : ids) {
        if (!table.is_known(id) || (skip_special && table.is_special(id))) continue;
        if (table.is_byte(id)) {
            end_plain();
            bytes += table.bytes(id);
        } else {
            end_bytes();
            plain += table.bytes(id);
        }
    }
    end_plain();
    end_bytes();
    if (table.strips_leading_space() && text.starts_with(' ')) text.erase(0, 1);
    return text;
}

/// Cuts before the stop string that begins first; among those of one place the shortest, then the first of the list.
Result cut(const std::string& text, const std::vector<std::string>& stop) {
    Result result{text, -1};
    std::size_t begin = std::string::npos;
    for (std::size_t i = 0; i < stop.size(); ++i) {
        const std::size_t found = text.find(stop[i]);
        if (found == std::string::npos || found > begin) continue;
        if (found == begin && stop[i].size() >= stop[static_cast<std::size_t>(result.stop_index)].size()) continue;
        begin = found;
        result = {text.substr(0, begin), static_cast<std::int32_t>(i)};
    }
    return result;
}

/// How much of a text without a decision yet can be sent: all before the earliest place where a stop string may begin.
std::size_t sendable(const std::string& text, const std::vector<std::string>& stop) {
    for (std::size_t begin = 0; begin < text.size(); ++begin) {
        const std::string_view rest = std::string_view(text).substr(begin);
        for (const std::string& word : stop) {
            if (word.starts_with(rest) || rest.starts_with(word)) return begin;
        }
    }
    return text.size();
}

std::string join(const std::vector<std::string>& pieces) {
    std::string result;
    for (const auto& piece : pieces) result += piece;
    return result;
}

}  // namespace

TEST(invalid_bytes_become_replacement_characters_as_in_python) {
    // what Python 3's bytes.decode("utf-8", errors="replace") gives
    const std::string r(kReplacementCharacter);
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"\x80", r},
        {"\xC0\x80", r + r},
        {"\xE2\x82", r},
        {"\xE2\x82"
         "a",
         r + "a"},
        {"\xE2(\xA1", r + "(" + r},
        {"\xED\xA0\x80", r + r + r},
        {"\xE0\x80\xAF", r + r + r},
        {"\xF0\x80\x80\x80", r + r + r + r},
        {"\xF0\x9F\x98", r},
        {"\xF0\x9F\x98\xF0\x9F\x98\x80", r + "😀"},
        {"\xF4\x90\x80\x80", r + r + r + r},
        {"\xF8\x88\x80\x80\x80", r + r + r + r + r},
        {"\xF1\x80\x80\xE1\x80\xC2"
         "b",
         r + r + r + "b"},
        {"a\xFF"
         "b\xC2\xA9",
         "a" + r + "b©"},
        {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},
    };
    for (const auto& [bytes, text] : cases) {
        CHECK_EQ(to_valid_utf8(bytes), text);
        std::vector<std::string> pieces;  // a byte a token
        std::vector<TokenId> ids;
        for (const char byte : bytes) {
            ids.push_back(static_cast<TokenId>(pieces.size()));
            pieces.emplace_back(1, byte);
        }
        CHECK_EQ(run(TextStream(TokenTable::from_pieces(pieces, {}, false), {}, false), ids).text, text);
    }
}

TEST(characters_are_sent_when_they_are_whole) {
    const Table table = TokenTable::from_pieces({"a\xF0\x9F", "\x98",
                                                 "\x80"
                                                 "b\xE2",
                                                 "c"},
                                                {}, false);
    std::vector<std::string> pieces;
    run(TextStream(table, {}, false), {0, 1, 2, 3, 0}, &pieces);
    CHECK((pieces == std::vector<std::string>{"a", "", "😀b",
                                              "\xEF\xBF\xBD"
                                              "c",
                                              "a", "\xEF\xBF\xBD"}));
}

TEST(special_tokens_and_unknown_ids) {
    const Table table = TokenTable::from_pieces({"<s>", " a", "b", ""}, {true}, true);
    CHECK_EQ(run(TextStream(table, {}, true), {0, 1, 0, 2, -5, 99}).text, "ab");
    CHECK_EQ(run(TextStream(table, {}, false), {0, 1, 0, 2}).text, "<s> a<s>b");
    CHECK_EQ(run(TextStream(table, {}, true), {3, 0, 1, 1}).text, "a a");
    CHECK_EQ(run(TextStream(table, {}, true), {}).text, "");
}

TEST(special_tokens_that_are_shown_all_the_same) {
    const Table table = TokenTable::from_pieces({"<s>", "a", "<t>", "<u>"}, {true, false, true, true}, false);
    CHECK_EQ(run(TextStream(table, {}, true, {2, 3}), {0, 1, 2, 0, 3, 1}).text, "a<t><u>a");
    CHECK_EQ(run(TextStream(table, {"<t>"}, true, {2}), {0, 1, 2}).text, "a");
    CHECK_EQ(run(TextStream(table, {}, false, {2}), {0, 1, 2}).text, "<s>a<t>");
    CHECK_EQ(run(TextStream(table, {}, true, {-1, 99}), {0, 99, 1}).text, "a");
}

TEST(runs_of_byte_tokens) {
    const Table table = TokenTable::from_pieces({"\xE5", "\x8F", "\xAB", "\n", "a", "<s>", " "}, {false, false, false, false, false, true},
                                                false, {true, true, true, true, false, false, true});
    const std::string r(kReplacementCharacter);
    const auto text = [&](const std::vector<TokenId>& ids, bool skip = true) { return run(TextStream(table, {}, skip), ids).text; };
    CHECK_EQ(text({0, 1, 2}), "叫");
    CHECK_EQ(text({0, 1, 2, 4}), "叫a");
    CHECK_EQ(text({0, 1}), r + r);
    CHECK_EQ(text({0, 1, 4}), r + r + "a");
    CHECK_EQ(text({0, 1, 2, 0, 4}), r + r + r + r + "a");  // one bad byte spoils the run
    CHECK_EQ(text({1, 0, 1, 2}), r + r + r + r);
    CHECK_EQ(text({3, 0, 1, 2, 4, 3}), "\n叫a\n");
    CHECK_EQ(text({0, 5, 1, 2}), "叫");  // a token that is left out does not end the run
    CHECK_EQ(text({0, 5, 1, 2}, false), r + "<s>" + r + r);
    std::vector<std::string> pieces;
    run(TextStream(table, {}, true), {0, 1, 2, 4, 3, 1, 2, 4}, &pieces);
    CHECK((pieces == std::vector<std::string>{"", "", "", "叫a", "", r + r, r, "a", ""}));
    const Table stripping = TokenTable::from_pieces({" ", " a"}, {}, true, {true});
    CHECK_EQ(run(TextStream(stripping, {}, true), {0, 0, 1}).text, "  a");
}

TEST(stop_strings_across_tokens) {
    const Table table = TokenTable::from_pieces({"ab", "c", "d", "Hello", "\n", "\n\nUser", ":"}, {}, false);
    CHECK((run(TextStream(table, {"bcd"}, true), {3, 0, 1, 2}) == Result{"Helloa", 0}));
    CHECK((run(TextStream(table, {"bcd"}, true), {0, 1, 1}) == Result{"abcc", -1}));
    CHECK((run(TextStream(table, {"x", "\n\nUser:"}, true), {3, 4, 5, 6}) == Result{"Hello\n", 1}));
    CHECK((run(TextStream(table, {"ab"}, true), {0}) == Result{"", 0}));
    CHECK((run(TextStream(table, {"bcd"}, true), {0, 1}) == Result{"abc", -1}));
    std::vector<std::string> pieces;
    run(TextStream(table, {"bcd", "cc"}, true), {0, 1, 1}, &pieces);
    CHECK((pieces == std::vector<std::string>{"a", "", "b"}));
}

TEST(which_stop_string_wins) {
    const Table table = TokenTable::from_pieces({"a", "b", "c", "d", "e", "abcde"}, {}, false);
    // the one that begins first, even if another ends before it
    CHECK((run(TextStream(table, {"cd", "abcde"}, true), {0, 1, 2, 3, 4}) == Result{"", 1}));
    CHECK((run(TextStream(table, {"cd", "abcde"}, true), {5}) == Result{"", 1}));
    CHECK((run(TextStream(table, {"cd", "abcde"}, true), {0, 1, 2, 3, 0}) == Result{"ab", 0}));
    CHECK((run(TextStream(table, {"cd", "abcde"}, true), {0, 1, 2, 3}) == Result{"ab", 0}));  // found at the end
    CHECK((run(TextStream(table, {"abc", "ab"}, true), {5}) == Result{"", 1}));
    CHECK((run(TextStream(table, {"x", "ab", "ab"}, true), {5}) == Result{"", 1}));
    CHECK((run(TextStream(table, {"", "b"}, true), {5}) == Result{"a", 1}));
}

TEST(stop_strings_at_the_end) {
    const Table table = TokenTable::from_pieces({"\xE5", "\n", "a"}, {}, false, {false, true});
    CHECK((run(TextStream(table, {"\xEF\xBF\xBD"}, true), {2, 0}) == Result{"a", 0}));
    CHECK((run(TextStream(table, {"\n"}, true), {2, 1}) == Result{"a", 0}));
    TextStream stream(table, {"\n"}, true);
    CHECK_EQ(stream.push(1).text, "");
    CHECK_EQ(stream.finish(), "");
}

TEST(a_stopped_stream_gives_nothing_more) {
    TextStream stream(TokenTable::from_pieces({"ab"}, {}, false), {"b"}, true);
    CHECK_EQ(stream.push(0).text, "a");
    CHECK_EQ(stream.push(0).text, "");
    CHECK(stream.push(0).stopped);
    CHECK_EQ(stream.finish(), "");
}

TEST(random_streams_against_decoding_all_at_once) {
    Rng rng(1);
    const std::vector<std::string> atoms = {"a", "b", "aa", "ab", "\n", " ", "é", "😀", "\xF0\x9F", "\x98", "\x80", "\xC3", "\xFF", ""};
    for (int round = 0; round < 6000; ++round) {
        std::vector<std::string> pieces;
        std::vector<bool> special;
        std::vector<bool> byte;
        const bool fallback = pick(rng, 0, 1) == 0;
        for (int i = 0; i < 12; ++i) {
            std::string piece;
            for (int n = pick(rng, 0, 3); n > 0; --n)
                piece += atoms[static_cast<std::size_t>(pick(rng, 0, static_cast<int>(atoms.size()) - 1))];
            if (fallback) piece = to_valid_utf8(piece);
            byte.push_back(fallback && pick(rng, 0, 1) == 0);
            if (byte.back()) piece = std::string(1, "\xF0\x9F\x98\x80\nab"[pick(rng, 0, 6)]);
            pieces.push_back(piece);
            special.push_back(pick(rng, 0, 5) == 0);
        }
        const Table table = TokenTable::from_pieces(pieces, special, pick(rng, 0, 1) == 0, byte);
        const bool skip_special = pick(rng, 0, 1) == 0;
        std::vector<TokenId> ids;
        for (int n = pick(rng, 0, 30); n > 0; --n) ids.push_back(pick(rng, -1, 12));
        std::vector<std::string> stop;
        const std::string text = decode_all(*table, ids, skip_special);
        for (int n = pick(rng, 0, 5); n > 0; --n) {
            std::string word;
            if (pick(rng, 0, 1) == 0 && !text.empty()) {  // something that does occur
                word = text.substr(static_cast<std::size_t>(pick(rng, 0, static_cast<int>(text.size()) - 1)),
                                   static_cast<std::size_t>(pick(rng, 1, 12)));
            } else {
                for (int k = pick(rng, 1, 4); k > 0; --k) word += atoms[static_cast<std::size_t>(pick(rng, 0, 7))];
            }
            stop.push_back(to_valid_utf8(word));
        }
        const Result expected = cut(text, stop);
        std::vector<std::string> sent;
        const Result got = run(TextStream(table, stop, skip_special), ids, &sent);
        CHECK_EQ(got.text, expected.text);
        CHECK_EQ(got.stop_index, expected.stop_index);

        // nothing later than it must be: what is decoded without stop strings is the text that was decided at that moment
        std::vector<std::string> decided;
        run(TextStream(table, {}, skip_special), ids, &decided);
        std::string sent_so_far;
        std::string decided_so_far;
        for (std::size_t i = 0; i + 1 < sent.size(); ++i) {
            sent_so_far += sent[i];
            decided_so_far += decided[i];
            CHECK_EQ(sent_so_far, decided_so_far.substr(0, sendable(decided_so_far, stop)));
        }
        CHECK_EQ(join(decided), text);
    }
}

TEST(undecided_bytes_are_all_that_is_held_back) {
    Rng rng(2);
    const Table table = TokenTable::from_pieces({"a", "\xF0", "\x9F", "\x98", "\x80", "é", "\xE2\x82", "\xAC"}, {}, false);
    for (int round = 0; round < 2000; ++round) {
        std::vector<TokenId> ids;
        for (int n = pick(rng, 1, 12); n > 0; --n) ids.push_back(pick(rng, 0, 7));
        TextStream stream(table, {}, true);
        std::string bytes;
        std::string text;
        for (const TokenId id : ids) {
            bytes += table->bytes(id);
            text += stream.push(id).text;
            // an unfinished character: the longest end of the bytes that some bytes to come would make whole
            std::size_t held = 0;
            for (std::size_t n = 1; n <= std::min<std::size_t>(3, bytes.size()); ++n) {
                const std::string end = bytes.substr(bytes.size() - n);
                for (const char* more : {"\x80", "\x80\x80", "\x80\x80\x80", "\x98\x80", "\x9F\x98\x80"}) {
                    const std::string whole = end + more;
                    if (to_valid_utf8(end) == kReplacementCharacter && to_valid_utf8(whole) == whole) held = n;
                }
            }
            CHECK_EQ(text, to_valid_utf8(bytes.substr(0, bytes.size() - held)));
        }
    }
}

TEST(long_stop_strings_stay_linear) {
    std::vector<std::string> stop;
    for (int i = 0; i < 40; ++i) stop.push_back(std::string(4000, 'a') + std::to_string(i));
    TextStream stream(TokenTable::from_pieces({"a", std::string(100, 'a'), "b"}, {}, false), stop, true);
    std::string text;
    for (int i = 0; i < 20000; ++i) text += stream.push(i % 2).text;
    CHECK_EQ(text.size(), std::size_t{10000 * 101 - 4000});
    text += stream.push(2).text;
    CHECK_EQ(text.size(), std::size_t{10000 * 101 + 1});
}
