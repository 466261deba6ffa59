// Id -> bytes of every token of a vocabulary: one table for detokenisation, stop strings, logprob bytes and, later, grammars.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/types.h"

namespace tfserve {

/// Immutable once made; shared by all sequences of a model.
class TokenTable {
   public:
    struct Entry {
        std::uint32_t offset = 0;
        std::uint32_t length = 0;
        bool special = false;  ///< left out by skip_special_tokens
        bool known = false;    ///< false: a hole in the vocabulary (padding rows of the matrix)
        bool byte = false;     ///< a byte token of byte fallback: a run of them is text only if the whole run is valid UTF-8
    };

    /// What becomes of spaces at the start of a text.
    enum class LeadingSpace : std::uint8_t {
        kept,
        strip_one,            ///< the Strip decoder: one space at the start of the whole text
        drop_in_first_token,  ///< the Metaspace decoder: all spaces of the first token
    };

    /// From the text of a tokenizer.json (byte-level BPE; sentencepiece-style BPE or Unigram with byte fallback).
    /// `vocab_size`: entries the table must have at least (rows of the embedding matrix). Added tokens go through the decoder like
    /// all others, as in the tokenizers library; where two tokens have the same id, an added one and otherwise the later one counts.
    /// Throws std::runtime_error with a sentence for the user when the file is not understood or hostile.
    static std::shared_ptr<const TokenTable> from_tokenizer_json(std::string_view json, std::int32_t vocab_size);

    /// From parts, for a GGUF vocabulary and tests. `special` and `byte` may be shorter than `pieces`: false from there on.
    static std::shared_ptr<const TokenTable> from_pieces(const std::vector<std::string>& pieces, const std::vector<bool>& special,
                                                         bool strip_leading_space, const std::vector<bool>& byte = {});

    std::int32_t size() const { return static_cast<std::int32_t>(entries_.size()); }
    /// Bytes of a token, not necessarily whole characters; empty for ids outside the table and for holes.
    std::string_view bytes(TokenId id) const;
    bool is_special(TokenId id) const;
    bool is_known(TokenId id) const;
    bool is_byte(TokenId id) const;
    LeadingSpace leading_space() const { return leading_space_; }
    /// Sentencepiece decoders drop one space at the start of a text.
    bool strips_leading_space() const { return leading_space_ != LeadingSpace::kept; }

   private:
    const Entry* find(TokenId id) const;
    void set(TokenId id, std::string_view bytes, bool special, bool byte);

    std::string bytes_;
    std::vector<Entry> entries_;
    LeadingSpace leading_space_ = LeadingSpace::kept;
};

}  // namespace tfserve
