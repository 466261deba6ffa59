#include "text/token_table.h"

#include <stdexcept>
#include <string>
#include <vector>

#include "testing.h"
#include "text/text_stream.h"

using namespace tfserve;

namespace {

const std::string kByteLevel = R"({"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true})";
const std::string kSentencepiece =
    R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},)"
    R"({"type":"Strip","content":" ","start":1,"stop":0}]})";

std::string tokenizer(const std::string& decoder, const std::string& vocab, const std::string& added = "[]",
                      const std::string& type = "BPE") {
    return R"({"version":"1.0","added_tokens":)" + added + R"(,"normalizer":null,"decoder":)" + decoder + R"(,"model":{"type":")" + type +
           R"(","dropout":null,"vocab":)" + vocab + R"(,"merges":[["a","b"],"c d",[["x"]],{"deep":[1,2,{"vocab":{"no":-1}}]}]}})";
}

std::shared_ptr<const TokenTable> table_of(const std::string& json, std::int32_t size = 0) {
    return TokenTable::from_tokenizer_json(json, size);
}

std::string text_of(const std::shared_ptr<const TokenTable>& table, const std::vector<TokenId>& ids, bool skip_special = false) {
    TextStream stream(table, {}, skip_special);
    std::string text;
    for (const TokenId id : ids) text += stream.push(id).text;
    return text + stream.finish();
}

/// The message of the refusal; empty if there was none.
std::string refusal(const std::string& json, std::int32_t size = 0) {
    try {
        table_of(json, size);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return {};
}

bool mentions(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST(byte_level_pieces_are_bytes) {
    const auto table = table_of(tokenizer(kByteLevel, R"({"!":0,"Ġa":1,"Ċ":2,"ÃŁ":3,"ł":4,"Ń":5,"Ā":6,"ð":7,"ġ":8})"));
    CHECK_EQ(table->bytes(0), "!");
    CHECK_EQ(table->bytes(1), " a");
    CHECK_EQ(table->bytes(2), "\n");
    CHECK_EQ(table->bytes(3), "\xC3\x9F");
    CHECK_EQ(table->bytes(4), "\xA0");
    CHECK_EQ(table->bytes(5), "\xAD");
    CHECK_EQ(table->bytes(6), std::string_view("\0", 1));
    CHECK_EQ(table->bytes(7), "\xF0");
    CHECK_EQ(table->bytes(8), "\x7F");
    CHECK(!table->strips_leading_space());
}

TEST(added_tokens_go_through_the_decoder) {
    const auto table =
        table_of(tokenizer(kByteLevel, R"({"a":0,"<|end|>":1})",
                           R"([{"id":1,"content":"<|end|>","special":true},{"id":3,"content":"<｜fim▁hole｜>","special":false},
                                              {"id":4,"content":"two words","special":true},{"id":5,"content":"é"}])"));
    CHECK_EQ(table->size(), 6);
    CHECK_EQ(table->bytes(1), "<|end|>");
    CHECK(table->is_special(1));
    CHECK_EQ(table->bytes(3), "<｜fim▁hole｜>");
    CHECK(!table->is_special(3));
    CHECK_EQ(table->bytes(4), "two words");
    CHECK_EQ(table->bytes(5), "\xE9");  // every character is of the byte alphabet, so the library maps it too
    CHECK(!table->is_known(2));
    CHECK_EQ(table->bytes(2), "");
    for (const TokenId outside : {-1, 6, 1 << 30}) {
        CHECK_EQ(table->bytes(outside), "");
        CHECK(!table->is_special(outside) && !table->is_known(outside) && !table->is_byte(outside));
    }
}

TEST(sentencepiece_pieces) {
    const auto table = table_of(tokenizer(kSentencepiece, R"({"<unk>":0,"<0x0A>":1,"<0xe2>":2,"▁▁the":3,"<0xZZ>":4,"<0x414>":5,"x":6})",
                                          R"([{"id":0,"content":"<unk>","special":true},{"id":7,"content":"a▁b","special":false}])"));
    CHECK_EQ(table->bytes(1), "\n");
    CHECK(table->is_byte(1));
    CHECK_EQ(table->bytes(2), "\xE2");
    CHECK(table->is_byte(2));
    CHECK_EQ(table->bytes(3), "  the");
    CHECK_EQ(table->bytes(4), "<0xZZ>");
    CHECK(!table->is_byte(4));
    CHECK_EQ(table->bytes(5), "<0x414>");
    CHECK_EQ(table->bytes(7), "a b");
    CHECK(table->strips_leading_space());
    CHECK_EQ(text_of(table, {3, 3}), " the  the");
    CHECK_EQ(text_of(table, {0, 3}), "<unk>  the");
    CHECK_EQ(text_of(table, {0, 3}, true), " the");
}

TEST(unigram_with_metaspace) {
    const std::string vocab = R"([["<unk>",0.0],["▁▁a",-1.5],["b▁c",-2],["▁",-3.25]])";
    const std::string metaspace = R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true})";
    const auto table = table_of(tokenizer(metaspace, vocab, "[]", "Unigram"));
    CHECK_EQ(table->bytes(1), "  a");
    CHECK_EQ(text_of(table, {1, 1}), "a  a");
    CHECK_EQ(text_of(table, {2, 3, 1}), "bc   a");
    CHECK_EQ(text_of(table, {3, 3}), " ");
    const auto never =
        table_of(tokenizer(R"({"type":"Metaspace","replacement":"_","add_prefix_space":false})", R"([["_a",0]])", "[]", "Unigram"));
    CHECK_EQ(text_of(never, {0, 0}), " a a");
    const auto nested = table_of(tokenizer(R"({"type":"Sequence","decoders":[)" + metaspace + "]}", vocab, "[]", "Unigram"));
    CHECK_EQ(text_of(nested, {1}), "a");
}

TEST(sizes_and_holes) {
    const std::string json = tokenizer(kByteLevel, R"({"a":0,"b":5})");
    CHECK_EQ(table_of(json, 3)->size(), 6);
    CHECK_EQ(table_of(json, 100)->size(), 100);
    CHECK(!table_of(json, 100)->is_known(99));
    CHECK(mentions(refusal(json, -1), "out of range"));
    CHECK(mentions(refusal(json, 1 << 30), "out of range"));
}

TEST(of_two_tokens_with_one_id_the_added_and_the_later_count) {
    const auto table = table_of(tokenizer(kByteLevel, R"({"a":0,"b":0,"c":1})", R"([{"id":1,"content":"d","special":true}])"));
    CHECK_EQ(table->bytes(0), "b");
    CHECK_EQ(table->bytes(1), "d");
    CHECK(table->is_special(1));
}

TEST(order_of_the_fields_does_not_matter) {
    const auto table =
        table_of(R"({"model":{"vocab":{"Ġa":0},"merges":[],"type":"BPE"},"decoder":)" + kByteLevel + R"(,"added_tokens":null})");
    CHECK_EQ(table->bytes(0), " a");
}

TEST(unknown_decoders_are_named) {
    CHECK(mentions(refusal(tokenizer(R"({"type":"WordPiece","prefix":"##","cleanup":true})", R"({"a":0})")), "WordPiece"));
    CHECK(mentions(refusal(tokenizer(R"({"type":"WordPiece"})", R"({"a":0})", "[]", "WordPiece")), "WordPiece"));
    CHECK(mentions(refusal(tokenizer(R"({"type":"BPEDecoder","suffix":"</w>"})", R"({"a":0})")), "BPEDecoder"));
    CHECK(mentions(refusal(tokenizer("null", R"({"a":0})")), "no decoder"));
    for (const char* decoder : {
             "[]",
             "\"ByteLevel\"",
             "{}",
             R"({"type":7})",
             R"({"type":"Sequence"})",
             R"({"type":"Sequence","decoders":[1]})",
             R"({"type":"Replace","pattern":{"Regex":"a"},"content":""})",
             R"({"type":"Replace","pattern":{"String":""},"content":"x"})",
             R"({"type":"Replace","pattern":"a","content":""})",
             R"({"type":"Strip","content":" ","start":1,"stop":0})",
             R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":1}]})",
             R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":"x","start":1,"stop":0}]})",
             R"({"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"ByteLevel"}]})",
             R"({"type":"Sequence","decoders":[{"type":"ByteLevel"},{"type":"ByteFallback"}]})",
         }) {
        CHECK(mentions(refusal(tokenizer(decoder, R"({"a":0})")), "tokenizer.json has"));
    }
}

TEST(hostile_files_are_refused) {
    for (const char* vocab : {R"({"a":-1})", R"({"a":4194304})", R"({"a":18446744073709551615})", R"({"a":-9223372036854775808})",
                              R"({"a":1.5})", R"({"a":"0"})", R"({"a":null})", R"({"a":[0]})", R"({"a":1e300})", "7", "null", "\"a\"", "{}",
                              "[]", R"(["a"])", "[[]]", "[[1,2]]", "[[[\"a\"],0]]", R"([{"a":0}])"}) {
        CHECK(!refusal(tokenizer(kByteLevel, vocab)).empty());
    }
    for (const char* added :
         {"7", "{}", "[7]", "[{}]", R"([{"id":0}])", R"([{"content":"a"}])", R"([{"id":-1,"content":"a"}])",
          R"([{"id":4194304,"content":"a"}])", R"([{"id":18446744073709551615,"content":"a"}])", R"([{"id":"0","content":"a"}])",
          R"([{"id":0,"content":7}])", R"([{"id":0,"content":"a","special":"yes"}])"}) {
        CHECK(!refusal(tokenizer(kByteLevel, R"({"b":0})", added)).empty());
    }
    const std::string good = tokenizer(kByteLevel, R"({"a":0,"é":1})", R"([{"id":2,"content":"<x>","special":true}])");
    CHECK(refusal(good).empty());
    for (std::size_t length = 0; length < good.size(); ++length) CHECK(!refusal(good.substr(0, length)).empty());
    for (const char* json :
         {"", "7", "[]", "null", "{}", R"({"model":7})", R"({"model":[]})", R"({"decoder":{}})", "{\"model\":\"\xFF\"}"}) {
        CHECK(!refusal(json).empty());
    }
    CHECK(mentions(refusal(tokenizer(kByteLevel, "{\"\xC3(\":0}")), "UTF-8"));
    CHECK(!refusal(std::string(200000, '[')).empty());
    CHECK(!refusal(R"({"decoder":)" + std::string(200000, '[')).empty());
    CHECK(!refusal(R"({"x":)" + std::string(200000, '[')).empty());
    std::string growing = R"({"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaaaaaaaa"})";
    std::string list = growing;
    for (int i = 0; i < 30; ++i) list += "," + growing;
    CHECK(mentions(refusal(tokenizer(R"({"type":"Sequence","decoders":[)" + list + "]}", R"({"a":0})")), "megabyte"));
}

TEST(tables_from_pieces) {
    const auto table = TokenTable::from_pieces({" a", "\xF0", "<s>"}, {false, false, true}, true, {false, true});
    CHECK_EQ(table->size(), 3);
    CHECK_EQ(table->bytes(0), " a");
    CHECK(table->is_byte(1));
    CHECK(table->is_special(2));
    CHECK_EQ(text_of(table, {2, 0, 0}, true), "a a");
    CHECK_EQ(TokenTable::from_pieces({}, {}, false)->size(), 0);
}
