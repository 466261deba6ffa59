#include <sys/stat.h>

#include <algorithm>
#include <random>

#include "checkpoint_files.h"
#include "gguf_files.h"
#include "loader/gguf_check.h"
#include "loader/load_error.h"
#include "testing.h"

namespace tfserve {

using namespace testing;

namespace {

std::string refusal(const std::string& bytes) {
    try {
        parse_gguf_header(std::as_bytes(std::span(bytes)), "model.gguf", &test_weight_types);
        return "";
    } catch (const LoadError& error) {
        return error.what();
    }
}

std::string refusal_of(const std::filesystem::path& path) {
    try {
        check_gguf(path, &test_weight_types);
        return "";
    } catch (const LoadError& error) {
        return error.what();
    }
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

GgufFile with_value(const std::string& value) {
    GgufFile file = sound_gguf();
    file.values.push_back(value);
    return file;
}

/// The value of the key is replaced, or added where it is not there.
GgufFile with_key(const std::string& key, const std::string& value) {
    GgufFile file = sound_gguf();
    std::erase_if(file.values, [&](const std::string& old) { return old.starts_with(gguf_text(key)); });
    if (!value.empty()) file.values.push_back(value);
    return file;
}

GgufFile with_tensor(const std::string& tensor) {
    GgufFile file = sound_gguf();
    file.tensors.push_back(tensor);
    return file;
}

std::string with_counts(std::uint64_t tensors, std::uint64_t keys) {
    std::string bytes = sound_gguf().bytes();
    bytes.replace(8, 16, le(tensors) + le(keys));
    return bytes;
}

GgufFile part(int number, int count) {
    GgufFile file = sound_gguf();
    file.values.push_back(gguf_key("split.count", GgufType::u16) + le<std::uint16_t>(static_cast<std::uint16_t>(count)));
    file.values.push_back(gguf_key("split.no", GgufType::u16) + le<std::uint16_t>(static_cast<std::uint16_t>(number)));
    if (number > 0) file.tensors = {gguf_tensor("blk." + std::to_string(number) + ".weight", {32, 4}, 0, 0)};
    return file;
}

}  // namespace

TEST(gguf_header_reads_values_and_tensors) {
    const std::string bytes = sound_gguf().bytes();
    const GgufHeader header = parse_gguf_header(std::as_bytes(std::span(bytes)), "x", &test_weight_types);
    CHECK_EQ(header.version, 3u);
    REQUIRE(header.find("tokenizer.ggml.tokens") != nullptr);
    CHECK_EQ(header.find("tokenizer.ggml.tokens")->texts(), (std::vector<std::string_view>{"<unk>", "<s>", "</s>", "a"}));
    CHECK_EQ(header.find("general.architecture")->texts(), (std::vector<std::string_view>{"llama"}));
    REQUIRE(header.tensors.size() == 2);
    CHECK_EQ(header.tensors[1].size, 4u * 34);
    CHECK_EQ(header.tensors[1].offset + header.tensors[1].size, bytes.size());
    CHECK(header.find("nothing") == nullptr);
}

TEST(gguf_header_refuses_lies) {
    constexpr std::uint64_t kHuge = ~std::uint64_t{0};
    struct Case {
        std::string bytes;
        const char* reason;
    };
    GgufFile version_1 = sound_gguf(), version_99 = sound_gguf(), other_endian = sound_gguf();
    version_1.version = 1, version_99.version = 99, other_endian.version = 0x03000000;
    const Case cases[] = {
        {"", "not a GGUF file"},
        {"GGU", "not a GGUF file"},
        {"GGML" + std::string(100, '\0'), "not a GGUF file"},
        {"GGUF", "truncated"},
        {version_1.bytes(), "version 1 "},
        {version_99.bytes(), "version 99 "},
        {other_endian.bytes(), "little-endian"},
        {with_counts(kHuge, 1), "more than any model has"},
        {with_counts(1, kHuge), "more than any model has"},
        {with_counts(1u << 20, 12), "more than any model has"},
        {with_counts(16000, 12), "empty or malformed"},
        {with_counts(2, 8000), "a key of"},
        {with_value(le(kHuge) + "key").bytes(), "a key of"},
        {with_value(le<std::uint64_t>(60000) + "key").bytes(), "truncated"},
        {with_value(gguf_u32("", 1)).bytes(), "empty or malformed"},
        {with_value(gguf_u32(std::string("a\0b", 3), 1)).bytes(), "empty or malformed"},
        {with_value(gguf_u32("llama.block_count", 1)).bytes(), "twice"},
        {with_value(gguf_key("a", static_cast<GgufType>(13)) + le(1u)).bytes(), "unknown type (13)"},
        {with_value(gguf_key("a", static_cast<GgufType>(0xFFFFFFFF)) + le(1u)).bytes(), "unknown type"},
        {with_value(gguf_list("a", GgufType::array, 1, std::string(64, '\0'))).bytes(), "unknown type"},
        {with_value(gguf_list("a", GgufType::u64, kHuge, "")).bytes(), "a list of"},
        {with_value(gguf_list("a", GgufType::u64, 1u << 24, "")).bytes(), "truncated"},
        {with_value(gguf_list("a", GgufType::string, 1u << 24, "")).bytes(), "a text of"},
        {with_value(gguf_key("a", GgufType::string) + le(kHuge)).bytes(), "a text of"},
        {with_value(gguf_key("a", GgufType::string) + le<std::uint64_t>(1u << 20)).bytes(), "truncated"},
        {with_value(gguf_u32("general.alignment", 0)).bytes(), "power of two"},
        {with_value(gguf_u32("general.alignment", 48)).bytes(), "power of two"},
        {with_value(gguf_u32("general.alignment", 1)).bytes(), "power of two"},
        {with_value(gguf_u32("general.alignment", 1u << 31)).bytes(), "power of two"},
        {with_value(gguf_string("general.alignment", "32")).bytes(), "power of two"},
        {with_value(gguf_list("general.alignment", GgufType::u32, 0, "")).bytes(), "power of two"},
        {with_tensor(gguf_tensor("output.weight", {32}, 0, 672)).bytes(), "twice"},
        {with_tensor(gguf_tensor("", {32}, 0, 672)).bytes(), "empty or malformed"},
        {with_tensor(gguf_tensor(std::string(64, 'a'), {32}, 0, 672)).bytes(), "name of a tensor of 64 bytes"},
        {with_tensor(gguf_tensor("a", {}, 0, 672)).bytes(), "0 dimensions"},
        {with_tensor(gguf_tensor("a", {1, 1, 1, 1, 1}, 0, 672)).bytes(), "5 dimensions"},
        {with_tensor(gguf_tensor("a", {0}, 0, 672)).bytes(), "out of range"},
        {with_tensor(gguf_tensor("a", {-1}, 0, 672)).bytes(), "out of range"},
        {with_tensor(gguf_tensor("a", {std::int64_t{1} << 32, std::int64_t{1} << 32}, 0, 672)).bytes(), "out of range"},
        {with_tensor(gguf_tensor("a", {std::int64_t{1} << 62}, 0, 672)).bytes(), "too large"},
        {with_tensor(gguf_tensor("a", {std::int64_t{1} << 40}, 0, 672)).bytes(), "beyond its end"},
        {with_tensor(gguf_tensor("a", {33}, 8, 672)).bytes(), "whole blocks of q8_0"},
        {with_tensor(gguf_tensor("a", {32}, 4, 672)).bytes(), "not known"},
        {with_tensor(gguf_tensor("a", {32}, 0xFFFFFFFF, 672)).bytes(), "not known"},
        {with_tensor(gguf_tensor("a", {32}, 0, 0)).bytes(), "instead of 672"},
        {with_tensor(gguf_tensor("a", {32}, 0, 673)).bytes(), "instead of 672"},
        {with_tensor(gguf_tensor("a", {32}, 0, kHuge)).bytes(), "instead of 672"},
        {with_tensor(gguf_tensor("a", {32}, 0, 672)).bytes(), "beyond its end"},
    };
    for (const Case& c : cases) {
        const std::string message = refusal(c.bytes);
        if (!CHECK(contains(message, c.reason))) testing::report(__FILE__, __LINE__, std::string(c.reason) + " -> " + message);
        CHECK(!message.empty() && message.size() < 400);
    }
    CHECK_EQ(refusal(sound_gguf().bytes()), "");
}

TEST(gguf_every_truncation_is_refused) {
    const std::string whole = sound_gguf().bytes();
    for (std::size_t size = 0; size < whole.size(); ++size) CHECK(!refusal(whole.substr(0, size)).empty());
}

TEST(gguf_check_refuses_what_would_end_the_process) {
    struct Case {
        GgufFile file;
        const char* reason;
    };
    const Case cases[] = {
        {with_key("general.architecture", ""), "general.architecture"},
        {with_key("general.architecture", gguf_u32("general.architecture", 1)), "not text"},
        {with_key("llama.block_count", ""), "missing"},
        {with_key("llama.block_count", gguf_u32("llama.block_count", 0)), "not between"},
        {with_key("llama.block_count", gguf_u32("llama.block_count", 1'000'000'000)), "not between"},
        {with_key("llama.block_count", gguf_string("llama.block_count", "1")), "not a whole number"},
        {with_key("llama.block_count", gguf_key("llama.block_count", GgufType::f32) + le(1.0f)), "not a whole number"},
        {with_key("llama.embedding_length", gguf_u32("llama.embedding_length", 0xFFFFFFFF)), "not between"},
        {with_key("llama.attention.head_count", gguf_u32("llama.attention.head_count", 0)), "heads"},
        {with_key("llama.attention.head_count_kv", gguf_u32("llama.attention.head_count_kv", 3)), "multiple"},
        {with_key("llama.rope.freq_base", gguf_key("llama.rope.freq_base", GgufType::f32) + le(0x7fc00000u)), "finite"},
        {with_value(gguf_u32("llama.expert_count", 100000)), "not between"},
        {with_key("tokenizer.ggml.tokens", gguf_u32("tokenizer.ggml.tokens", 4)), "list of texts"},
        {with_key("tokenizer.ggml.tokens", gguf_texts("tokenizer.ggml.tokens", {})), "0 tokens"},
        {with_key("tokenizer.ggml.tokens", gguf_texts("tokenizer.ggml.tokens", {"a", "b", "c", "a"})), "twice"},
        {with_key("tokenizer.ggml.tokens", gguf_texts("tokenizer.ggml.tokens", {"", "b", "c", "[EMPTY_0]"})), "twice"},
        {with_key("tokenizer.ggml.tokens", gguf_texts("tokenizer.ggml.tokens", {"a", "b", "c"})), "one entry for each"},
        {with_key("tokenizer.ggml.scores", gguf_list("tokenizer.ggml.scores", GgufType::f32, 1, le(1.0f))), "one entry for each"},
        {with_key("tokenizer.ggml.token_type", gguf_u32("tokenizer.ggml.token_type", 4)), "one entry for each"},
        {with_key("split.count", gguf_u32("split.count", 1000)), "not between"},
        {part(1, 2), "not the first part"},
    };
    TemporaryDirectory directory;
    for (const Case& c : cases) {
        const std::string message = refusal_of(directory.write("model.gguf", c.file.bytes()));
        if (!CHECK(contains(message, c.reason))) testing::report(__FILE__, __LINE__, std::string(c.reason) + " -> " + message);
        CHECK(contains(message, "model.gguf") && !contains(message, directory.path().string()));
    }
    CHECK_EQ(refusal_of(directory.write("model.gguf", sound_gguf().bytes())), "");

    GgufFile no_bos = sound_gguf();
    for (std::string& value : no_bos.values) {
        if (value.starts_with(gguf_text("tokenizer.ggml.model"))) value = gguf_string("tokenizer.ggml.model", "t5");
    }
    no_bos.values.push_back(gguf_key("tokenizer.ggml.add_bos_token", GgufType::boolean) + "\1");
    CHECK(contains(refusal_of(directory.write("model.gguf", no_bos.bytes())), "adds the bos token"));
}

TEST(gguf_check_reads_every_part) {
    TemporaryDirectory directory;
    const auto first = directory.write("m-00001-of-00003.gguf", part(0, 3).bytes());
    CHECK(contains(refusal_of(first), "m-00002-of-00003.gguf is missing"));
    directory.write("m-00002-of-00003.gguf", part(1, 3).bytes());
    directory.write("m-00003-of-00003.gguf", part(2, 3).bytes());
    CHECK_EQ(refusal_of(first), "");
    // a part in the place of another, without its number, with a tensor of the first, cut short, no file at all
    directory.write("m-00003-of-00003.gguf", part(1, 3).bytes());
    CHECK(contains(refusal_of(first), "is part 3"));
    directory.write("m-00003-of-00003.gguf", sound_gguf().bytes());
    CHECK(contains(refusal_of(first), "is part 3"));
    GgufFile again = part(2, 3);
    again.tensors = {gguf_tensor("output.weight", {32, 4}, 0, 0)};
    directory.write("m-00003-of-00003.gguf", again.bytes());
    CHECK(contains(refusal_of(first), "in another part"));
    const std::string whole = part(2, 3).bytes();
    directory.write("m-00003-of-00003.gguf", whole.substr(0, whole.size() - 300));
    CHECK(contains(refusal_of(first), "m-00003-of-00003.gguf is truncated"));
    std::filesystem::remove(directory.path() / "m-00003-of-00003.gguf");
    REQUIRE(::mkfifo((directory.path() / "m-00003-of-00003.gguf").c_str(), 0600) == 0);
    CHECK(contains(refusal_of(first), "not a regular file"));
    // the parts cannot be told from a name without numbers
    CHECK(contains(refusal_of(directory.write("renamed.gguf", part(0, 3).bytes())), "does not end in -00001-of-00003.gguf"));
}

TEST(gguf_mutations_load_or_are_refused) {
    const std::string whole = sound_gguf().bytes();
    TemporaryDirectory directory;
    std::mt19937_64 random(11);
    int accepted = 0, refused = 0;
    for (int round = 0; round < 4000; ++round) {
        std::string bytes = whole;
        const int changes = 1 + static_cast<int>(random() % 4);
        for (int i = 0; i < changes && !bytes.empty(); ++i) {
            const std::size_t at = random() % bytes.size();
            switch (random() % 5) {
                case 0: bytes[at] = static_cast<char>(random()); break;
                case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8)); break;
                case 2: bytes[at] = static_cast<char>(0xFF); break;
                case 3: bytes.resize(random() % 8 == 0 ? at : bytes.size()); break;
                default: bytes.replace(at, 8, le<std::uint64_t>(random() >> random() % 64)); break;
            }
        }
        (refusal_of(directory.write("model.gguf", bytes)).empty() ? accepted : refused) += 1;
    }
    CHECK(accepted > 0);
    CHECK(refused > 0);
}

}  // namespace tfserve
