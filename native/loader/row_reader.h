// Rows of a planned tensor, fetched from the checkpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ggml.h"
#include "loader/tensor_plan.h"

namespace tfserve {

/// The ggml type of a DType. Precondition: bfloat16, float16 or float32.
ggml_type ggml_type_of(DType type);

/// Fetches rows, numbered through all slices. Several threads may read at once, each with a reader of its own. The plan must have sources.
class RowReader {
   public:
    explicit RowReader(const PlannedTensor& planned);

    /// The type of what read() gives; GGML_TYPE_COUNT for float64, which ggml does not have.
    ggml_type type() const;
    /// Writes one row to `to`, in the type it is stored in and without `add`; MXFP4 as ggml lays it out.
    void read(std::int64_t row, std::byte* to) const;
    /// Writes one row to `to` in float32, `add` included.
    void read_wide(std::int64_t row, float* to);

   private:
    void read_mxfp4(std::int64_t slice, std::int64_t within, std::byte* to) const;

    const PlannedTensor& planned_;
    const DType dtype_;
    const std::size_t element_;
    const std::int64_t rows_per_head_;
    std::vector<std::byte> stored_;
};

}  // namespace tfserve
