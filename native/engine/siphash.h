// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein): a keyed hash whose collisions nobody can prepare without the key.
#pragma once

#include <cstdint>
#include <span>

namespace tfserve {

struct Hash128 {
    std::uint64_t lo = 0;
    std::uint64_t hi = 0;
    friend bool operator==(const Hash128&, const Hash128&) = default;
};

struct HashKey {
    std::uint64_t k0 = 0;
    std::uint64_t k1 = 0;
};

Hash128 siphash128(const HashKey& key, std::span<const std::uint8_t> bytes);

/// A key from the system's random source.
HashKey random_hash_key();

}  // namespace tfserve
