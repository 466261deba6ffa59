// UTF-8, a byte at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tfserve {

/// U+FFFD, which stands for bytes that are no character.
inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

/// Turns bytes into valid UTF-8: every maximal part that cannot begin or go on with a character becomes one U+FFFD
/// (Unicode's recommended practice, and what Python's errors="replace" does). Holds back the bytes of an unfinished character.
class Utf8Decoder {
   public:
    /// Appends what is decided to `text`. Returns false if any byte was replaced.
    bool push(std::string_view bytes, std::string& text);
    /// Replaces what is held back, if anything; returns false if so. The decoder is fresh afterwards.
    bool finish(std::string& text);

   private:
    bool push_byte(unsigned char byte, std::string& text);

    std::string pending_;
    int missing_ = 0;              ///< bytes that the character in `pending_` still needs
    unsigned char lowest_ = 0x80;  ///< range of the next of them: no overlong forms, no surrogates, nothing above U+10FFFF
    unsigned char highest_ = 0xBF;
};

/// All of it at once.
std::string to_valid_utf8(std::string_view bytes);

}  // namespace tfserve
