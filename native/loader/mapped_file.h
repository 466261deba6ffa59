// A read-only view of a file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace tfserve {

/// A regular file mapped read-only for the life of the object. Symbolic links are followed (Hugging Face caches consist of them).
class MappedFile {
   public:
    /// Throws LoadError when the file cannot be opened, is not a regular file, or is empty.
    explicit MappedFile(const std::filesystem::path& path);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    std::span<const std::byte> bytes() const { return {data_, size_}; }
    /// Last part of the path, safe to print.
    const std::string& name() const { return name_; }
    /// Asks the system to read the whole file ahead.
    void prefetch() const;
    /// Takes a part of bytes() out of this process's memory: it is read anew when it is looked at again.
    void discard(std::span<const std::byte> part) const;

   private:
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::string name_;
};

}  // namespace tfserve
