#include "kv_buffer.h"

#include <cstdint>
#include <cstring>

#include "ggml-backend-impl.h"
#include "ggml-impl.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace tfserve::paged {

#if defined(__linux__)
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
// Cells of one block table are scattered, so a large pool misses the TLB on small pages. In a small pool whole huge pages
// would commit memory that no cell uses.
constexpr std::size_t kHugePagesFrom = std::size_t{256} << 20;

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

std::size_t mapped_size(std::size_t size) { return round_up(size, static_cast<std::size_t>(sysconf(_SC_PAGESIZE))); }

/// Reserves memory that starts at a huge page border, or null.
void* reserve(std::size_t size) {
    const std::size_t bytes = mapped_size(size);
    void* raw = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) return nullptr;
    auto* begin = static_cast<char*>(raw);
    const std::size_t head = round_up(reinterpret_cast<std::uintptr_t>(begin), kHugePage) - reinterpret_cast<std::uintptr_t>(begin);
    if (head > 0) munmap(begin, head);
    if (kHugePage > head) munmap(begin + head + bytes, kHugePage - head);
    if (bytes >= kHugePagesFrom) madvise(begin + head, bytes, MADV_HUGEPAGE);
    return begin + head;
}

void free_buffer(ggml_backend_buffer_t buffer) { munmap(buffer->context, mapped_size(buffer->size)); }

void clear_buffer(ggml_backend_buffer_t buffer, std::uint8_t value) {
    // anonymous memory reads as zero after this, and is not committed before the next write
    if (value == 0 && madvise(buffer->context, mapped_size(buffer->size), MADV_DONTNEED) == 0) return;
    std::memset(buffer->context, value, buffer->size);
}

const char* type_name(ggml_backend_buffer_type_t) { return "CPU (committed on use)"; }

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t buft, std::size_t size) {
    void* data = reserve(size);
    if (!data) {
        GGML_LOG_ERROR("%s: cannot reserve %zu bytes\n", __func__, size);
        return nullptr;
    }
    ggml_backend_buffer_t buffer = ggml_backend_cpu_buffer_from_ptr(data, size);
    buffer->buft = buft;
    buffer->iface.free_buffer = free_buffer;
    buffer->iface.clear = clear_buffer;
    return buffer;
}

std::size_t alignment(ggml_backend_buffer_type_t) { return ggml_backend_buft_get_alignment(ggml_backend_cpu_buffer_type()); }

bool is_host(ggml_backend_buffer_type_t) { return true; }

}  // namespace

ggml_backend_buffer_type_t lazy_kv_buffer_type(ggml_backend_buffer_type_t buft) {
    if (buft != ggml_backend_cpu_buffer_type()) return buft;
    static ggml_backend_buffer_type type{{type_name, alloc_buffer, alignment, nullptr, nullptr, is_host}, buft->device, nullptr};
    return &type;
}

#else

ggml_backend_buffer_type_t lazy_kv_buffer_type(ggml_backend_buffer_type_t buft) { return buft; }

#endif

}  // namespace tfserve::paged
