#include "text/utf8.h"

namespace tfserve {

bool Utf8Decoder::push_byte(unsigned char byte, std::string& text) {
    bool valid = true;
    if (missing_ > 0) {
        if (byte >= lowest_ && byte <= highest_) {
            pending_.push_back(static_cast<char>(byte));
            lowest_ = 0x80;
            highest_ = 0xBF;
            if (--missing_ == 0) {
                text += pending_;
                pending_.clear();
            }
            return true;
        }
        valid = finish(text);  // the byte may begin a character of its own
    }
    if (byte < 0x80) {
        text.push_back(static_cast<char>(byte));
        return valid;
    }
    if (byte < 0xC2 || byte > 0xF4) {
        text += kReplacementCharacter;
        return false;
    }
    missing_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    if (byte == 0xE0) lowest_ = 0xA0;
    if (byte == 0xED) highest_ = 0x9F;
    if (byte == 0xF0) lowest_ = 0x90;
    if (byte == 0xF4) highest_ = 0x8F;
    pending_.push_back(static_cast<char>(byte));
    return valid;
}

bool Utf8Decoder::push(std::string_view bytes, std::string& text) {
    bool valid = true;
    for (const char byte : bytes) valid = push_byte(static_cast<unsigned char>(byte), text) && valid;
    return valid;
}

bool Utf8Decoder::finish(std::string& text) {
    const bool valid = pending_.empty();
    if (!valid) text += kReplacementCharacter;
    pending_.clear();
    missing_ = 0;
    lowest_ = 0x80;
    highest_ = 0xBF;
    return valid;
}

std::string to_valid_utf8(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size());
    Utf8Decoder decoder;
    decoder.push(bytes, text);
    decoder.finish(text);
    return text;
}

}  // namespace tfserve
