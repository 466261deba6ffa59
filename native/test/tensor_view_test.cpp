// The per-tensor operations of the families' tables.
#include <set>

#include "loader/tensor_plan.h"
#include "testing.h"

namespace tfserve {

namespace {

/// The stored elements that a view picks, in the order of the target.
std::vector<std::int64_t> elements(Op op, const std::vector<std::int64_t>& stored, const HfConfig& config) {
    const auto [shape, view] = view_of(op, stored, config);
    const PlannedTensor tensor{.name = "", .shape = shape, .view = view};
    std::vector<std::int64_t> out;
    for (std::int64_t slice = 0; slice < tensor.slices(); ++slice) {
        for (std::int64_t row = 0; row < tensor.rows(); ++row) {
            for (std::int64_t i = 0; i < tensor.width(); ++i) {
                out.push_back(view.start + slice * view.slice_stride + row * view.row_stride + i * view.element_stride);
            }
        }
    }
    return out;
}

std::vector<std::int64_t> elements(Op op, const std::vector<std::int64_t>& stored) {
    static const HfConfig kNothing;
    return elements(op, stored, kNothing);
}

}  // namespace

TEST(operations_pick_the_right_elements) {
    using Ids = std::vector<std::int64_t>;
    CHECK_EQ(elements(Op::as_stored, {2, 3}), (Ids{0, 1, 2, 3, 4, 5}));
    CHECK_EQ(elements(Op::as_stored, {4}), (Ids{0, 1, 2, 3}));
    CHECK_EQ(elements(Op::squeeze, {1, 3}), (Ids{0, 1, 2}));
    CHECK_EQ(elements(Op::transpose, {2, 3}), (Ids{0, 3, 1, 4, 2, 5}));
    CHECK_EQ(elements(Op::transpose, {2, 1, 2}), (Ids{0, 1, 2, 3}));
    CHECK_EQ(elements(Op::even_columns, {2, 4}), (Ids{0, 2, 4, 6}));
    CHECK_EQ(elements(Op::odd_columns, {2, 4}), (Ids{1, 3, 5, 7}));
    CHECK_EQ(elements(Op::even_rows, {4, 2}), (Ids{0, 1, 4, 5}));
    CHECK_EQ(elements(Op::odd_rows, {2, 2, 2}), (Ids{2, 3, 6, 7}));
    // two experts, hidden 2, gate and up of width 2 in turns
    CHECK_EQ(elements(Op::even_transposed, {2, 2, 4}), (Ids{0, 4, 2, 6, 8, 12, 10, 14}));
    CHECK_EQ(elements(Op::odd_transposed, {2, 2, 4}), (Ids{1, 5, 3, 7, 9, 13, 11, 15}));
    // two heads, each one row for the key and two for the value, rank 2
    HfConfig latent;
    latent.num_attention_heads = 2, latent.qk_nope_head_dim = 1, latent.v_head_dim = 2;
    CHECK_EQ(elements(Op::mla_key, {6, 2}, latent), (Ids{0, 1, 6, 7}));
    CHECK_EQ(view_of(Op::mla_key, {6, 2}, latent).shape, (Ids{2, 2, 1}));
    CHECK_EQ(elements(Op::mla_value, {6, 2}, latent), (Ids{2, 3, 4, 5, 8, 9, 10, 11}));
}

TEST(operations_stay_inside_what_is_stored) {
    HfConfig latent;
    latent.num_attention_heads = 3, latent.qk_nope_head_dim = 4, latent.v_head_dim = 2;
    for (Op op : {Op::as_stored, Op::interleave_query, Op::interleave_kv, Op::add_one, Op::transpose, Op::even_columns, Op::odd_columns,
                  Op::even_rows, Op::odd_rows, Op::even_transposed, Op::odd_transposed, Op::mla_key, Op::mla_value}) {
        const std::vector<std::int64_t> stored = {18, 6};
        const std::vector<std::int64_t> picked = elements(op, stored, latent);
        const std::set<std::int64_t> distinct(picked.begin(), picked.end());
        CHECK(distinct.size() == picked.size() && *distinct.begin() >= 0 && *distinct.rbegin() < 18 * 6);
    }
}

}  // namespace tfserve
