// The header of a GGUF file, read with bounds. Knows nothing of ggml or llama.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tfserve {

/// Types of metadata values, numbered as in the file format.
enum class GgufType : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

/// One metadata value: a scalar, or a list of scalars of one type.
struct GgufValue {
    GgufType type = GgufType::u8;  ///< of the elements; never `array`
    bool is_list = false;
    std::uint64_t count = 1;          ///< elements
    std::span<const std::byte> data;  ///< as in the file, unaligned; of a scalar text its bytes alone, else each text after its length

    /// The texts of a string value, in order; empty for other types.
    std::vector<std::string_view> texts() const;
};

struct GgufTensor {
    std::string name;
    std::uint32_t type = 0;
    std::array<std::int64_t, 4> shape = {1, 1, 1, 1};  ///< innermost first, each >= 1
    std::uint64_t offset = 0;                          ///< in the file
    std::uint64_t size = 0;                            ///< bytes; all of them lie within the file
};

/// How a type of weights is laid out; `block` 0: there is no such type.
struct GgufWeightType {
    std::uint32_t block = 0;  ///< elements
    std::uint32_t bytes = 0;  ///< of a block
    const char* name = "";
};
/// From the number in the file.
using GgufWeightTypes = GgufWeightType (*)(std::uint32_t type);

/// Every number in it has been checked against the file's bytes, which must stay alive.
struct GgufHeader {
    std::uint32_t version = 0;
    std::map<std::string, GgufValue, std::less<>> values;
    std::vector<GgufTensor> tensors;  ///< in the order of the file, names unique

    const GgufValue* find(std::string_view key) const;
};

/// Reads versions 2 and 3. `name` stands for the file in messages. Throws LoadError.
GgufHeader parse_gguf_header(std::span<const std::byte> bytes, const std::string& name, GgufWeightTypes types);

}  // namespace tfserve
