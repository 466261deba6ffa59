#include "loader/weight_writer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "ggml-backend.h"
#include "loader/load_error.h"
#include "loader/parallel.h"
#include "loader/row_converter.h"
#include "loader/row_reader.h"

namespace tfserve {

namespace {

void check_target(const PlannedTensor& planned, const ggml_tensor* target) {
    const std::vector<std::int64_t>& shape = planned.shape;
    bool fits = true;
    for (std::size_t dim = 0; dim < GGML_MAX_DIMS; ++dim) {
        fits = fits && target->ne[dim] == (dim < shape.size() ? shape[shape.size() - 1 - dim] : 1);
    }
    if (fits) return;
    throw LoadError(LoadError::Kind::invalid, "The tensor " + planned.name + " has a shape that this architecture does not expect.");
}

bool stays_in_place(const PlannedTensor& planned, const ggml_tensor* target) {
    if (!planned.whole || planned.sources.front()->dtype == DType::float64) return false;
    const SafeTensor& source = *planned.sources.front();
    if (ggml_type_of(source.dtype) != target->type) return false;
    // vector instructions of ggml load unaligned, its scalar tails need the element's own alignment
    if (reinterpret_cast<std::uintptr_t>(source.data.data()) % dtype_size(source.dtype) != 0) return false;
    return target->buffer != nullptr && ggml_backend_buffer_get_type(target->buffer) == ggml_backend_cpu_buffer_type();
}

/// Writes all rows to `to`, in chunks that several threads take.
void write_rows(const PlannedTensor& planned, ggml_type type, std::int32_t threads, std::byte* to, WriteStats& stats) {
    const std::int64_t rows = planned.slices() * planned.rows(), width = planned.width();
    const std::size_t row_bytes = ggml_row_size(type, width);
    const bool as_stored = RowReader(planned).type() == type && planned.add == 0;
    // large enough that a thread is worth while, small enough that its floats stay in the cache
    constexpr std::int64_t kChunkElements = 1 << 16;
    const std::int64_t chunk_rows = std::clamp<std::int64_t>(kChunkElements / width, 1, rows);
    std::atomic<std::uint64_t> overflows = 0;
    in_parallel((rows + chunk_rows - 1) / chunk_rows, threads, [&](std::int64_t chunk) {
        RowReader reader(planned);
        const std::int64_t first = chunk * chunk_rows, count = std::min(chunk_rows, rows - first);
        std::byte* out = to + static_cast<std::size_t>(first) * row_bytes;
        if (as_stored) {
            for (std::int64_t i = 0; i < count; ++i) reader.read(first + i, out + static_cast<std::size_t>(i) * row_bytes);
            return;
        }
        std::vector<float> wide(static_cast<std::size_t>(count * width));
        for (std::int64_t i = 0; i < count; ++i) reader.read_wide(first + i, wide.data() + i * width);
        if (ggml_is_quantized(type) && !all_finite(wide.data(), wide.size())) {
            throw LoadError(LoadError::Kind::invalid,
                            "The tensor " + planned.name + " holds values that are infinite or no numbers: it cannot be quantised.");
        }
        overflows += convert_rows(wide.data(), count, width, type, out);
    });
    stats.overflows += overflows;
}

}  // namespace

void write_tensor(const PlannedTensor& planned, ggml_tensor* target, const WriteOptions& options, WriteStats& stats) {
    check_target(planned, target);
    const std::size_t bytes = ggml_nbytes(target);
    if (planned.sources.empty()) {
        ggml_backend_tensor_set(target, planned.values.data(), 0, bytes);
        stats.copied_bytes += bytes;
        return;
    }
    const SafeTensor& source = *planned.sources.front();
    if (options.zero_copy && stays_in_place(planned, target)) {
        target->data = const_cast<std::byte*>(source.data.data());  // read-only mapping; weights are never written
        stats.mapped_bytes += bytes;
        return;
    }
    stats.copied_bytes += bytes;
    if (planned.whole && source.dtype != DType::float64 && ggml_type_of(source.dtype) == target->type) {
        ggml_backend_tensor_set(target, source.data.data(), 0, bytes);
        return;
    }
    const auto start = std::chrono::steady_clock::now();
    if (target->buffer != nullptr && ggml_backend_buffer_is_host(target->buffer)) {
        write_rows(planned, target->type, options.threads, static_cast<std::byte*>(target->data), stats);
    } else {
        std::vector<std::byte> staged(bytes);
        write_rows(planned, target->type, options.threads, staged.data(), stats);
        ggml_backend_tensor_set(target, staged.data(), 0, bytes);
    }
    if (ggml_is_quantized(target->type) && planned.scales == nullptr) {
        stats.quantized_ms += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    }
}

}  // namespace tfserve
