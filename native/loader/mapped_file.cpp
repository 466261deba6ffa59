#include "loader/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "loader/load_error.h"

namespace tfserve {

namespace {

struct FileDescriptor {
    int value;
    ~FileDescriptor() {
        if (value >= 0) ::close(value);
    }
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : name_(path.filename().string()) {
    // O_NONBLOCK: a named pipe must not hold up the load
    const FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (file.value < 0) {
        const bool missing = errno == ENOENT || errno == ENOTDIR;
        throw LoadError(missing ? LoadError::Kind::not_found : LoadError::Kind::invalid,
                        name_ + " cannot be opened: " + std::strerror(errno) + ".");
    }
    struct stat status = {};
    if (::fstat(file.value, &status) != 0 || !S_ISREG(status.st_mode)) {
        throw LoadError(LoadError::Kind::invalid, name_ + " is not a regular file.");
    }
    if (status.st_size <= 0) throw LoadError(LoadError::Kind::invalid, name_ + " is empty.");
    if (static_cast<std::uintmax_t>(status.st_size) > std::numeric_limits<std::size_t>::max() / 2) {
        throw LoadError(LoadError::Kind::invalid, name_ + " is too large for this machine.");
    }
    size_ = static_cast<std::size_t>(status.st_size);
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.value, 0);
    if (address == MAP_FAILED) {
        throw LoadError(LoadError::Kind::out_of_memory, name_ + " cannot be mapped into memory: " + std::strerror(errno) + ".");
    }
    data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), name_(std::move(other.name_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(name_, other.name_);
    return *this;
}

void MappedFile::prefetch() const { ::madvise(const_cast<std::byte*>(data_), size_, MADV_WILLNEED); }

void MappedFile::discard(std::span<const std::byte> part) const {
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto start = reinterpret_cast<std::uintptr_t>(part.data());
    // whole pages: those at the ends belong to neighbours too
    const std::uintptr_t first = (start + page - 1) / page * page, last = (start + part.size()) / page * page;
    if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace tfserve
