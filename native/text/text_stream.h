// Turns the tokens of one sequence into text that can be sent: whole UTF-8 characters, never past a stop string.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/types.h"
#include "text/stop_matcher.h"
#include "text/token_table.h"
#include "text/utf8.h"

namespace tfserve {

/// Detokeniser and stop-string matcher of one sequence. The concatenation of all it returns equals the
/// decoded text of all tokens (invalid bytes as U+FFFD, as Python's errors="replace" does), cut before the
/// first stop string (which that is: see StopMatcher). Text that could be the start of a stop string, and the bytes of an
/// unfinished character, are held back until they are decided.
/// Byte tokens of byte fallback follow the tokenizers library: a run of them that is not valid UTF-8 as a whole becomes one U+FFFD
/// a byte, so a run is held back until it ends or breaks. Special tokens that are left out and ids without a token end no run.
class TextStream {
   public:
    /// `shown`: special tokens that are text although skip_special_tokens leaves out the others; a handful.
    TextStream(std::shared_ptr<const TokenTable> table, std::vector<std::string> stop, bool skip_special_tokens,
               std::vector<TokenId> shown = {});

    struct Piece {
        std::string text;              ///< valid UTF-8, may be empty
        bool stopped = false;          ///< a stop string was found; nothing may be pushed afterwards
        std::int32_t stop_index = -1;  ///< which one
    };
    Piece push(TokenId token);
    /// What is still held back; call once, at the end of a sequence that did not stop on a stop string. The last characters may
    /// complete a stop string after all (an unfinished one as U+FFFD, a run of byte tokens): then the text is cut there and `stopped` set.
    Piece close();
    /// The text of close().
    std::string finish() { return close().text; }

   private:
    bool left_out(TokenId token) const;
    void decode(TokenId token, std::string& text);
    void decode_byte(std::string_view byte, std::string& text);
    void end_run(std::string& text);
    void strip_start(std::string& text);

    std::shared_ptr<const TokenTable> table_;
    bool skip_special_tokens_;
    std::vector<TokenId> shown_;
    bool first_token_ = true;
    bool at_start_ = true;  ///< no text yet
    Utf8Decoder characters_;
    std::string run_;  ///< text of a run of byte tokens that is valid so far
    std::size_t run_bytes_ = 0;
    bool run_broken_ = false;
    StopMatcher stop_;
};

}  // namespace tfserve
