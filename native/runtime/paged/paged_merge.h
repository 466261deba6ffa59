// Flash-decoding's second half: joins the partial results of units whose cell range was split.
#pragma once

#include <cstddef>

namespace tfserve::paged {

/// Where partial rows lie in the work buffer. A partial row is (max, sum, o[dv]); a token row holds one for each query head.
/// The token rows of one split unit are stored as [KV head][token][head of the group], which is what a kernel job writes.
struct PartialLayout {
    int n_head = 1;
    int group = 1;  ///< query heads that share a KV head
    int dv = 1;

    std::size_t row_floats() const { return static_cast<std::size_t>(dv) + 2; }
    /// Floats that `partial_rows` token rows take.
    std::size_t buffer_floats(std::size_t partial_rows) const { return partial_rows * static_cast<std::size_t>(n_head) * row_floats(); }
    /// tf_kernel_job::part_head of a unit with so many tokens: floats from one KV head to the next.
    std::size_t head_stride(int n_tokens) const {
        return static_cast<std::size_t>(group) * static_cast<std::size_t>(n_tokens) * row_floats();
    }
    /// Floats from the partial results of one split to those of the next.
    std::size_t split_stride(int n_tokens) const { return buffer_floats(static_cast<std::size_t>(n_tokens)); }
    /// Floats before the row of (KV head, token of the unit, head of the group) of a unit that starts at token row `partial_row`.
    std::size_t offset(int partial_row, int n_tokens, int head_kv, int token, int head) const {
        return buffer_floats(static_cast<std::size_t>(partial_row)) + static_cast<std::size_t>(head_kv) * head_stride(n_tokens) +
               (static_cast<std::size_t>(token) * static_cast<std::size_t>(group) + static_cast<std::size_t>(head)) * row_floats();
    }
};

/// dst[dv] = the attention result of one query row from its `n_split` partial rows, `stride` floats apart. `sink` is the head's
/// sink logit or null: it takes part in the softmax's sum but brings no value. Zero when no cell was visible in any split.
void merge_partials(const float* part, std::size_t stride, int n_split, int dv, const float* sink, float* dst);

}  // namespace tfserve::paged
