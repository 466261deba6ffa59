#include "paged_kernel.h"

#include <cstdlib>
#include <cstring>

namespace {

constexpr int kMaxKernels = 4;

struct Kernels {
    const tf_kernel* list[kMaxKernels] = {};  // best first
    int n = 0;
    const tf_kernel* best = nullptr;

    void add(bool runs_here, const tf_kernel* kernel) {
        if (runs_here && kernel) {
            list[n++] = kernel;
        }
    }

    Kernels() {
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
        __builtin_cpu_init();
        const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512dq");
        add(avx512 && __builtin_cpu_supports("avx512bf16"), tf_kernel_avx512bf16());
        add(avx512, tf_kernel_avx512());
        add(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), tf_kernel_avx2());
#endif
        add(true, tf_kernel_portable());
        best = list[0];
        if (const char* name = std::getenv("TFSERVE_ATTN_KERNEL")) {
            for (int i = 0; i < n; ++i) {
                if (std::strcmp(list[i]->name, name) == 0) {
                    best = list[i];
                }
            }
        }
    }
};

const Kernels& kernels() {
    static const Kernels all;
    return all;
}

}  // namespace

extern "C" const struct tf_kernel* tf_kernel_best(void) { return kernels().best; }

extern "C" const struct tf_kernel* tf_kernel_for(int dk, int dv) {
    const Kernels& all = kernels();
    bool allowed = false;  // a forced kernel is replaced by lesser ones only
    for (int i = 0; i < all.n; ++i) {
        allowed = allowed || all.list[i] == all.best;
        if (allowed && all.list[i]->accepts(dk, dv)) {
            return all.list[i];
        }
    }
    return tf_kernel_portable();
}

extern "C" int tf_kernel_list(const struct tf_kernel** out, int max) {
    const Kernels& all = kernels();
    const int n = all.n < max ? all.n : max;
    for (int i = 0; i < n; ++i) {
        out[i] = all.list[i];
    }
    return n < 0 ? 0 : n;
}
