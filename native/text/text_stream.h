// Turns the tokens of one sequence into text that can be sent: whole UTF-8 characters, never past a stop string.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/types.h"
#include "text/token_table.h"

namespace tfserve {

/// Detokeniser and stop-string matcher of one sequence. The concatenation of all it returns equals the
/// decoded text of all tokens (invalid bytes as U+FFFD, as Python's errors="replace" does), cut before the
/// first stop string. Text that could be the start of a stop string, and the bytes of an unfinished
/// character, are held back until they are decided.
class TextStream {
   public:
    TextStream(std::shared_ptr<const TokenTable> table, std::vector<std::string> stop, bool skip_special_tokens);

    struct Piece {
        std::string text;       ///< valid UTF-8, may be empty
        bool stopped = false;   ///< a stop string was found; nothing may be pushed afterwards
        std::int32_t stop_index = -1;  ///< which one
    };
    Piece push(TokenId token);
    /// What is still held back; call once, at the end of a sequence that did not stop on a stop string.
    std::string finish();

   private:
    std::shared_ptr<const TokenTable> table_;
    std::vector<std::string> stop_;
    bool skip_special_tokens_;
    bool at_start_ = true;
    std::string undecoded_;   ///< bytes of an unfinished character
    std::string held_;        ///< text that may begin a stop string
};

}  // namespace tfserve
