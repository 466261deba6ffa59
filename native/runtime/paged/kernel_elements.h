// What vector kernels read: how V::kLanes stored values become a vector of float32. Internal linkage, like all that is compiled once an
// instruction set.
#pragma once

namespace {

struct F16 {
    static constexpr int kBytes = 2;
    template <class V>
    static inline typename V::Vector load(const char* p) {
        return V::load_f16(p);
    }
};
struct BF16 {
    static constexpr int kBytes = 2;
    template <class V>
    static inline typename V::Vector load(const char* p) {
        return V::load_bf16(p);
    }
};
struct F32 {
    static constexpr int kBytes = 4;
    template <class V>
    static inline typename V::Vector load(const char* p) {
        return V::load(reinterpret_cast<const float*>(p));
    }
};

}  // namespace
