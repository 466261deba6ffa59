// Reads what detokenisation needs out of a tokenizer.json.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/types.h"

namespace tfserve {

/// Ids at or above this are refused: no vocabulary is that large, and a table as large as the greatest id would be.
inline constexpr std::int64_t kMaxVocabulary = std::int64_t{1} << 22;

struct TokenizerJson {
    struct Piece {
        std::size_t offset;  ///< in `bytes`
        std::size_t length;
        TokenId id;
    };
    struct AddedToken {
        std::string content;
        TokenId id;
        bool special;
    };

    std::string model_type;     ///< empty when the file does not say
    std::string bytes;          ///< of all pieces, as the file spells them
    std::vector<Piece> pieces;  ///< model.vocab, in the order of the file
    std::vector<AddedToken> added;
    nlohmann::json decoder;  ///< null when there is none

    std::string_view text(const Piece& piece) const { return std::string_view(bytes).substr(piece.offset, piece.length); }
};

/// One pass, without a tree of the whole file: the merges are by far its largest part and are passed over.
/// Throws std::runtime_error with a sentence for the user.
TokenizerJson read_tokenizer_json(std::string_view json);

}  // namespace tfserve
