#include "paged_kernel.h"

extern "C" const struct tf_kernel* tf_kernel_avx512(void) { return nullptr; }
