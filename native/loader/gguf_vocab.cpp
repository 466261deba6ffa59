#include "loader/gguf_vocab.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "loader/load_error.h"

namespace tfserve {

namespace {

std::optional<TokenId> valid(llama_token id) { return id >= 0 ? std::optional<TokenId>(id) : std::nullopt; }

std::string piece_of(const llama_vocab* vocab, TokenId id) {
    std::string piece(64, '\0');
    std::int32_t size = llama_token_to_piece(vocab, id, piece.data(), static_cast<std::int32_t>(piece.size()), 0, true);
    if (size < 0) {
        piece.resize(static_cast<std::size_t>(-size));
        size = llama_token_to_piece(vocab, id, piece.data(), static_cast<std::int32_t>(piece.size()), 0, true);
    }
    piece.resize(static_cast<std::size_t>(std::max(size, 0)));
    return piece;
}

}  // namespace

bool has_vocabulary(const llama_vocab* vocab) { return llama_vocab_type(vocab) != LLAMA_VOCAB_TYPE_NONE; }

GgufSpecialTokens gguf_special_tokens(const llama_vocab* vocab) {
    GgufSpecialTokens special;
    if (!has_vocabulary(vocab)) return special;
    special.bos = valid(llama_vocab_bos(vocab));
    special.eos = valid(llama_vocab_eos(vocab));
    special.pad = valid(llama_vocab_pad(vocab));
    special.add_bos = llama_vocab_get_add_bos(vocab);
    special.add_eos = llama_vocab_get_add_eos(vocab);
    for (TokenId id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
        if (llama_vocab_is_eog(vocab, id)) special.end_of_generation.push_back(id);
    }
    if (special.eos) {
        const auto eos = std::find(special.end_of_generation.begin(), special.end_of_generation.end(), *special.eos);
        if (eos != special.end_of_generation.end()) std::rotate(special.end_of_generation.begin(), eos, eos + 1);
    }
    return special;
}

std::shared_ptr<const TokenTable> gguf_token_table(const llama_model* model) {
    const llama_vocab* vocab = llama_model_get_vocab(model);
    if (!has_vocabulary(vocab)) {
        throw LoadError(LoadError::Kind::unsupported, "The GGUF file brings no vocabulary: it has no text to generate.");
    }
    const std::int32_t size = llama_vocab_n_tokens(vocab);
    std::vector<std::string> pieces(static_cast<std::size_t>(size));
    std::vector<bool> special(pieces.size());
    for (TokenId id = 0; id < size; ++id) {
        const auto at = static_cast<std::size_t>(id);
        special[at] = llama_vocab_is_control(vocab, id) || (llama_vocab_get_attr(vocab, id) & LLAMA_TOKEN_ATTR_UNKNOWN) != 0;
        pieces[at] = piece_of(vocab, id);
    }
    // sentencepiece puts a space before the first word, unless the file says otherwise
    const bool prefix =
        llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_SPM && model_metadata(model, "tokenizer.ggml.add_space_prefix") != "false";
    return TokenTable::from_pieces(pieces, special, prefix);
}

std::vector<TokenId> gguf_tokenize(const llama_vocab* vocab, std::string_view text, bool add_special, bool parse_special) {
    constexpr std::size_t kMost = std::numeric_limits<std::int32_t>::max() - 16;
    if (text.size() > kMost) throw std::length_error("The text is too long to be tokenised.");
    const auto size = static_cast<std::int32_t>(text.size());
    std::vector<TokenId> ids(text.size() + 2);  // a token has at least one byte, bos and eos aside
    auto run = [&] {
        return llama_tokenize(vocab, text.data(), size, ids.data(), static_cast<std::int32_t>(ids.size()), add_special, parse_special);
    };
    std::int32_t count = 0;
    try {
        count = run();
        if (count < 0 && count != std::numeric_limits<std::int32_t>::min()) {
            ids.resize(static_cast<std::size_t>(-count));
            count = run();
        }
    } catch (const std::out_of_range&) {
        throw std::runtime_error("The vocabulary of the GGUF file lacks tokens for single bytes: it cannot express this text.");
    }
    if (count < 0) throw std::length_error("The text is too long to be tokenised.");
    ids.resize(static_cast<std::size_t>(count));
    return ids;
}

std::string gguf_chat_template(const llama_model* model, const std::string& name) {
    const char* text = llama_model_chat_template(model, name.empty() ? nullptr : name.c_str());
    return text == nullptr ? "" : text;
}

std::string model_metadata(const llama_model* model, const std::string& key) {
    const std::int32_t size = llama_model_meta_val_str(model, key.c_str(), nullptr, 0);
    if (size < 0) return "";
    std::string value(static_cast<std::size_t>(size) + 1, '\0');
    llama_model_meta_val_str(model, key.c_str(), value.data(), value.size());
    value.resize(static_cast<std::size_t>(size));
    return value;
}

}  // namespace tfserve
