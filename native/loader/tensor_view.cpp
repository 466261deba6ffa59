// The per-tensor operations of the families' tables, as strided views.
#include "loader/load_error.h"
#include "loader/tensor_plan.h"

namespace tfserve {

namespace {

/// The parts of kv_b of all heads for keys or for values: rows `first` to `first + count` of each head.
ViewedShape rows_of_heads(const std::vector<std::int64_t>& stored, const HfConfig& config, std::int64_t first, std::int64_t count) {
    const std::int64_t width = stored[1], heads = config.num_attention_heads;
    return {{heads, count, width}, {first * width, stored[0] / heads * width, width, 1}};
}

/// Rows become columns and the other way round, in every slice.
ViewedShape transposed(ViewedShape from) {
    std::swap(from.shape[from.shape.size() - 2], from.shape.back());
    std::swap(from.view.row_stride, from.view.element_stride);
    return from;
}

/// Every second column, from `first` on.
ViewedShape columns_of(ViewedShape from, std::int64_t first) {
    from.shape.back() /= 2;
    from.view.start += first;
    from.view.element_stride *= 2;
    return from;
}

/// Every second row of every slice, from `first` on.
ViewedShape rows_of(ViewedShape from, std::int64_t first) {
    from.shape[from.shape.size() - 2] /= 2;
    from.view.start += first * from.view.row_stride;
    from.view.row_stride *= 2;
    return from;
}

}  // namespace

ViewedShape view_of(Op op, const std::vector<std::int64_t>& stored, const HfConfig& config) {
    const std::size_t dims = stored.size();
    ViewedShape plain{stored, {}};
    plain.view.row_stride = dims == 1 ? 1 : stored.back();
    plain.view.slice_stride = dims == 3 ? stored[1] * stored[2] : 0;
    switch (op) {
        case Op::as_stored:
        case Op::interleave_query:
        case Op::interleave_kv:
        case Op::add_one: return plain;
        case Op::squeeze: return {{stored.back()}, {0, 0, 1, 1}};
        case Op::transpose: return transposed(plain);
        case Op::even_columns: return columns_of(plain, 0);
        case Op::odd_columns: return columns_of(plain, 1);
        case Op::even_rows: return rows_of(plain, 0);
        case Op::odd_rows: return rows_of(plain, 1);
        case Op::even_transposed: return transposed(columns_of(plain, 0));
        case Op::odd_transposed: return transposed(columns_of(plain, 1));
        case Op::mla_key: return transposed(rows_of_heads(stored, config, 0, config.qk_nope_head_dim));
        case Op::mla_value: return rows_of_heads(stored, config, config.qk_nope_head_dim, config.v_head_dim);
    }
    return plain;
}

std::int64_t interleaved_source_row(std::int64_t row, std::int64_t rows_per_head) {
    const std::int64_t head = row / rows_per_head, within = row % rows_per_head;
    return head * rows_per_head + (within % 2) * (rows_per_head / 2) + within / 2;
}

}  // namespace tfserve
