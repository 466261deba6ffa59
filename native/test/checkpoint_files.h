// Checkpoints on disk for the loader's tests: written from scratch, with anything a test wants to be wrong.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace tfserve::testing {

/// A directory of its own, removed at the end.
class TemporaryDirectory {
   public:
    TemporaryDirectory() {
        std::string name = (std::filesystem::temp_directory_path() / "tfserve-test-XXXXXX").string();
        path_ = ::mkdtemp(name.data());
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path write(const std::string& name, const std::string& content) const {
        std::ofstream(path_ / name, std::ios::binary) << content;
        return path_ / name;
    }

   private:
    std::filesystem::path path_;
};

/// A safetensors file of a header and so many zero bytes.
inline std::string safetensors_bytes(const std::string& header, std::size_t data_bytes) {
    const std::uint64_t size = header.size();
    std::string bytes(sizeof size, '\0');
    std::memcpy(bytes.data(), &size, sizeof size);
    return bytes + header + std::string(data_bytes, '\0');
}

/// A sound file with zeros in BF16 of the given shapes.
inline std::string zero_safetensors(const std::map<std::string, std::vector<std::int64_t>>& shapes, const std::string& dtype = "BF16",
                                    std::size_t element_bytes = 2) {
    std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
    std::size_t at = 0;
    for (const auto& [name, shape] : shapes) {
        std::size_t bytes = element_bytes;
        std::string dims;
        for (std::int64_t dim : shape) {
            bytes *= static_cast<std::size_t>(dim);
            dims += (dims.empty() ? "" : ",") + std::to_string(dim);
        }
        header += ",\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + dims + "],\"data_offsets\":[" + std::to_string(at) + "," +
                  std::to_string(at + bytes) + "]}";
        at += bytes;
    }
    return safetensors_bytes(header + "}", at);
}

}  // namespace tfserve::testing
