// The kernel for any processor: vectors of four, as GCC and Clang spell a register of SSE2 or NEON.
#include <math.h>
#include <string.h>

#include "linear_kernel_simd.h"

namespace {

typedef float Four __attribute__((vector_size(16)));

inline float from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

struct Portable {
    using Vector = Four;
    static constexpr int kLanes = 4;
    static constexpr int kLinearRows = 6;
    static constexpr int kManyPanels = 4;

    static inline Vector zero() { return Four{0, 0, 0, 0}; }
    static inline Vector set(float x) { return Four{x, x, x, x}; }
    static inline Vector broadcast(const float* p) { return set(*p); }
    static inline Vector load(const float* p) {
        Four x;
        memcpy(&x, p, sizeof(x));
        return x;
    }
    static inline void store(float* p, Vector x) { memcpy(p, &x, sizeof(x)); }
    static inline Vector load_f16(const char* p) {
#if defined(__ARM_FP16_FORMAT_IEEE)
        __fp16 half[4];
        memcpy(half, p, sizeof(half));
        return Four{half[0], half[1], half[2], half[3]};
#else
        uint16_t half[4];
        memcpy(half, p, sizeof(half));
        Four x;
        for (int i = 0; i < 4; ++i) {
            // scaling by 2^112 puts the exponent right, for subnormals too; weights are finite
            const float magnitude = from_bits(static_cast<uint32_t>(half[i] & 0x7fff) << 13) * from_bits(0x77800000u);
            x[i] = (half[i] & 0x8000) != 0 ? -magnitude : magnitude;
        }
        return x;
#endif
    }
    static inline Vector load_bf16(const char* p) {
        uint16_t half[4];
        memcpy(half, p, sizeof(half));
        Four x;
        for (int i = 0; i < 4; ++i) x[i] = from_bits(static_cast<uint32_t>(half[i]) << 16);
        return x;
    }
    static inline Vector add(Vector a, Vector b) { return a + b; }
    static inline Vector sub(Vector a, Vector b) { return a - b; }
    static inline Vector mul(Vector a, Vector b) { return a * b; }
    static inline Vector div(Vector a, Vector b) { return a / b; }
    static inline Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
    static inline Vector abs(Vector x) { return Four{fabsf(x[0]), fabsf(x[1]), fabsf(x[2]), fabsf(x[3])}; }
    static inline Vector copy_sign(Vector magnitude, Vector sign) {
        Four x;
        for (int i = 0; i < 4; ++i) x[i] = copysignf(magnitude[i], sign[i]);
        return x;
    }
    static inline Vector exp(Vector x) { return Four{expf(x[0]), expf(x[1]), expf(x[2]), expf(x[3])}; }
};

const tf_linear_kernel kernel = {"portable", kPanelVectors* Portable::kLanes, Portable::kLinearRows, run_linear<Portable>};

}  // namespace

extern "C" const struct tf_linear_kernel* tf_linear_portable(void) { return &kernel; }
