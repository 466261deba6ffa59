// The engine's basic words. No ggml, no llama, no JavaScript below this directory.
#pragma once

#include <cstdint>
#include <limits>

namespace tfserve {

/// A vocabulary index of the served model, 0 <= id < vocabulary size.
using TokenId = std::int32_t;

/// A page of the KV cache, 0 <= id < pages of its group. `kNoBlock` where a page has been given back (a window).
using BlockId = std::int32_t;
inline constexpr BlockId kNoBlock = -1;

/// A row of the running batch, 0 <= slot < max_num_seqs. The runner keeps per-sequence state under it.
using SlotId = std::int32_t;
inline constexpr SlotId kNoSlot = -1;

/// One sequence of one request, unique for the life of an engine; never taken from a client.
using SequenceId = std::uint64_t;

/// Why a sequence ended.
enum class FinishReason : std::uint8_t {
    none,    ///< still going
    stop,    ///< an end-of-sequence token or a stop string
    length,  ///< max_new_tokens or the context is used up
    abort,   ///< the caller has gone or asked for it
    error,   ///< the runner failed; the sequence's error text says how
};

}  // namespace tfserve
