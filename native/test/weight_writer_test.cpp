// Whole tensors into memory: what several threads write is what ggml makes of the same rows at once.
#include "loader/weight_writer.h"

#include <cmath>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "checkpoint_files.h"
#include "ggml-backend.h"
#include "loader/load_error.h"
#include "loader/mapped_file.h"
#include "testing.h"

using namespace tfserve;
using namespace tfserve::testing;

namespace {

constexpr std::int64_t kSlices = 3, kRows = 200, kWidth = 768;

/// Experts in bfloat16, and the plan that leaves them as they are.
struct Stored {
    std::vector<ggml_bf16_t> values = std::vector<ggml_bf16_t>(kSlices * kRows * kWidth);
    SafeTensor source;
    PlannedTensor planned{.name = "blk.0.ffn_up_exps.weight"};

    Stored() {
        std::mt19937 random(11);
        std::normal_distribution<float> normal(0.0f, 0.05f);
        for (ggml_bf16_t& value : values) value = ggml_fp32_to_bf16(normal(random));
        source = {
            .dtype = DType::bfloat16, .dtype_text = "BF16", .shape = {kSlices, kRows, kWidth}, .data = std::as_bytes(std::span(values))};
        planned.sources = {&source};
        planned.shape = source.shape;
        planned.view = {0, kRows * kWidth, kWidth, 1};
        planned.whole = true;
    }
    std::vector<float> wide() const {
        std::vector<float> all(values.size());
        ggml_bf16_to_fp32_row(values.data(), all.data(), static_cast<std::int64_t>(all.size()));
        return all;
    }
};

/// A tensor in plain CPU memory.
class Target {
   public:
    Target(ggml_type type, std::int64_t width, std::int64_t rows, std::int64_t slices)
        : context_(ggml_init({ggml_tensor_overhead(), nullptr, true})),
          tensor_(ggml_new_tensor_3d(context_.get(), type, width, rows, slices)) {
        buffer_.reset(ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), ggml_nbytes(tensor_)));
        ggml_backend_tensor_alloc(buffer_.get(), tensor_, ggml_backend_buffer_get_base(buffer_.get()));
    }
    ggml_tensor* get() const { return tensor_; }
    std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(tensor_->data), ggml_nbytes(tensor_)}; }

   private:
    struct Free {
        void operator()(ggml_context* context) const { ggml_free(context); }
        void operator()(ggml_backend_buffer* buffer) const { ggml_backend_buffer_free(buffer); }
    };
    std::unique_ptr<ggml_context, Free> context_;
    std::unique_ptr<ggml_backend_buffer, Free> buffer_;
    ggml_tensor* tensor_;
};

}  // namespace

TEST(quantised_by_several_threads_equals_ggml_at_once) {
    const Stored stored;
    const std::vector<float> wide = stored.wide();
    for (const ggml_type type : {GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_Q6_K, GGML_TYPE_MXFP4}) {
        std::vector<std::byte> want(ggml_row_size(type, kWidth) * kSlices * kRows);
        ggml_quantize_chunk(type, wide.data(), want.data(), 0, kSlices * kRows, kWidth, nullptr);
        for (const std::int32_t threads : {1, 3}) {
            const Target target(type, kWidth, kRows, kSlices);
            WriteStats stats;
            write_tensor(stored.planned, target.get(), {true, threads}, stats);
            CHECK(std::equal(want.begin(), want.end(), target.bytes().begin(), target.bytes().end()));
            CHECK_EQ(stats.copied_bytes, want.size());
            CHECK_EQ(stats.mapped_bytes, 0u);
            CHECK(stats.quantized_ms > 0);
        }
    }
}

TEST(what_needs_no_change_stays_in_place_unless_told_otherwise) {
    const Stored stored;
    const Target in_place(GGML_TYPE_BF16, kWidth, kRows, kSlices), copied(GGML_TYPE_BF16, kWidth, kRows, kSlices);
    WriteStats stats;
    write_tensor(stored.planned, in_place.get(), {true, 2}, stats);
    CHECK_EQ(static_cast<const void*>(in_place.get()->data), static_cast<const void*>(stored.values.data()));
    CHECK_EQ(stats.mapped_bytes, stored.source.data.size());
    write_tensor(stored.planned, copied.get(), {false, 2}, stats);
    CHECK(copied.get()->data != in_place.get()->data);
    CHECK(std::equal(copied.bytes().begin(), copied.bytes().end(), stored.source.data.begin(), stored.source.data.end()));
}

TEST(values_that_are_not_finite_are_not_quantised) {
    Stored stored;
    stored.values[kRows * kWidth + 5] = ggml_fp32_to_bf16(std::nanf(""));
    WriteStats stats;
    const Target quantised(GGML_TYPE_Q8_0, kWidth, kRows, kSlices), wide(GGML_TYPE_F32, kWidth, kRows, kSlices);
    CHECK_THROWS(write_tensor(stored.planned, quantised.get(), {true, 2}, stats), LoadError);
    write_tensor(stored.planned, wide.get(), {true, 2}, stats);
}

TEST(a_target_of_another_shape_is_refused) {
    const Stored stored;
    WriteStats stats;
    const Target other(GGML_TYPE_Q8_0, kWidth, kRows + 1, kSlices);
    CHECK_THROWS(write_tensor(stored.planned, other.get(), {true, 1}, stats), LoadError);
}

TEST(discarded_parts_of_a_file_are_read_anew) {
    const TemporaryDirectory directory;
    std::string content(300'000, 'a');
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>('a' + i % 23);
    const MappedFile file(directory.write("file", content));
    auto same = [&] { return std::equal(content.begin(), content.end(), reinterpret_cast<const char*>(file.bytes().data())); };
    CHECK(same());
    for (const auto& [first, size] :
         std::vector<std::pair<std::size_t, std::size_t>>{{0, 300'000}, {1, 10}, {5000, 100'000}, {299'999, 1}, {7, 0}}) {
        file.discard(file.bytes().subspan(first, size));
        CHECK(same());
    }
}
