// A checkpoint's config.json as checked numbers. Knows nothing of ggml or llama.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/safetensors.h"

namespace tfserve {

/// Where a family's configuration class finds its sliding windows.
enum class WindowRule : std::uint8_t {
    none,              ///< nowhere: the class has no windows
    switched,          ///< `use_sliding_window`; as `layer_types` says; else from layer `max_window_layers` on
    switched_even,     ///< the same, but else every second layer, the first one included, before `max_window_layers`
    switched_no_rope,  ///< the same, but else the layers without rotation
    switched_all,      ///< `use_sliding_window`; every layer
    all_layers,        ///< `sliding_window` holds for every layer; null: none
    patterned,         ///< as `layer_types` says; else all but every n-th layer
};

/// What a family's configuration class calls the numbers of its experts, and assumes for those left out.
struct ExpertDefaults {
    std::array<const char*, 2> keys = {};  ///< how many there are: the first that is in the file; no key: a family without experts
    std::int32_t count = 0;
    std::int32_t used = 0;
    const char* width_key = nullptr;  ///< width of one; null: intermediate_size
    std::int32_t width = 0;
    const char* shared_width_key = nullptr;  ///< width of the shared one
    std::int32_t shared_width = 0;
    const char* shared_count_key = nullptr;  ///< how many shared ones of the width of a routed one
    std::int32_t shared_count = 0;
};

/// What a transformers configuration class assumes for keys that config.json leaves out.
struct HfDefaults {
    std::int32_t max_position_embeddings = 2048;
    std::int32_t original_max_position_embeddings = 0;  ///< 0: max_position_embeddings
    std::int32_t num_attention_heads = 0;               ///< 0: has to be there
    std::int32_t num_key_value_heads = 0;               ///< 0: as many as attention heads
    std::int32_t head_dim = 0;                          ///< 0: hidden_size / num_attention_heads
    std::int32_t vocab_size = 0;                        ///< 0: has to be there
    double rope_theta = 10000.0;
    double rope_local_theta = 0;  ///< layers with a window; 0: the same as the others
    const char* rope_type = "default";
    double partial_rotary_factor = 1;
    double rms_norm_eps = 1e-6;
    bool tie_word_embeddings = false;
    bool attention_bias = false;
    const char* activation_key = "hidden_act";
    const char* activation = "silu";
    double query_pre_attn_scalar = 0;    ///< 0: the family has none
    double attn_logit_softcapping = 0;   ///< 0: none
    double final_logit_softcapping = 0;  ///< 0: none
    bool latent_attention = false;       ///< multi-head latent attention: q_lora_rank and so on
    WindowRule windows = WindowRule::none;
    std::int32_t sliding_window = 0;          ///< 0: none
    std::int32_t window_pattern = 0;          ///< patterned: every n-th layer has none
    bool last_layer_full = false;             ///< patterned: the last layer has none, whatever is stated
    std::int32_t no_rope_layer_interval = 0;  ///< every n-th layer does not rotate; 0: the family rotates in all
    ExpertDefaults experts = {};
    double routed_scaling_factor = 1;
    bool norm_topk_prob = false;
    std::int32_t num_dense_layers = 0;
    std::int32_t num_expert_groups = 0;
    std::int32_t num_groups_used = 0;
    bool per_layer_inputs = false;  ///< Gemma 4: layers of different widths, and an embedding a layer
    bool text_config = false;       ///< the text model's configuration is the object `text_config`
};

/// How rotary position embeddings are stretched.
enum class RopeType : std::uint8_t { plain, linear, dynamic, llama3, yarn, longrope, proportional };

/// `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` of transformers 4.
struct RopeConfig {
    RopeType type = RopeType::plain;
    double theta = 10000.0;
    double factor = 1.0;  ///< all but plain
    std::int32_t original_max_position_embeddings = 0;
    double low_freq_factor = 1.0;            ///< llama3
    double high_freq_factor = 4.0;           ///< llama3
    double beta_fast = 32.0;                 ///< yarn
    double beta_slow = 1.0;                  ///< yarn
    double mscale = 0.0;                     ///< yarn
    double mscale_all_dim = 0.0;             ///< yarn
    double attention_factor = 1.0;           ///< yarn, longrope: scale of the rotated vectors, resolved as transformers does
    bool truncate = true;                    ///< yarn: whole numbers as borders of the ramp
    double partial = 1.0;                    ///< part of the head that is rotated (proportional: of its pairs), in (0, 1]
    std::vector<double> short_factors = {};  ///< longrope: divisors of the frequencies up to the original context
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
    std::int32_t global_head_dim = 0;      ///< of layers without a window, Gemma 4; 0: head_dim
    std::int32_t rotary_dim = 0;           ///< values of a head that are rotated; even, at most head_dim
    std::int32_t vocab_size = 0;           ///< rows of the embedding matrix
    std::int32_t max_position_embeddings = 0;
    double rms_norm_eps = 1e-6;
    RopeConfig rope;
    double rope_local_theta = 0;         ///< of layers with a window
    std::vector<bool> rope_layers = {};  ///< a layer: whether it rotates
    bool tie_word_embeddings = false;
    bool attention_bias = false;
    bool qkv_bias = true;  ///< Qwen2-MoE
    bool mlp_bias = false;
    std::int32_t sliding_window = 0;       ///< positions a layer with a window sees; 0: no layer has one
    std::vector<bool> window_layers = {};  ///< a layer: whether it has the window
    std::string hidden_act = "silu";
    double attention_scale = 0;          ///< of the scores: query_pre_attn_scalar ^ -0.5
    double attn_logit_softcapping = 0;   ///< 0: none
    double final_logit_softcapping = 0;  ///< 0: none
    double attention_multiplier = 1, embedding_multiplier = 1, residual_multiplier = 1, logits_scaling = 1;  ///< Granite
    double swiglu_alpha = 1.702, swiglu_limit = 7;                                                           ///< gpt-oss

    std::int32_t num_experts = 0;  ///< routed ones; 0: none
    std::int32_t num_experts_per_tok = 0;
    std::int32_t expert_intermediate_size = 0;
    std::int32_t shared_intermediate_size = 0;  ///< of all shared experts together
    std::int32_t num_shared_experts = 0;
    std::int32_t num_dense_layers = 0;                        ///< layers before the first with experts
    bool some_layers_dense = false;                           ///< Qwen's mlp_only_layers and decoder_sparse_step
    std::int32_t num_expert_groups = 0, num_groups_used = 0;  ///< 0: experts are not grouped
    bool group_limited = false;                               ///< topk_method group_limited_greedy with more than one group
    double routed_scaling_factor = 1;
    bool norm_topk_prob = false;

    std::int32_t num_global_key_value_heads = 0;  ///< of layers without a window, Gemma 4; 0: num_key_value_heads
    bool keys_are_values = false;                 ///< layers without a window have no matrix for values
    std::int32_t num_kv_shared_layers = 0;        ///< the last ones, which use keys and values of earlier ones
    bool double_wide_mlp = false;                 ///< in those layers
    std::int32_t hidden_size_per_layer_input = 0;

    std::int32_t q_lora_rank = 0;  ///< 0: queries are not compressed
    std::int32_t kv_lora_rank = 0;
    std::int32_t qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
    bool rope_interleave = true;

    std::string quantization;    ///< quant_method when the weights are quantised, else empty
    std::optional<DType> dtype;  ///< as stated (dtype, or torch_dtype); the tensors themselves may differ
    std::optional<std::int32_t> bos_token_id;
    std::vector<std::int32_t> eos_token_ids;

    bool has_window(std::int32_t layer) const { return window_layers[static_cast<std::size_t>(layer)]; }
    bool shares_kv(std::int32_t layer) const { return layer >= num_hidden_layers - num_kv_shared_layers; }
    std::int32_t head_dim_of(std::int32_t layer) const { return global_head_dim == 0 || has_window(layer) ? head_dim : global_head_dim; }
    std::int32_t kv_heads_of(std::int32_t layer) const {
        return num_global_key_value_heads == 0 || has_window(layer) ? num_key_value_heads : num_global_key_value_heads;
    }
    std::int32_t intermediate_size_of(std::int32_t layer) const {
        return double_wide_mlp && shares_kv(layer) ? 2 * intermediate_size : intermediate_size;
    }
};

/// The class name in `architectures`, before anything else is known. Throws LoadError.
std::string hf_architecture(std::string_view json);

/// Checks and reads the text of a config.json. Throws LoadError with a sentence that names the key.
HfConfig parse_hf_config(std::string_view json, const HfDefaults& defaults);

}  // namespace tfserve
