#include "text/token_table.h"

#include <algorithm>
#include <stdexcept>
#include <unordered_set>

#include "text/token_decoder.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace tfserve {

namespace {

constexpr std::size_t kMaxTableBytes = std::size_t{1} << 28;

}  // namespace

const TokenTable::Entry* TokenTable::find(TokenId id) const {
    return id >= 0 && static_cast<std::size_t>(id) < entries_.size() ? &entries_[static_cast<std::size_t>(id)] : nullptr;
}

std::string_view TokenTable::bytes(TokenId id) const {
    const Entry* entry = find(id);
    return entry != nullptr ? std::string_view(bytes_).substr(entry->offset, entry->length) : std::string_view();
}

bool TokenTable::is_special(TokenId id) const {
    const Entry* entry = find(id);
    return entry != nullptr && entry->special;
}

bool TokenTable::is_known(TokenId id) const {
    const Entry* entry = find(id);
    return entry != nullptr && entry->known;
}

bool TokenTable::is_byte(TokenId id) const {
    const Entry* entry = find(id);
    return entry != nullptr && entry->byte;
}

void TokenTable::set(TokenId id, std::string_view bytes, bool special, bool byte) {
    if (bytes.size() > kMaxTableBytes - bytes_.size()) throw std::runtime_error("the tokens of the vocabulary are too long");
    Entry& entry = entries_[static_cast<std::size_t>(id)];
    entry.offset = static_cast<std::uint32_t>(bytes_.size());
    entry.length = static_cast<std::uint32_t>(bytes.size());
    entry.special = special;
    entry.byte = byte;
    entry.known = true;
    bytes_ += bytes;
}

std::shared_ptr<const TokenTable> TokenTable::from_tokenizer_json(std::string_view json, std::int32_t vocab_size) {
    if (vocab_size < 0 || vocab_size > kMaxVocabulary) {
        throw std::runtime_error("the vocabulary size " + std::to_string(vocab_size) + " is out of range");
    }
    const TokenizerJson file = read_tokenizer_json(json);
    // files of before the field was introduced are BPE, and have merges; the decoder tells the rest
    if (!file.model_type.empty() && file.model_type != "BPE" && file.model_type != "Unigram") {
        const std::string decoder = file.decoder.is_object() ? file.decoder.value("type", nlohmann::json()).dump() : "none";
        throw std::runtime_error("tokenizer.json has a model of the type \"" + to_valid_utf8(file.model_type.substr(0, 64)) +
                                 "\" (decoder: " + to_valid_utf8(decoder.substr(0, 64)) + "), known are BPE and Unigram");
    }
    if (file.pieces.empty() && file.added.empty()) throw std::runtime_error("tokenizer.json has no vocabulary");
    const TokenDecoder decoder(file.decoder);

    auto table = std::make_shared<TokenTable>();
    table->leading_space_ = decoder.leading_space();
    TokenId last = vocab_size - 1;
    std::unordered_set<std::string_view> special;
    for (const auto& piece : file.pieces) last = std::max(last, piece.id);
    for (const auto& token : file.added) {
        last = std::max(last, token.id);
        if (token.special) special.insert(token.content);
    }
    table->entries_.resize(static_cast<std::size_t>(last) + 1);
    table->bytes_.reserve(std::min(file.bytes.size(), kMaxTableBytes));
    bool is_byte = false;
    for (const auto& piece : file.pieces) {
        const std::string bytes = decoder.bytes_of(file.text(piece), is_byte);
        table->set(piece.id, bytes, special.contains(file.text(piece)), is_byte);
    }
    for (const auto& token : file.added) {
        const std::string bytes = decoder.bytes_of(token.content, is_byte);
        table->set(token.id, bytes, special.contains(token.content), is_byte);
    }
    return table;
}

std::shared_ptr<const TokenTable> TokenTable::from_pieces(const std::vector<std::string>& pieces, const std::vector<bool>& special,
                                                          bool strip_leading_space, const std::vector<bool>& byte) {
    if (pieces.size() > static_cast<std::size_t>(kMaxVocabulary)) throw std::runtime_error("the vocabulary is too large");
    auto table = std::make_shared<TokenTable>();
    table->leading_space_ = strip_leading_space ? LeadingSpace::strip_one : LeadingSpace::kept;
    table->entries_.resize(pieces.size());
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        table->set(static_cast<TokenId>(i), pieces[i], i < special.size() && special[i], i < byte.size() && byte[i]);
    }
    return table;
}

}  // namespace tfserve
