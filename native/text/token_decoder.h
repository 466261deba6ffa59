// What a tokenizer.json says about turning tokens back into text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/token_table.h"

namespace tfserve {

/// The "decoder" of a tokenizer.json, as far as it can be done token by token; the rest is left to TextStream:
/// runs of byte tokens, and spaces at the start of the text.
class TokenDecoder {
   public:
    /// Throws std::runtime_error naming the decoder that is not known.
    explicit TokenDecoder(const nlohmann::json& decoder);

    /// Bytes of a token that the file spells `piece`. `is_byte`: a byte token of ByteFallback, whose only byte is given.
    std::string bytes_of(std::string_view piece, bool& is_byte) const;
    TokenTable::LeadingSpace leading_space() const { return leading_space_; }

   private:
    void add(const nlohmann::json& decoder, int depth);
    void add_replace(const nlohmann::json& decoder);
    void add_strip(const nlohmann::json& decoder);
    void add_metaspace(const nlohmann::json& decoder);
    void add_replacement(std::string from, std::string to);

    bool byte_level_ = false;
    bool byte_fallback_ = false;
    bool fused_ = false;
    std::vector<std::pair<std::string, std::string>> replacements_;
    TokenTable::LeadingSpace leading_space_ = TokenTable::LeadingSpace::kept;
};

}  // namespace tfserve
