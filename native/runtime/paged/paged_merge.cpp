#include "paged_merge.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tfserve::paged {

void merge_partials(const float* part, std::size_t stride, int n_split, int dv, const float* sink, float* dst) {
    float max = sink ? *sink : -std::numeric_limits<float>::infinity();
    for (int s = 0; s < n_split; ++s) {
        max = std::max(max, part[static_cast<std::size_t>(s) * stride]);
    }
    float sum = sink ? std::exp(*sink - max) : 0.0f;
    std::fill_n(dst, dv, 0.0f);
    for (int s = 0; s < n_split; ++s) {
        const float* row = part + static_cast<std::size_t>(s) * stride;
        if (row[1] == 0.0f) {
            continue;  // nothing visible: its maximum is -inf, and so may `max` be
        }
        const float weight = std::exp(row[0] - max);
        sum += row[1] * weight;
        for (int d = 0; d < dv; ++d) {
            dst[d] += weight * row[2 + d];
        }
    }
    const float scale = sum > 0.0f ? 1.0f / sum : 0.0f;
    for (int d = 0; d < dv; ++d) {
        dst[d] *= scale;
    }
}

}  // namespace tfserve::paged
