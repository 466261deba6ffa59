/* Products of rows with a matrix of weights that was packed for it, on a CPU: the interface of the kernels.
 *
 * Weights lie in panels of `panel_width` outputs: the value of input i and output o of panel p is element i*panel_width + o of the panel;
 * outputs behind the last one are zero. A panel is read from front to back, once for each block of rows. Plain C, so that each
 * instruction set can have an object file of its own: no inline C++ library code compiled for AVX-512 may enter the link. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum tf_linear_type { TF_LINEAR_F16 = 0, TF_LINEAR_BF16 = 1, TF_LINEAR_F32 = 2 };

/* y = x * W + bias, then gelu, then + residual */
struct tf_linear_job {
    const float* x; /* row r starts at x + r*x_stride; rows may overlap */
    size_t x_stride;
    int32_t rows;
    int32_t k;
    const char* panels; /* the first of all panels */
    int32_t type;       /* enum tf_linear_type */
    int32_t first_panel, end_panel;
    int32_t n;             /* outputs of all panels together */
    int32_t gelu;          /* 1: x * (1 + erf(x / sqrt 2)) / 2 */
    const float* bias;     /* [n] rounded up to whole panels, or null */
    const float* residual; /* [rows][n] or null; may be y */
    size_t residual_stride;
    float* y;
    size_t y_stride;
};

struct tf_linear_kernel {
    const char* name;
    int32_t panel_width;
    int32_t row_block; /* rows that are computed at once; blocks of them pay */
    void (*run)(const struct tf_linear_job* job);
};

#ifdef __cplusplus
extern "C" {
#endif

/* null when the build has no such variant */
const struct tf_linear_kernel* tf_linear_portable(void);
const struct tf_linear_kernel* tf_linear_avx2(void);
const struct tf_linear_kernel* tf_linear_avx512(void);

/* All that this processor can run, best first; returns how many (at most `max`), at least one. */
int tf_linear_list(const struct tf_linear_kernel** out, int max);

#ifdef __cplusplus
}
#endif
