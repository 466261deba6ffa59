// Safetensors checkpoints: one file, or several with an index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loader/mapped_file.h"

namespace tfserve {

/// Element types we compute with; `other` is any further type of the format (integers, 8-bit floats, ...).
enum class DType : std::uint8_t { bfloat16, float16, float32, float64, other };

/// "bfloat16", "float16", "float32", "float64", "other".
const char* dtype_name(DType type);
/// Bytes of one element; 0 for `other`.
std::size_t dtype_size(DType type);

/// One tensor of a checkpoint; the data lies in a mapped file.
struct SafeTensor {
    DType dtype = DType::other;
    std::string dtype_text;           ///< as the file spells it
    std::vector<std::int64_t> shape;  ///< outermost first, at most 8 entries, each >= 0; empty: a scalar
    std::span<const std::byte> data;  ///< exactly product(shape) elements; may be unaligned
    std::size_t file = 0;             ///< index into Checkpoint::files()

    std::int64_t elements() const;
};

/// The header of one safetensors file: every number in it has been checked against `bytes`, which must stay alive.
/// `name` stands for the file in messages. Throws LoadError.
std::map<std::string, SafeTensor> parse_safetensors(std::span<const std::byte> bytes, const std::string& name);

/// All tensors of a checkpoint directory: model.safetensors, or else the files of model.safetensors.index.json.
class Checkpoint {
   public:
    /// Maps the files and reads their headers. Throws LoadError.
    static Checkpoint open(const std::filesystem::path& directory);

    /// nullptr when there is none of that name.
    const SafeTensor* find(std::string_view name) const;
    const std::map<std::string, SafeTensor, std::less<>>& tensors() const { return tensors_; }
    const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }

   private:
    void add_file(const std::filesystem::path& path);

    std::map<std::string, SafeTensor, std::less<>> tensors_;
    std::vector<std::shared_ptr<const MappedFile>> files_;
};

}  // namespace tfserve
