// Rows on their way into memory: fetched, quantised, converted; against what the formats' definitions give.
#include "loader/row_converter.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "loader/parallel.h"
#include "loader/row_reader.h"
#include "testing.h"

using namespace tfserve;

namespace {

constexpr std::int64_t kWidth = 512, kRows = 24;

std::vector<float> normal_rows(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    std::vector<float> rows(kWidth * kRows);
    for (float& value : rows) value = normal(random);
    return rows;
}

/// Relative root mean square error after a round trip.
double round_trip_error(const std::vector<float>& rows, BlockType block) {
    const ggml_type type = ggml_type_of(block);
    std::vector<std::byte> packed(ggml_row_size(type, kWidth) * kRows);
    CHECK_EQ(convert_rows(rows.data(), kRows, kWidth, type, packed.data()), 0u);
    std::vector<float> back(rows.size());
    ggml_get_type_traits(type)->to_float(packed.data(), back.data(), static_cast<std::int64_t>(back.size()));
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        error += std::pow(rows[i] - back[i], 2);
        norm += std::pow(rows[i], 2);
    }
    return std::sqrt(error / norm);
}

/// Q8_0 by its definition: 32 values share a float16 scale, the largest of them is 127 steps.
std::vector<std::byte> naive_q8_0(const std::vector<float>& rows) {
    std::vector<std::byte> bytes;
    for (std::size_t block = 0; block < rows.size(); block += 32) {
        float largest = 0;
        for (std::size_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(rows[block + i]));
        const float scale = largest / 127;
        const ggml_fp16_t half = ggml_fp32_to_fp16(scale);
        bytes.resize(bytes.size() + sizeof half);
        std::memcpy(bytes.data() + bytes.size() - sizeof half, &half, sizeof half);
        for (std::size_t i = 0; i < 32; ++i) {
            const float steps = scale == 0 ? 0 : std::round(rows[block + i] * (1 / scale));
            bytes.push_back(static_cast<std::byte>(static_cast<std::int8_t>(steps)));
        }
    }
    return bytes;
}

}  // namespace

TEST(every_block_type_keeps_its_error_bound) {
    // of normally distributed weights; what the number of bits lets one expect, with a tenth to spare
    constexpr std::pair<BlockType, double> kBounds[] = {
        {BlockType::q8_0, 0.006},   {BlockType::q6_k, 0.020},   {BlockType::q5_k, 0.040},  {BlockType::q5_1, 0.042},
        {BlockType::q5_0, 0.047},   {BlockType::q4_k, 0.078},   {BlockType::q4_1, 0.086},  {BlockType::q4_0, 0.095},
        {BlockType::iq4_nl, 0.087}, {BlockType::iq4_xs, 0.085}, {BlockType::mxfp4, 0.126}, {BlockType::q3_k, 0.166},
        {BlockType::q2_k, 0.326},
    };
    const std::vector<float> rows = normal_rows(7);
    for (const auto& [type, bound] : kBounds) {
        const double error = round_trip_error(rows, type);
        CHECK(error < bound);
        CHECK(error > bound / 2);  // more exact than its bits allow: then it is another type
        CHECK_EQ(ggml_blck_size(ggml_type_of(type)), block_width(type));
        CHECK(ggml_is_quantized(ggml_type_of(type)));
        CHECK(!ggml_quantize_requires_imatrix(ggml_type_of(type)));
    }
}

TEST(q8_0_is_what_its_definition_says) {
    std::vector<float> rows = normal_rows(8);
    std::fill(rows.begin() + 64, rows.begin() + 96, 0.0f);
    std::vector<std::byte> packed(ggml_row_size(GGML_TYPE_Q8_0, kWidth) * kRows);
    convert_rows(rows.data(), kRows, kWidth, GGML_TYPE_Q8_0, packed.data());
    CHECK(packed == naive_q8_0(rows));
}

TEST(float16_counts_what_it_cannot_hold) {
    std::vector<float> row = {1.0f, 65504.0f, 65519.0f, 65520.0f, -70000.0f, std::numeric_limits<float>::infinity()};
    std::vector<ggml_fp16_t> halves(row.size());
    CHECK_EQ(convert_rows(row.data(), 1, 6, GGML_TYPE_F16, reinterpret_cast<std::byte*>(halves.data())), 2u);
    CHECK_EQ(ggml_fp16_to_fp32(halves[2]), 65504.0f);
    CHECK(std::isinf(ggml_fp16_to_fp32(halves[3])));
}

TEST(finite_is_told_from_not_finite) {
    std::vector<float> values(100, std::numeric_limits<float>::max());
    CHECK(all_finite(values.data(), values.size()));
    for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::nanf("")}) {
        values[57] = bad;
        CHECK(!all_finite(values.data(), values.size()));
    }
    CHECK(all_finite(nullptr, 0));
}

TEST(rows_are_read_through_views_heads_and_slices) {
    // two slices of 4 rows of 3 stored the other way round, in bfloat16 values that are their own index
    std::vector<ggml_bf16_t> stored(24);
    for (std::size_t i = 0; i < stored.size(); ++i) stored[i] = ggml_fp32_to_bf16(static_cast<float>(i));
    const SafeTensor source{.dtype = DType::bfloat16, .dtype_text = "BF16", .shape = {2, 3, 4}, .data = std::as_bytes(std::span(stored))};
    PlannedTensor transposed{.name = "t", .sources = {&source}};
    transposed.shape = {2, 4, 3};
    transposed.view = {0, 12, 1, 4};
    transposed.add = 0.5f;
    RowReader reader(transposed);
    CHECK_EQ(reader.type(), GGML_TYPE_BF16);
    std::vector<float> row(3);
    for (std::int64_t slice = 0; slice < 2; ++slice) {
        for (std::int64_t within = 0; within < 4; ++within) {
            reader.read_wide(slice * 4 + within, row.data());
            for (int i = 0; i < 3; ++i) CHECK_EQ(row[static_cast<std::size_t>(i)], static_cast<float>(slice * 12 + within + 4 * i) + 0.5f);
        }
    }

    PlannedTensor heads{.name = "h", .sources = {&source}};
    heads.shape = {8, 3};
    heads.view = {0, 0, 3, 1};
    heads.interleaved_heads = 2;
    RowReader interleaved(heads);
    const std::int64_t want[] = {0, 2, 1, 3, 4, 6, 5, 7};
    for (std::int64_t at = 0; at < 8; ++at) {
        interleaved.read_wide(at, row.data());
        CHECK_EQ(row[0], static_cast<float>(want[at] * 3));
    }
}

TEST(parts_are_done_once_each_and_a_failure_is_told) {
    for (const int threads : {1, 2, 5}) {
        std::vector<std::atomic<int>> done(100);
        in_parallel(100, threads, [&](std::int64_t part) { ++done[static_cast<std::size_t>(part)]; });
        CHECK(std::all_of(done.begin(), done.end(), [](const auto& count) { return count == 1; }));

        std::atomic<int> begun = 0;
        CHECK_THROWS(in_parallel(1000, threads,
                                 [&](std::int64_t part) {
                                     ++begun;
                                     if (part == 3) throw std::runtime_error("part 3");
                                 }),
                     std::runtime_error);
        // how far others have come when one fails is chance
        if (threads == 1) CHECK_EQ(begun, 4);
    }
    in_parallel(0, 4, [](std::int64_t) { throw std::logic_error("there is no part"); });
}
