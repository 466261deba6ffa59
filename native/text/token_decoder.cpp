#include "text/token_decoder.h"

#include <array>
#include <cstdint>
#include <stdexcept>

#include "text/utf8.h"

namespace tfserve {

namespace {

using json = nlohmann::json;
using LeadingSpace = TokenTable::LeadingSpace;

constexpr std::size_t kMaxPiece = std::size_t{1} << 20;

[[noreturn]] void refuse(const std::string& what) {
    throw std::runtime_error("tokenizer.json has " + what + "; known are ByteLevel, Metaspace, Replace, ByteFallback, Fuse and Strip");
}

std::string string_at(const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool true_at(const json& object, const char* key, bool otherwise) {
    const auto found = object.find(key);
    return found != object.end() && found->is_boolean() ? found->get<bool>() : otherwise;
}

/// -1 when there is no such whole number.
std::int64_t number_at(const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : -1;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
    std::size_t found = text.find(from);
    if (found == std::string::npos) return;
    std::string result;
    std::size_t copied = 0;
    for (; found != std::string::npos; found = text.find(from, copied)) {
        result.append(text, copied, found - copied);
        result += to;
        copied = found + from.size();
        if (result.size() > kMaxPiece) throw std::runtime_error("tokenizer.json has a token of more than a megabyte");
    }
    result.append(text, copied);
    text = std::move(result);
}

/// GPT-2's byte alphabet: printable Latin-1 characters stand for their own bytes, the code points from U+0100 on for the other
/// bytes in ascending order. -1 for all others.
int byte_of_code_point(std::uint32_t code_point) {
    static const std::array<std::int16_t, 512> table = [] {
        std::array<std::int16_t, 512> result{};
        result.fill(-1);
        std::size_t next = 256;
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
            result[printable ? byte : next++] = static_cast<std::int16_t>(byte);
        }
        return result;
    }();
    return code_point < table.size() ? table[code_point] : -1;
}

/// A piece with any character outside the alphabet (an added token, mostly) is taken as it is.
std::string from_byte_alphabet(std::string_view piece) {
    std::string bytes;
    for (std::size_t i = 0; i < piece.size(); ++i) {
        const auto first = static_cast<unsigned char>(piece[i]);
        std::uint32_t code_point = first;
        if (first >= 0x80) {
            if (first >= 0xE0 || i + 1 >= piece.size()) return std::string(piece);
            code_point = (first & 0x1FU) << 6 | (static_cast<unsigned char>(piece[++i]) & 0x3FU);
        }
        const int byte = byte_of_code_point(code_point);
        if (byte < 0) return std::string(piece);
        bytes.push_back(static_cast<char>(byte));
    }
    return bytes;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

TokenDecoder::TokenDecoder(const json& decoder) {
    if (decoder.is_null()) refuse("no decoder");
    add(decoder, 0);
}

void TokenDecoder::add(const json& decoder, int depth) {
    if (!decoder.is_object()) refuse("a decoder that is not an object");
    const std::string type = string_at(decoder, "type");
    if (type == "Sequence") {
        const auto list = decoder.find("decoders");
        if (list == decoder.end() || !list->is_array() || depth > 4) refuse("a Sequence decoder without a list of decoders");
        for (const json& part : *list) add(part, depth + 1);
    } else if (type == "ByteLevel") {
        if (byte_fallback_ || fused_ || !replacements_.empty()) refuse("a ByteLevel decoder after others");
        byte_level_ = true;
    } else if (type == "ByteFallback") {
        if (fused_) refuse("a ByteFallback decoder after Fuse");
        byte_fallback_ = true;
    } else if (type == "Fuse") {
        fused_ = true;
    } else if (type == "Replace") {
        add_replace(decoder);
    } else if (type == "Strip") {
        add_strip(decoder);
    } else if (type == "Metaspace") {
        add_metaspace(decoder);
    } else {
        refuse("the unknown decoder \"" + to_valid_utf8(type.substr(0, 64)) + "\"");
    }
    if (byte_level_ && (byte_fallback_ || !replacements_.empty() || leading_space_ != LeadingSpace::kept))
        refuse("a ByteLevel decoder before others");
}

void TokenDecoder::add_replacement(std::string from, std::string to) {
    if (from.empty()) refuse("a Replace decoder that replaces nothing");
    if (byte_fallback_ || fused_) refuse("a decoder that replaces text after ByteFallback or Fuse");
    replacements_.emplace_back(std::move(from), std::move(to));
}

void TokenDecoder::add_replace(const json& decoder) {
    const auto pattern = decoder.find("pattern");
    const auto content = decoder.find("content");
    if (pattern == decoder.end() || !pattern->is_object() || !pattern->contains("String"))
        refuse("a Replace decoder whose pattern is not a string");
    if (content == decoder.end() || !content->is_string()) refuse("a Replace decoder without content");
    add_replacement(string_at(*pattern, "String"), content->get<std::string>());
}

void TokenDecoder::add_strip(const json& decoder) {
    const std::int64_t start = number_at(decoder, "start");
    if (string_at(decoder, "content") != " " || number_at(decoder, "stop") != 0 || start < 0 || start > 1) {
        refuse("a Strip decoder for something other than one space at the start");
    }
    if (start == 0) return;
    if (!fused_ || leading_space_ != LeadingSpace::kept) refuse("a Strip decoder that is not after Fuse");
    leading_space_ = LeadingSpace::strip_one;
}

void TokenDecoder::add_metaspace(const json& decoder) {
    const std::string replacement = decoder.contains("replacement") ? string_at(decoder, "replacement") : "\xE2\x96\x81";
    std::string scheme = string_at(decoder, "prepend_scheme");
    if (scheme.empty()) scheme = true_at(decoder, "add_prefix_space", true) ? "always" : "never";
    if (scheme != "always" && scheme != "first" && scheme != "never") refuse("a Metaspace decoder with an unknown prepend_scheme");
    add_replacement(replacement, " ");
    if (scheme != "never") leading_space_ = LeadingSpace::drop_in_first_token;
}

std::string TokenDecoder::bytes_of(std::string_view piece, bool& is_byte) const {
    is_byte = false;
    if (byte_level_) return from_byte_alphabet(piece);
    std::string bytes(piece);
    for (const auto& [from, to] : replacements_) replace_all(bytes, from, to);
    if (byte_fallback_ && bytes.size() == 6 && bytes.starts_with("<0x") && bytes.ends_with('>')) {
        const int high = hex_digit(bytes[3]);
        const int low = hex_digit(bytes[4]);
        if (high >= 0 && low >= 0) {
            is_byte = true;
            return std::string(1, static_cast<char>(high * 16 + low));
        }
    }
    return bytes;
}

}  // namespace tfserve
