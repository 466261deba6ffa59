#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "paged_simd_avx2.h"

#include "paged_kernel_simd.h"

namespace {

const tf_kernel kernel = {"avx2", run_job<SimdIsa<Avx2>>, scratch_bytes, accepts_multiples<Avx2::kLanes>};

}  // namespace

extern "C" const struct tf_kernel* tf_kernel_avx2(void) { return &kernel; }

#else

#include "paged_kernel.h"

extern "C" const struct tf_kernel* tf_kernel_avx2(void) { return nullptr; }

#endif
