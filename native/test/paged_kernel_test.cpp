#include "runtime/paged/paged_kernel.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "paged_reference.h"
#include "runtime/paged/paged_merge.h"
#include "testing.h"

using namespace tfserve::paged;
using namespace tfserve::paged::test;

namespace {

/// One attention problem of one sequence; fields are set by the tests, `run` compares a kernel with the reference.
struct Problem {
    int dk = 64, dv = 64, g = 3, heads_kv = 2, n_tokens = 1;
    int k_type = TF_KERNEL_F16, v_type = TF_KERNEL_F16;
    int page_shift = 4;
    int cells = 100;       ///< the sequence's length
    int window = 0;        ///< 0: all earlier cells are visible
    bool causal = true;    ///< false: all tokens see all cells
    int blind_token = -1;  ///< a token that sees nothing
    float softcap = 0, query_size = 1, value_size = 1;
    bool slopes = false, sinks = false;
    std::vector<int> cuts;  ///< split at these cells and merge
    unsigned seed = 1;

    std::string text() const {
        char s[240];
        std::snprintf(s, sizeof(s),
                      "dk %d dv %d g %d heads %d tokens %d types %d/%d page 2^%d cells %d window %d causal %d cap %g slopes %d "
                      "sinks %d splits %zu q %g seed %u",
                      dk, dv, g, heads_kv, n_tokens, k_type, v_type, page_shift, cells, window, causal, static_cast<double>(softcap),
                      slopes, sinks, cuts.size(), static_cast<double>(query_size), seed);
        return s;
    }

    void run(const tf_kernel* kernel) const;
};

constexpr float kSentinel = 12345.0f;

void Problem::run(const tf_kernel* kernel) const {
    Random random(seed);
    const int page = 1 << page_shift;
    const int n_pages = (cells + page - 1) / page;
    // pages of the sequence lie in any order between those of others
    std::vector<std::int32_t> pages(static_cast<std::size_t>(2 * n_pages + 1));
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), random);
    std::vector<std::int32_t> table(pages.begin(), pages.begin() + n_pages);
    Cells k(k_type, (2 * n_pages + 1) * page, heads_kv, dk);
    Cells v(v_type, (2 * n_pages + 1) * page, heads_kv, dv);

    std::vector<std::int32_t> first, end, row;
    for (int t = 0; t < n_tokens; ++t) {
        const int e = causal ? cells - n_tokens + t + 1 : cells;
        first.push_back(window > 0 ? std::max(0, e - window) : 0);
        end.push_back(t == blind_token ? first.back() : e);
        row.push_back(t);
    }
    std::shuffle(row.begin(), row.end(), random);
    const int cell0 = *std::min_element(first.begin(), first.end());
    const int cell1 = *std::max_element(end.begin(), end.end());
    // cells outside of the range, in the same pages or in others, stay NaN: nobody may read them
    for (int i = cell0; i < cell1; ++i) {
        const std::int64_t cell = static_cast<std::int64_t>(table[static_cast<std::size_t>(i >> page_shift)]) * page + i % page;
        k.fill(random, cell, 1.0f);
        v.fill(random, cell, value_size);
    }

    // pages before a window have been given back
    std::fill(table.begin(), table.begin() + (cell0 >> page_shift), -(1 << 20));

    const int n_head = heads_kv * g;
    const std::size_t q_head = static_cast<std::size_t>(dk) + 3;  // not packed, not aligned
    const std::size_t q_token = q_head * static_cast<std::size_t>(n_head);
    std::vector<float> q(q_token * static_cast<std::size_t>(n_tokens));
    for (float& x : q) {
        x = uniform(random, -query_size, query_size);
    }
    std::vector<float> slope_values, sink_values;
    for (int h = 0; h < n_head; ++h) {
        slope_values.push_back(slopes ? std::pow(2.0f, -static_cast<float>(1 + h % 8)) : 0.0f);
        sink_values.push_back(uniform(random, -3.0f, 3.0f));
    }

    const std::size_t dst_head = static_cast<std::size_t>(dv) + 1;
    const std::size_t dst_token = dst_head * static_cast<std::size_t>(n_head);
    std::vector<float> dst(dst_token * static_cast<std::size_t>(n_tokens), kSentinel);

    tf_kernel_job job = {};
    job.k = k.data.data();
    job.v = v.data.data();
    job.k_cell = k.cell_bytes;
    job.k_head = k.head_bytes;
    job.v_cell = v.cell_bytes;
    job.v_head = v.head_bytes;
    job.k_type = k_type;
    job.v_type = v_type;
    job.k_to_f32 = job.v_to_f32 = bytes_to_f32;
    job.table = table.data();
    job.page_shift = page_shift;
    job.dk = dk;
    job.dv = dv;
    job.g = g;
    job.n_tokens = n_tokens;
    job.n_heads_kv = heads_kv;
    job.token_row = row.data();
    job.first_cell = first.data();
    job.end_cell = end.data();
    job.q = reinterpret_cast<const char*>(q.data());
    job.q_token = q_token * sizeof(float);
    job.q_head = q_head * sizeof(float);
    job.dst = dst.data();
    job.dst_token = dst_token;
    job.dst_head = dst_head;
    job.scale = 1.0f / std::sqrt(static_cast<float>(dk));
    job.softcap = softcap;
    job.slopes = slopes ? slope_values.data() : nullptr;
    job.sinks = sinks ? sink_values.data() : nullptr;

    // scratch: misaligned, full of NaN, with a guard behind it
    const std::size_t need = kernel->scratch_bytes(dk, dv, n_tokens * g, heads_kv);
    std::vector<unsigned char> scratch(need + 64 + 32, 0xff);
    unsigned char* start = scratch.data() + pick(random, 0, 63);
    std::memset(start + need, 0xa5, 16);

    std::vector<int> edges = {cell0};
    for (const int cut : cuts) {
        if (cut > edges.back() && cut < cell1) {
            edges.push_back(cut);
        }
    }
    edges.push_back(cell1);
    const int n_split = static_cast<int>(edges.size()) - 1;
    const PartialLayout layout{n_head, g, dv};
    std::vector<float> part(layout.buffer_floats(static_cast<std::size_t>(n_split * n_tokens)), kSentinel);
    for (int s = 0; s < n_split; ++s) {
        job.cell0 = edges[static_cast<std::size_t>(s)];
        job.cell1 = edges[static_cast<std::size_t>(s) + 1];
        if (!cuts.empty()) {
            job.part = part.data() + layout.offset(s * n_tokens, n_tokens, 0, 0, 0);
            job.part_head = layout.head_stride(n_tokens);
        }
        kernel->run(&job, start);
    }
    for (int i = 0; i < 16; ++i) {
        CHECK_EQ(static_cast<int>(start[need + static_cast<std::size_t>(i)]), 0xa5);
    }

    bool good = true;
    double worst = 0;
    for (int t = 0; t < n_tokens; ++t) {
        for (int h = 0; h < n_head; ++h) {
            const std::size_t token = static_cast<std::size_t>(row[static_cast<std::size_t>(t)]);
            const std::size_t head = static_cast<std::size_t>(h);
            float* out = dst.data() + token * dst_token + head * dst_head;
            const float* sink = sinks ? &sink_values[head] : nullptr;
            if (!cuts.empty()) {
                const float* first_part = part.data() + layout.offset(0, n_tokens, h / g, t, h % g);
                merge_partials(first_part, layout.split_stride(n_tokens), n_split, dv, sink, out);
            }
            const Reference expected =
                attend(q.data() + token * q_token + head * q_head, k, v, h / g, table.data(), page_shift,
                       first[static_cast<std::size_t>(t)], end[static_cast<std::size_t>(t)], job.scale, softcap, slope_values[head], sink);
            // F32 throughout, but for the kernel that rounds queries and weights to BF16 where the cache is BF16
            double tolerance = value_size * (2e-5 + 3e-6 * expected.largest_score);
            if (std::strcmp(kernel->name, "avx512bf16") == 0) {
                tolerance += value_size * (v_type == TF_KERNEL_BF16 ? 0.003 : 0.0);
                tolerance += value_size * (k_type == TF_KERNEL_BF16 ? 0.008 * expected.score_spread : 0.0);
            }
            for (int d = 0; d < dv; ++d) {
                const double error = std::fabs(static_cast<double>(out[d]) - expected.out[static_cast<std::size_t>(d)]);
                good = good && error <= tolerance;  // false for NaN
                worst = std::isnan(error) ? error : std::fmax(worst, error);
            }
            good = good && out[dv] == kSentinel;
        }
    }
    CHECK(good);
    if (!good) {
        std::printf("  %s: %s: error %g\n", kernel->name, text().c_str(), worst);
    }
}

std::vector<const tf_kernel*> kernels() {
    const tf_kernel* list[8];
    const int n = tf_kernel_list(list, 8);
    return {list, list + n};
}

void run_all(const Problem& problem) {
    for (const tf_kernel* kernel : kernels()) {
        if (kernel->accepts(problem.dk, problem.dv)) {
            problem.run(kernel);
        }
    }
}

}  // namespace

TEST(the_list_of_kernels_is_usable) {
    const auto list = kernels();
    CHECK(!list.empty());
    CHECK(list.back() == tf_kernel_portable());
    CHECK(std::find(list.begin(), list.end(), tf_kernel_best()) != list.end());
    for (const int size : {1, 7, 20, 64, 72, 576}) {
        CHECK(tf_kernel_portable()->accepts(size, size));
        CHECK(tf_kernel_for(size, size) != nullptr);
        CHECK(tf_kernel_for(size, size)->accepts(size, size));
    }
    if (!std::getenv("TFSERVE_ATTN_KERNEL")) {
        CHECK(tf_kernel_for(64, 64) == list.front());
    }
    const tf_kernel* one[1];
    CHECK_EQ(tf_kernel_list(one, 1), 1);
    CHECK_EQ(tf_kernel_list(one, 0), 0);
}

TEST(kernels_decode_all_head_sizes) {
    unsigned seed = 100;
    const int sizes[][2] = {{8, 8},   {16, 24}, {20, 20},   {24, 40},   {32, 32},   {40, 40},  {48, 112},  {64, 64},
                            {72, 72}, {80, 80}, {96, 96},   {112, 112}, {128, 128}, {128, 64}, {192, 128}, {256, 256},
                            {7, 3},   {1, 1},   {160, 176}, {200, 208}, {576, 512}, {1056, 32}};
    for (const auto& size : sizes) {
        for (const int type : {TF_KERNEL_F16, TF_KERNEL_BF16, TF_KERNEL_F32, TF_KERNEL_OTHER}) {
            Problem p;
            p.dk = size[0];
            p.dv = size[1];
            p.k_type = p.v_type = type;
            p.heads_kv = p.dk > 256 ? 1 : 2;
            p.cells = 131;
            p.seed = ++seed;
            run_all(p);
            p.n_tokens = 9;  // many rows, in blocks of unequal visibility
            p.cells = 97;
            run_all(p);
        }
    }
}

TEST(kernels_take_every_group_size) {
    for (int g = 1; g <= 16; ++g) {
        for (const int tokens : {1, 2, 128 / g}) {
            Problem p;
            p.g = g;
            p.n_tokens = tokens;
            p.cells = 129 + g;
            p.dk = p.dv = 32;
            p.seed = static_cast<unsigned>(200 + g);
            run_all(p);
            p.k_type = p.v_type = TF_KERNEL_BF16;
            run_all(p);
        }
    }
    for (const int g : {20, 25, 33, 64, 71, 128}) {
        Problem p;
        p.g = g;
        p.heads_kv = 1;
        p.dk = p.dv = 16;
        p.seed = static_cast<unsigned>(g);
        run_all(p);
    }
}

TEST(kernels_random_problems) {
    Random random(7);
    const int sizes[] = {8, 16, 20, 32, 48, 64, 72, 80, 96, 128};
    const int lengths[] = {1, 2, 3, 5, 15, 16, 17, 63, 64, 65, 100, 127, 128, 129, 192, 200, 257};
    for (int i = 0; i < 250; ++i) {
        Problem p;
        p.seed = static_cast<unsigned>(1000 + i);
        p.dk = sizes[pick(random, 0, 9)];
        p.dv = pick(random, 0, 2) ? p.dk : sizes[pick(random, 0, 9)];
        p.g = pick(random, 1, 9);
        p.heads_kv = pick(random, 1, 4);
        p.page_shift = pick(random, 0, 2) ? 4 : pick(random, 0, 6);
        p.cells = lengths[pick(random, 0, 16)];
        p.n_tokens = pick(random, 0, 1) ? 1 : pick(random, 1, std::min(p.cells, TF_KERNEL_MAX_ROWS / p.g));
        p.k_type = pick(random, 0, 3);
        p.v_type = pick(random, 0, 1) ? p.k_type : pick(random, 0, 3);
        p.window = pick(random, 0, 2) ? 0 : pick(random, 1, p.cells + 5);
        p.causal = pick(random, 0, 4) != 0;
        p.blind_token = pick(random, 0, 5) ? -1 : pick(random, 0, p.n_tokens - 1);
        p.softcap = pick(random, 0, 3) ? 0.0f : uniform(random, 1.0f, 50.0f);
        p.query_size = pick(random, 0, 1) ? 1.0f : 8.0f;
        p.slopes = pick(random, 0, 3) == 0;
        p.sinks = pick(random, 0, 3) == 0;
        if (pick(random, 0, 2) == 0) {
            for (int c = pick(random, 1, 70); c < p.cells; c += pick(random, 1, 90)) {
                p.cuts.push_back(c);
            }
            p.cuts.push_back(p.cells);  // splits of one part are partial results, too
        }
        run_all(p);
    }
}

TEST(kernels_page_sizes_and_windows) {
    for (const int shift : {0, 4, 6}) {
        for (const int window : {0, 1, 33, 64, 100}) {
            for (const int tokens : {1, 16, 40}) {
                Problem p;
                p.page_shift = shift;
                p.window = window;
                p.n_tokens = tokens;
                p.cells = 300;
                p.dk = p.dv = 32;
                p.seed = static_cast<unsigned>(shift * 1000 + window);
                run_all(p);
                p.cuts = {128, 192, 256};
                run_all(p);
            }
        }
    }
}

TEST(kernels_caps_near_and_far) {
    // checkpoints without a cap run with one so far away that it must not round a score
    for (const float cap : {0.3f, 3.0f, 50.0f, 1e4f, 1e9f}) {
        for (const int tokens : {1, 20}) {
            Problem p;
            p.k_type = p.v_type = TF_KERNEL_F32;
            p.softcap = cap;
            p.n_tokens = tokens;
            p.cells = 150;
            p.query_size = 8.0f;
            run_all(p);
        }
    }
}

TEST(kernels_large_logits_stay_finite) {
    for (const int tokens : {1, 20}) {
        for (const float size : {30.0f, 300.0f, 3000.0f}) {
            Problem p;
            p.k_type = p.v_type = TF_KERNEL_F32;
            p.query_size = size;
            p.n_tokens = tokens;
            p.cells = 150;
            run_all(p);
            p.cuts = {64, 128};
            run_all(p);
            p.softcap = 30.0f;
            p.sinks = true;
            run_all(p);
        }
        Problem p;
        p.value_size = 6e4f;  // near the largest half
        p.n_tokens = tokens;
        run_all(p);
    }
}

TEST(kernels_nothing_visible_gives_zeros) {
    for (const bool sinks : {false, true}) {
        for (const bool split : {false, true}) {
            Problem p;
            p.n_tokens = 3;
            p.blind_token = 1;
            p.sinks = sinks;
            if (split) {
                p.cuts = {64};
            }
            run_all(p);
            p.n_tokens = 1;
            p.blind_token = 0;
            p.window = 8;
            run_all(p);  // an empty range of cells
        }
    }
}

TEST(kernels_scores_of_minus_infinity_count_for_nothing) {
    for (const tf_kernel* kernel : kernels()) {
        for (const int tokens : {1, 30}) {
            for (const bool all : {false, true}) {
                constexpr int dk = 32, cells = 80;
                Cells k(TF_KERNEL_F32, cells, 1, dk), v(TF_KERNEL_F32, cells, 1, dk);
                for (int c = 0; c < cells; ++c) {
                    for (int d = 0; d < dk; ++d) {
                        const float x = all || c < 70 ? -std::numeric_limits<float>::infinity() : 0.25f;
                        k.set(c, 0, d, x);
                        v.set(c, 0, d, static_cast<float>(d));
                    }
                }
                const std::int32_t table[] = {0, 1, 2, 3, 4};
                std::vector<std::int32_t> row(static_cast<std::size_t>(tokens)), first(row.size(), 0), end(row.size(), cells);
                std::iota(row.begin(), row.end(), 0);
                std::vector<float> q(row.size() * dk, 1.0f), dst(row.size() * dk, kSentinel);
                tf_kernel_job job = {};
                job.k = k.data.data();
                job.v = v.data.data();
                job.k_cell = job.v_cell = k.cell_bytes;
                job.k_type = job.v_type = TF_KERNEL_F32;
                job.table = table;
                job.page_shift = 4;
                job.dk = job.dv = dk;
                job.g = job.n_heads_kv = 1;
                job.n_tokens = tokens;
                job.token_row = row.data();
                job.first_cell = first.data();
                job.end_cell = end.data();
                job.q = reinterpret_cast<const char*>(q.data());
                job.q_token = job.q_head = dk * sizeof(float);
                job.dst = dst.data();
                job.dst_token = job.dst_head = dk;
                job.cell1 = cells;
                job.scale = 1.0f;
                std::vector<char> scratch(kernel->scratch_bytes(dk, dk, tokens, 1));
                kernel->run(&job, scratch.data());
                bool good = true;
                for (std::size_t i = 0; i < dst.size(); ++i) {
                    const float expected = all ? 0.0f : static_cast<float>(i % dk);
                    good = good && std::fabs(dst[i] - expected) < 1e-4f;
                }
                CHECK(good);
            }
        }
    }
}

TEST(partial_results_merge_in_any_order) {
    const float inf = std::numeric_limits<float>::infinity();
    // two splits of equal weight, one that saw nothing
    const float part[] = {1.0f, 2.0f, 2.0f, 4.0f, -inf, 0.0f, 0.0f, 0.0f, 1.0f, 2.0f, 6.0f, 8.0f};
    float out[2];
    merge_partials(part, 4, 3, 2, nullptr, out);
    CHECK(std::fabs(out[0] - 2.0f) < 1e-6f && std::fabs(out[1] - 3.0f) < 1e-6f);
    const float sink = 1.0f;  // as much as one more cell of weight 1
    merge_partials(part, 4, 3, 2, &sink, out);
    CHECK(std::fabs(out[0] - 8.0f / 5.0f) < 1e-6f && std::fabs(out[1] - 12.0f / 5.0f) < 1e-6f);
    merge_partials(part + 4, 4, 1, 2, nullptr, out);
    CHECK(out[0] == 0.0f && out[1] == 0.0f);
    merge_partials(part + 4, 4, 1, 2, &sink, out);
    CHECK(out[0] == 0.0f && out[1] == 0.0f);
    const float far[] = {-1000.0f, 1.0f, 5.0f, 5.0f, 1000.0f, 1.0f, 7.0f, 7.0f};
    merge_partials(far, 4, 2, 2, nullptr, out);
    CHECK(out[0] == 7.0f && out[1] == 7.0f);
}
