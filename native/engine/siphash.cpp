#include "engine/siphash.h"

#include <bit>
#include <cstddef>
#include <random>

namespace tfserve {

namespace {

struct State {
    std::uint64_t v0, v1, v2, v3;

    void rounds(int n) {
        for (int i = 0; i < n; ++i) {
            v0 += v1;
            v1 = std::rotl(v1, 13) ^ v0;
            v0 = std::rotl(v0, 32);
            v2 += v3;
            v3 = std::rotl(v3, 16) ^ v2;
            v0 += v3;
            v3 = std::rotl(v3, 21) ^ v0;
            v2 += v1;
            v1 = std::rotl(v1, 17) ^ v2;
            v2 = std::rotl(v2, 32);
        }
    }
    void absorb(std::uint64_t word) {
        v3 ^= word;
        rounds(2);
        v0 ^= word;
    }
};

std::uint64_t read_little_endian(const std::uint8_t* bytes, std::size_t n) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < n; ++i) word |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
    return word;
}

}  // namespace

Hash128 siphash128(const HashKey& key, std::span<const std::uint8_t> bytes) {
    State s{0x736f6d6570736575U ^ key.k0, 0x646f72616e646f6dU ^ key.k1 ^ 0xee, 0x6c7967656e657261U ^ key.k0, 0x7465646279746573U ^ key.k1};
    const std::size_t whole = bytes.size() / 8 * 8;
    for (std::size_t i = 0; i < whole; i += 8) s.absorb(read_little_endian(bytes.data() + i, 8));
    const std::uint64_t tail = read_little_endian(bytes.data() + whole, bytes.size() - whole);
    s.absorb(tail | static_cast<std::uint64_t>(bytes.size()) << 56);
    s.v2 ^= 0xee;
    s.rounds(4);
    const std::uint64_t lo = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    s.v1 ^= 0xdd;
    s.rounds(4);
    return {lo, s.v0 ^ s.v1 ^ s.v2 ^ s.v3};
}

HashKey random_hash_key() {
    std::random_device source;
    const auto word = [&source] { return static_cast<std::uint64_t>(source()) << 32 | source(); };
    return {word(), word()};
}

}  // namespace tfserve
