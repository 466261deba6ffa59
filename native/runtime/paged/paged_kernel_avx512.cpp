#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)

#include "paged_simd_avx512.h"

#include "paged_kernel_simd.h"

namespace {

const tf_kernel kernel = {"avx512", run_job<SimdIsa<Avx512>>, scratch_bytes, accepts_multiples<Avx512::kLanes>};

}  // namespace

extern "C" const struct tf_kernel* tf_kernel_avx512(void) { return &kernel; }

#else

#include "paged_kernel.h"

extern "C" const struct tf_kernel* tf_kernel_avx512(void) { return nullptr; }

#endif
