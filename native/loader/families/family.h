// How a transformers architecture becomes one of llama.cpp's: a table of hyperparameters and tables of tensors.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "loader/hf_config.h"

namespace tfserve {

/// A dimension of a weight, by its meaning; the number comes from config.json.
enum class Dim : std::uint8_t {
    none,
    one,
    vocab,           ///< vocab_size
    hidden,          ///< hidden_size
    ffn,             ///< intermediate_size, of this layer where they differ
    two_ffn,         ///< gate and up in one matrix
    head,            ///< head_dim, of this layer where they differ
    query,           ///< num_attention_heads * head
    kv,              ///< num_key_value_heads * head
    qkv,             ///< query + 2 kv
    heads,           ///< num_attention_heads
    experts,         ///< number of routed experts
    expert_ffn,      ///< width of one routed expert
    two_expert_ffn,  ///< gate and up of one routed expert in one matrix
    shared_ffn,      ///< width of all shared experts together
    q_lora,          ///< q_lora_rank
    kv_lora,         ///< kv_lora_rank
    kv_lora_rope,    ///< kv_lora_rank + qk_rope_head_dim
    mla_query,       ///< num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)
    mla_kv,          ///< num_attention_heads * (qk_nope_head_dim + v_head_dim)
    mla_value,       ///< num_attention_heads * v_head_dim
    per_layer,       ///< hidden_size_per_layer_input
    all_layers,      ///< num_hidden_layers * per_layer
};

/// What happens to a tensor on its way. All of these are strided views of what is stored, see view_of().
enum class Op : std::uint8_t {
    as_stored,
    /// Rows of each head are reordered: transformers rotates the pairs (i, i + head_dim/2), llama.cpp's `llama` the pairs (2i, 2i + 1).
    interleave_query,
    interleave_kv,
    add_one,          ///< transformers multiplies by 1 + weight, llama.cpp by the weight
    squeeze,          ///< [1, n] becomes [n]
    transpose,        ///< the two inner dimensions change places
    even_columns,     ///< of the innermost dimension, every second entry from 0 on
    odd_columns,      ///< the others
    even_transposed,  ///< even_columns, then transpose
    odd_transposed,   ///< odd_columns, then transpose
    mla_key,          ///< the part of kv_b for keys: [mla_kv, kv_lora] becomes [heads, kv_lora, qk_nope]
    even_rows,        ///< of the second innermost dimension, every second entry from 0 on
    odd_rows,         ///< the others
    mla_value,        ///< the part of kv_b for values: [mla_kv, kv_lora] becomes [heads, v_head, kv_lora]
};

/// When a tensor must be there. It is left out, with a warning when it exists, in all other cases.
enum class When : std::uint8_t {
    always,
    untied_head,
    tied_head,  ///< a second use of the embedding, for graphs of llama.cpp that do not know tied ones
    attention_bias,
    qkv_bias,
    mlp_bias,
    dense_layer,   ///< a layer without experts
    expert_layer,  ///< a layer with experts
    q_lora,        ///< queries are compressed
    no_q_lora,
    own_kv,           ///< a layer that does not use keys and values of an earlier one
    own_v,            ///< the same, where values have a matrix of their own
    per_layer_input,  ///< every layer gets an embedding of the token
};

/// One tensor of the model. `{}` in a name stands for the number of the layer; `{e}` for that of an expert: those are stacked.
struct TensorRule {
    const char* hf_name;
    const char* gguf_name;
    std::array<Dim, 3> shape;  ///< as stored, outermost first; the rest is Dim::none
    Op op = Op::as_stored;
    When when = When::always;
    /// The name stands for two tensors: name_blocks, with 32 four-bit values in 16 bytes in one more dimension, and name_scales.
    bool mxfp4 = false;
};

/// One number of the model: a GGUF key (without the architecture's prefix) and where its value is.
struct HyperRule {
    const char* key;
    std::variant<std::int32_t HfConfig::*, double HfConfig::*, bool HfConfig::*, std::vector<bool> HfConfig::*,
                 std::int32_t (*)(const HfConfig&), double (*)(const HfConfig&), std::vector<std::uint32_t> (*)(const HfConfig&)>
        value;
};

/// What llama.cpp's graph does about stretched rotary embeddings.
enum class RopeScaling : std::uint8_t {
    linear,        ///< one factor for all frequencies, nothing else
    factors,       ///< it reads rope_freqs.weight, divisors of the frequencies: llama3, yarn and longrope work
    long_short,    ///< it reads rope_factors_long.weight and rope_factors_short.weight: the same, by another name
    yarn_by_name,  ///< it computes yarn itself, with borders of the ramp in whole numbers and the scale of multi-head latent attention
};

enum class Activation : std::uint8_t { silu, gelu_tanh };

/// One way to run an architecture.
struct Family {
    const char* hf_architecture;     ///< class name in config.json
    const char* llama_architecture;  ///< general.architecture
    HfDefaults defaults;
    std::vector<std::span<const HyperRule>> hyperparameters;  ///< of two rules for a key the later one counts
    std::vector<std::span<const TensorRule>> tensors;
    Activation activation = Activation::silu;
    /// llama.cpp's graph wants head_dim * num_attention_heads == hidden_size.
    bool square_attention = false;
    RopeScaling rope_scaling = RopeScaling::factors;
    /// llama.cpp's graph can rotate a part of the head.
    bool partial_rotary = false;
    /// quant_method of the checkpoints that the tables are for; empty: weights as they are.
    const char* quantization = "";
    /// What else stands in the way of a configuration; empty when nothing does. May be null.
    std::string (*obstacle)(const HfConfig& config) = nullptr;
    /// What names in the checkpoint may begin with instead of "model." (the text part of a larger model).
    std::vector<const char*> model_prefixes = {};
    /// Beginnings of names of tensors that are left aside without a word (towers for pictures or sound).
    std::vector<const char*> ignored_prefixes = {};
};

}  // namespace tfserve
