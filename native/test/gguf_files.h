// GGUF files for the loader's tests: written from scratch, with anything a test wants to be wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "loader/gguf_header.h"

namespace tfserve::testing {

template <typename T>
std::string le(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
}

inline std::string gguf_text(const std::string& text) { return le<std::uint64_t>(text.size()) + text; }

inline std::string gguf_key(const std::string& key, GgufType type) { return gguf_text(key) + le(static_cast<std::uint32_t>(type)); }
inline std::string gguf_u32(const std::string& key, std::uint32_t value) { return gguf_key(key, GgufType::u32) + le(value); }
inline std::string gguf_string(const std::string& key, const std::string& value) {
    return gguf_key(key, GgufType::string) + gguf_text(value);
}
/// A list whose entries are given as the file has them.
inline std::string gguf_list(const std::string& key, GgufType type, std::uint64_t count, const std::string& entries) {
    return gguf_key(key, GgufType::array) + le(static_cast<std::uint32_t>(type)) + le(count) + entries;
}
inline std::string gguf_texts(const std::string& key, const std::vector<std::string>& texts) {
    std::string entries;
    for (const std::string& text : texts) entries += gguf_text(text);
    return gguf_list(key, GgufType::string, texts.size(), entries);
}

inline std::string gguf_tensor(const std::string& name, const std::vector<std::int64_t>& shape, std::uint32_t type, std::uint64_t offset) {
    std::string bytes = gguf_text(name) + le<std::uint32_t>(static_cast<std::uint32_t>(shape.size()));
    for (std::int64_t dim : shape) bytes += le(dim);
    return bytes + le(type) + le(offset);
}

/// Records as the functions above give them, then the data at the next multiple of 32.
struct GgufFile {
    std::vector<std::string> values, tensors;
    std::size_t data_bytes = 0;
    std::uint32_t version = 3;

    std::string bytes() const {
        std::string all = "GGUF" + le(version) + le<std::uint64_t>(tensors.size()) + le<std::uint64_t>(values.size());
        for (const std::string& value : values) all += value;
        for (const std::string& tensor : tensors) all += tensor;
        if (data_bytes > 0) all.resize((all.size() + 31) / 32 * 32 + data_bytes, '\0');
        return all;
    }
};

/// A model that passes every check, of one f32 and one quantised matrix.
inline GgufFile sound_gguf() {
    GgufFile file;
    file.values = {gguf_string("general.architecture", "llama"),
                   gguf_u32("llama.block_count", 1),
                   gguf_u32("llama.context_length", 64),
                   gguf_u32("llama.embedding_length", 32),
                   gguf_u32("llama.feed_forward_length", 64),
                   gguf_u32("llama.attention.head_count", 4),
                   gguf_u32("llama.attention.head_count_kv", 2),
                   gguf_key("llama.rope.freq_base", GgufType::f32) + le(10000.0f),
                   gguf_string("tokenizer.ggml.model", "llama"),
                   gguf_texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a"}),
                   gguf_list("tokenizer.ggml.scores", GgufType::f32, 4, std::string(16, '\0')),
                   gguf_list("tokenizer.ggml.token_type", GgufType::i32, 4, std::string(16, '\0'))};
    file.tensors = {gguf_tensor("token_embd.weight", {32, 4}, 0, 0), gguf_tensor("output.weight", {32, 4}, 8, 512)};
    file.data_bytes = 512 + 4 * 34;
    return file;
}

/// The types that the tests use, numbered as in the file format.
inline GgufWeightType test_weight_types(std::uint32_t type) {
    switch (type) {
        case 0: return {1, 4, "f32"};
        case 1: return {1, 2, "f16"};
        case 8: return {32, 34, "q8_0"};
        default: return {};
    }
}

}  // namespace tfserve::testing
