#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "paged_simd_avx2.h"

#include "linear_kernel_simd.h"

namespace {

struct Linear256 : Avx2 {
    // 16 registers: 6 x 2 sums, 2 weights, 1 input
    static constexpr int kLinearRows = 6;
    static constexpr int kManyPanels = 4;
};

const tf_linear_kernel kernel = {"avx2", kPanelVectors* Linear256::kLanes, Linear256::kLinearRows, run_linear<Linear256>};

}  // namespace

extern "C" const struct tf_linear_kernel* tf_linear_avx2(void) { return &kernel; }

#else

#include "linear_kernel.h"

extern "C" const struct tf_linear_kernel* tf_linear_avx2(void) { return nullptr; }

#endif
