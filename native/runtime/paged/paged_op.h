/* GGML_OP_PAGED_ATTN on a CPU: what ggml-cpu calls, and the parameters that a node carries.
 *
 *   src[0] q     [dk, n_tokens, n_head]      F32, permuted as for flash attention
 *   src[1] k     [dk, n_cells,  n_head_kv]   a view of the whole pool
 *   src[2] v     [dv, n_cells,  n_head_kv]
 *   src[3] plan  [words]                     I32, see paged_plan.h
 *   src[4] sinks [n_head]                    F32, optional
 *   dst          [dv, n_head, n_tokens]      F32
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ggml_compute_params;
struct ggml_tensor;

/* In ggml_tensor::op_params. The last two bound what the plan can ask of the work buffer, which is sized before the plan
 * is written. */
struct tfserve_paged_attn_params {
    float scale;
    float max_bias; /* ALiBi; 0 = off */
    float softcap;  /* 0 = off */
    int32_t max_partial_rows;
    int32_t max_groups;
};

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of params->wdata that the node needs when `n_threads` threads compute it. */
size_t tfserve_paged_attn_work_size(const struct ggml_tensor* dst, int n_threads);
/* Called by every thread of the graph's thread pool. */
void tfserve_paged_attn_forward(const struct ggml_compute_params* params, struct ggml_tensor* dst);

#ifdef __cplusplus
}
#endif
