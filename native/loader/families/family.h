// How a transformers architecture becomes one of llama.cpp's: a table of hyperparameters and a table of tensors.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <variant>

#include "loader/hf_config.h"

namespace tfserve {

/// A dimension of a weight, by its meaning; the number comes from config.json.
enum class Dim : std::uint8_t {
    none,
    vocab,   ///< vocab_size
    hidden,  ///< hidden_size
    ffn,     ///< intermediate_size
    query,   ///< num_attention_heads * head_dim
    kv,      ///< num_key_value_heads * head_dim
    head,    ///< head_dim
};

/// What happens to the rows of a tensor on its way.
enum class Layout : std::uint8_t {
    as_stored,
    /// Rows of each head are reordered: transformers rotates the pairs (i, i + head_dim/2), llama.cpp's `llama` the pairs (2i, 2i + 1).
    interleave_query,
    interleave_kv,
};

/// When a tensor must be there. It is left out, with a warning when it exists, in all other cases.
enum class When : std::uint8_t { always, untied_head, attention_bias, mlp_bias };

/// One tensor of the model. `{}` in a name stands for the number of the layer.
struct TensorRule {
    const char* hf_name;
    const char* gguf_name;
    std::array<Dim, 2> shape;  ///< outermost first; vectors have Dim::none second
    Layout layout = Layout::as_stored;
    When when = When::always;
};

/// One number of the model: a GGUF key (without the architecture's prefix) and the member of HfConfig that has its value.
struct HyperRule {
    const char* key;
    std::variant<std::int32_t HfConfig::*, double HfConfig::*> value;
};

/// One way to run an architecture.
struct Family {
    const char* hf_architecture;     ///< class name in config.json
    const char* llama_architecture;  ///< general.architecture
    HfDefaults defaults;
    std::span<const HyperRule> hyperparameters;
    std::span<const TensorRule> tensors;
    /// llama.cpp's graph wants head_dim * num_attention_heads == hidden_size.
    bool square_attention = false;
    /// llama.cpp's graph reads rope_freqs.weight, which llama3 and yarn scaling need.
    bool rope_factors = true;
};

/// The numbers that all dense decoders have.
std::span<const HyperRule> dense_decoder_hyperparameters();

}  // namespace tfserve
