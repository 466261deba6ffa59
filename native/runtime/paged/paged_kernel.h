/* Paged attention on a CPU: the interface of its kernels.
 *
 * One job is the query rows of some neighbouring KV heads, for a run of tokens of ONE sequence, over a range of that
 * sequence's cells; cells are found through its block table. Plain C, so that each instruction set can have an object
 * file of its own: no inline C++ library code compiled for AVX-512 may enter the link. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum tf_kernel_type {
    TF_KERNEL_F16 = 0,
    TF_KERNEL_BF16 = 1,
    TF_KERNEL_F32 = 2,
    TF_KERNEL_OTHER = 3, /* dequantised row by row with *_to_f32 */
};

enum { TF_KERNEL_TILE = 64, TF_KERNEL_MAX_ROWS = 128 }; /* cells a tile; rows (n_tokens x g) of one KV head a job */

typedef void (*tf_kernel_to_f32)(const void* src, float* dst, int64_t n);

struct tf_kernel_job {
    /* storage: head x of cell c starts at base + c*cell + x*head (byte strides) */
    const char* k;
    const char* v;
    size_t k_cell, k_head;
    size_t v_cell, v_head;
    int32_t k_type, v_type; /* enum tf_kernel_type */
    tf_kernel_to_f32 k_to_f32, v_to_f32;

    /* cell of index i = table[i >> page_shift] << page_shift | (i & mask) */
    const int32_t* table;
    int32_t page_shift;

    /* n_tokens tokens x g query heads that share a KV head x n_heads_kv KV heads */
    int32_t dk, dv, g, n_tokens, n_heads_kv;
    const int32_t* token_row;  /* [n_tokens] row of the token in q and dst */
    const int32_t* first_cell; /* [n_tokens] first visible cell index */
    const int32_t* end_cell;   /* [n_tokens] one past the last visible */
    const char* q;             /* first head, token row 0; F32 */
    size_t q_token, q_head;    /* byte strides */
    float* dst;
    size_t dst_token, dst_head; /* strides in floats */

    /* not null: write (max, sum, o[dv]) a row here instead of dst; row r = token*g + head; part_head floats between KV heads */
    float* part;
    size_t part_head;

    int32_t cell0, cell1; /* the range of cell indices to read */

    float scale;
    float softcap;       /* 0 = off: c*tanh(s/c) before the mask */
    const float* slopes; /* [n_heads_kv*g] or null (ALiBi) */
    const float* sinks;  /* [n_heads_kv*g] or null; only looked at when part == null */
};

struct tf_kernel {
    const char* name;
    /* scratch: at least scratch_bytes(...) bytes, any alignment */
    void (*run)(const struct tf_kernel_job* job, void* scratch);
    size_t (*scratch_bytes)(int dk, int dv, int rows, int n_heads_kv);
    /* 1 when the kernel takes these head sizes; the portable one takes all */
    int (*accepts)(int dk, int dv);
};

#ifdef __cplusplus
extern "C" {
#endif

/* null when the build has no such variant */
const struct tf_kernel* tf_kernel_portable(void);
const struct tf_kernel* tf_kernel_avx2(void);
const struct tf_kernel* tf_kernel_avx512(void);
const struct tf_kernel* tf_kernel_avx512bf16(void);

/* The best one that this processor can run, or the one that TFSERVE_ATTN_KERNEL names (portable, avx2, avx512, avx512bf16)
 * when it can run here. Chosen once. */
const struct tf_kernel* tf_kernel_best(void);
/* The best one for these head sizes: tf_kernel_best() when it accepts them, else the next one this processor can run that
 * does. Never null: the portable one takes all. */
const struct tf_kernel* tf_kernel_for(int dk, int dv);
/* All that this processor can run, best first; returns how many (at most `max`). For tests. */
int tf_kernel_list(const struct tf_kernel** out, int max);

#ifdef __cplusplus
}
#endif
