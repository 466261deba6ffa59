// A checkpoint's config.json as checked numbers. Knows nothing of ggml or llama.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/safetensors.h"

namespace tfserve {

/// What a transformers configuration class assumes for keys that config.json leaves out.
struct HfDefaults {
    std::int32_t max_position_embeddings = 2048;
    std::int32_t num_key_value_heads = 0;  ///< 0: as many as attention heads
    std::int32_t head_dim = 0;             ///< 0: hidden_size / num_attention_heads
    double rope_theta = 10000.0;
    bool tie_word_embeddings = false;
};

/// How rotary position embeddings are stretched.
enum class RopeType : std::uint8_t { plain, linear, dynamic, llama3, yarn };

/// `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` of transformers 4.
struct RopeConfig {
    RopeType type = RopeType::plain;
    double theta = 10000.0;
    double factor = 1.0;  ///< all but plain
    std::int32_t original_max_position_embeddings = 0;
    double low_freq_factor = 1.0;   ///< llama3
    double high_freq_factor = 4.0;  ///< llama3
    double beta_fast = 32.0;        ///< yarn
    double beta_slow = 1.0;         ///< yarn
    double attention_factor = 1.0;  ///< yarn: scale of the rotated vectors, resolved as transformers does
    bool truncate = true;           ///< yarn: whole numbers as borders of the ramp
};

/// config.json of a decoder-only text model; every number is in a range that is safe to compute with.
struct HfConfig {
    std::string architecture;  ///< class name, for instance LlamaForCausalLM
    std::string model_type;
    std::int32_t hidden_size = 0;
    std::int32_t intermediate_size = 0;
    std::int32_t num_hidden_layers = 0;
    std::int32_t num_attention_heads = 0;
    std::int32_t num_key_value_heads = 0;  ///< divides num_attention_heads
    std::int32_t head_dim = 0;             ///< even
    std::int32_t vocab_size = 0;           ///< rows of the embedding matrix
    std::int32_t max_position_embeddings = 0;
    double rms_norm_eps = 1e-6;
    RopeConfig rope;
    bool tie_word_embeddings = false;
    bool attention_bias = false;
    bool mlp_bias = false;
    bool sliding_window = false;  ///< some layer uses one
    std::string hidden_act = "silu";
    std::string quantization;    ///< quant_method when the weights are quantised, else empty
    std::optional<DType> dtype;  ///< as stated (dtype, or torch_dtype); the tensors themselves may differ
    std::optional<std::int32_t> bos_token_id;
    std::vector<std::int32_t> eos_token_ids;
};

/// The class name in `architectures`, before anything else is known. Throws LoadError.
std::string hf_architecture(std::string_view json);

/// Checks and reads the text of a config.json. Throws LoadError with a sentence that names the key.
HfConfig parse_hf_config(std::string_view json, const HfDefaults& defaults);

}  // namespace tfserve
