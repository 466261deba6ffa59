// The vocabulary that a GGUF file brings with it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/types.h"
#include "llama.h"
#include "text/token_table.h"

namespace tfserve {

struct GgufSpecialTokens {
    std::optional<TokenId> bos, eos, pad;
    std::vector<TokenId> end_of_generation;  ///< ascending; eos first when there is one
    bool add_bos = false;                    ///< the tokenizer puts bos before a text
    bool add_eos = false;
};

/// False for models without text of their own (a checkpoint loaded from safetensors): then the functions below must not be called.
bool has_vocabulary(const llama_vocab* vocab);

GgufSpecialTokens gguf_special_tokens(const llama_vocab* vocab);

/// Id -> bytes for detokenisation.
std::shared_ptr<const TokenTable> gguf_token_table(const llama_model* model);

/// Text to ids. `parse_special`: texts of special tokens become those tokens, else they are plain text.
/// `add_special`: bos and eos as the file says. Throws std::length_error for texts of 2 GiB or more,
/// std::runtime_error for what a damaged vocabulary cannot express.
std::vector<TokenId> gguf_tokenize(const llama_vocab* vocab, std::string_view text, bool add_special, bool parse_special);

/// The Jinja template in the file; empty when it has none. `name`: a named one, for instance "tool_use".
std::string gguf_chat_template(const llama_model* model, const std::string& name = "");

/// A value of the file's metadata as text; empty when it is absent.
std::string model_metadata(const llama_model* model, const std::string& key);

}  // namespace tfserve
