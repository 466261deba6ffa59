#include "linear_kernel.h"

extern "C" int tf_linear_list(const struct tf_linear_kernel** out, int max) {
    int n = 0;
    const auto add = [&](bool runs_here, const tf_linear_kernel* kernel) {
        if (runs_here && kernel != nullptr && n < max) out[n++] = kernel;
    };
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
    __builtin_cpu_init();
    add(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512dq"),
        tf_linear_avx512());
    // every processor with FMA and AVX2 converts half precision, too
    add(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), tf_linear_avx2());
#endif
    add(true, tf_linear_portable());
    return n;
}
