// Counter-based random numbers: any number of a stream can be had at once, without the ones before it.
#pragma once

#include <array>
#include <cstdint>

namespace tfserve {

/// One block of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * counter[0];
        const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * counter[2];
        counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
                   static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
        key[0] += 0x9E3779B9U;
        key[1] += 0xBB67AE85U;
    }
    return counter;
}

/// Uniform in [0, 1) with 53 random bits: number `index` of the stream `stream` of `seed`.
/// The seed is the key; index and stream are the two halves of the counter. Low words come first.
constexpr double philox_uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
    const auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
    const auto high = [](std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); };
    const std::array<std::uint32_t, 4> block = philox4x32({low(index), high(index), low(stream), high(stream)}, {low(seed), high(seed)});
    const std::uint64_t bits = (std::uint64_t{block[1]} << 32 | block[0]) >> 11;
    return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace tfserve
