#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)

#include "paged_simd_avx512.h"

#include "linear_kernel_simd.h"

namespace {

struct Linear512 : Avx512 {
    // 32 registers: 12 x 2 sums, 2 weights, 1 input
    static constexpr int kLinearRows = 12;
    static constexpr int kManyPanels = 4;
};

const tf_linear_kernel kernel = {"avx512", kPanelVectors* Linear512::kLanes, Linear512::kLinearRows, run_linear<Linear512>};

}  // namespace

extern "C" const struct tf_linear_kernel* tf_linear_avx512(void) { return &kernel; }

#else

#include "linear_kernel.h"

extern "C" const struct tf_linear_kernel* tf_linear_avx512(void) { return nullptr; }

#endif
