#include "text/text_stream.h"

#include <algorithm>
#include <utility>

namespace tfserve {

namespace {

/// The text is valid UTF-8, so nothing else can ever match; and a piece must not end within a character.
std::vector<std::string> valid_stops(std::vector<std::string> stop) {
    for (std::string& word : stop) word = to_valid_utf8(word);
    return stop;
}

}  // namespace

TextStream::TextStream(std::shared_ptr<const TokenTable> table, std::vector<std::string> stop, bool skip_special_tokens,
                       std::vector<TokenId> shown)
    : table_(std::move(table)), skip_special_tokens_(skip_special_tokens), shown_(std::move(shown)), stop_(valid_stops(std::move(stop))) {}

bool TextStream::left_out(TokenId token) const {
    return !table_->is_known(token) ||
           (skip_special_tokens_ && table_->is_special(token) && std::ranges::find(shown_, token) == shown_.end());
}

void TextStream::decode_byte(std::string_view byte, std::string& text) {
    ++run_bytes_;
    if (!run_broken_) {
        run_broken_ = !characters_.push(byte, run_);
        if (!run_broken_) return;
        characters_ = Utf8Decoder();
        run_.clear();
        for (std::size_t i = 0; i < run_bytes_; ++i) text += kReplacementCharacter;
        return;
    }
    text += kReplacementCharacter;
}

void TextStream::end_run(std::string& text) {
    if (run_bytes_ == 0) return;
    if (!run_broken_) {
        std::string rest;
        if (characters_.finish(rest)) {
            text += run_;
        } else {
            for (std::size_t i = 0; i < run_bytes_; ++i) text += kReplacementCharacter;
        }
    }
    run_.clear();
    run_bytes_ = 0;
    run_broken_ = false;
}

void TextStream::decode(TokenId token, std::string& text) {
    if (left_out(token)) return;
    const bool first = std::exchange(first_token_, false);
    const std::string_view bytes = table_->bytes(token);
    if (table_->is_byte(token)) {
        if (run_bytes_ == 0) characters_.finish(text);
        decode_byte(bytes, text);
        return;
    }
    end_run(text);
    if (first && table_->leading_space() == TokenTable::LeadingSpace::drop_in_first_token) {
        std::string without(bytes);
        std::erase(without, ' ');
        characters_.push(without, text);
        return;
    }
    characters_.push(bytes, text);
}

void TextStream::strip_start(std::string& text) {
    if (!at_start_ || text.empty()) return;
    at_start_ = false;
    if (table_->leading_space() == TokenTable::LeadingSpace::strip_one && text.front() == ' ') text.erase(0, 1);
}

TextStream::Piece TextStream::push(TokenId token) {
    std::string text;
    decode(token, text);
    strip_start(text);
    Piece piece;
    piece.stop_index = stop_.push(text, piece.text);
    piece.stopped = piece.stop_index >= 0;
    return piece;
}

TextStream::Piece TextStream::close() {
    std::string text;
    if (run_bytes_ > 0) {
        end_run(text);
    } else {
        characters_.finish(text);
    }
    strip_start(text);
    Piece piece;
    piece.stop_index = stop_.push(text, piece.text);
    if (piece.stop_index < 0) piece.stop_index = stop_.finish(piece.text);
    piece.stopped = piece.stop_index >= 0;
    return piece;
}

}  // namespace tfserve
