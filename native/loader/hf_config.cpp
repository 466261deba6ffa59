#include "loader/hf_config.h"

#include "loader/hf_fields.h"
#include "loader/hf_rope.h"

namespace tfserve {

using namespace hf;

namespace {

std::string architecture_of(const Fields& fields) {
    const Json* list = fields.find("architectures");
    if (list == nullptr) invalid("architectures is missing, so the kind of model is unknown");
    if (!list->is_array() || list->empty() || !list->front().is_string()) invalid("architectures is not a list with a class name");
    return list->front().get<std::string>();
}

void read_attention(const Fields& top, const HfDefaults& defaults, HfConfig& config) {
    config.num_attention_heads = top.integer_or("num_attention_heads", 1, kMaxHeads, defaults.num_attention_heads);
    const bool as_many = defaults.num_key_value_heads == 0 || top.is_null("num_key_value_heads");
    config.num_key_value_heads =
        top.integer("num_key_value_heads", 1, kMaxHeads, as_many ? config.num_attention_heads : defaults.num_key_value_heads);
    if (config.num_attention_heads % config.num_key_value_heads != 0) {
        invalid("num_attention_heads (" + std::to_string(config.num_attention_heads) + ") is not a multiple of num_key_value_heads (" +
                std::to_string(config.num_key_value_heads) + ")");
    }
    const std::int32_t width = defaults.head_dim != 0 ? defaults.head_dim : config.hidden_size / config.num_attention_heads;
    config.head_dim = defaults.latent_attention ? config.qk_rope_head_dim : top.integer("head_dim", 2, 65536, width);
    if (config.head_dim < 2 || config.head_dim % 2 != 0) {
        invalid("head_dim (" + std::to_string(config.head_dim) + ") is not an even number");
    }
    if (static_cast<std::int64_t>(config.head_dim) * config.num_attention_heads > kMaxWidth) {
        invalid("head_dim x num_attention_heads is beyond " + std::to_string(kMaxWidth));
    }
    config.attention_bias = top.boolean("attention_bias", defaults.attention_bias);
    config.qkv_bias = top.boolean("qkv_bias", true);
    if (defaults.query_pre_attn_scalar > 0) {
        config.attention_scale = 1 / std::sqrt(top.number("query_pre_attn_scalar", 1e-3, 1e6, defaults.query_pre_attn_scalar));
    }
    auto cap = [&](const char* key, double assumed) { return top.number(key, 0, 1e6, top.is_null(key) ? 0.0 : assumed); };
    config.attn_logit_softcapping = cap("attn_logit_softcapping", defaults.attn_logit_softcapping);
    config.final_logit_softcapping = cap("final_logit_softcapping", defaults.final_logit_softcapping);
    const Json* both_ways = top.find("use_bidirectional_attention");
    if (both_ways != nullptr && *both_ways != false && *both_ways != "vision") {
        unsupported("use_bidirectional_attention is not supported");
    }
}

void read_per_layer(const Fields& top, HfConfig& config) {
    if (top.boolean("enable_moe_block", false)) unsupported("layers with experts are not supported for this architecture");
    if (top.find("per_layer_config") != nullptr) unsupported("per_layer_config is not supported");
    config.global_head_dim = top.integer("global_head_dim", 2, 65536, 512);
    if (config.global_head_dim % 2 != 0) invalid("global_head_dim is not an even number");
    if (std::int64_t{config.global_head_dim} * config.num_attention_heads > kMaxWidth) invalid("global_head_dim is too large");
    config.keys_are_values = top.boolean("attention_k_eq_v", false);
    if (config.keys_are_values && top.find("num_global_key_value_heads") != nullptr) {
        config.num_global_key_value_heads = top.integer("num_global_key_value_heads", 1, config.num_attention_heads);
        if (config.num_attention_heads % config.num_global_key_value_heads != 0)
            invalid("num_global_key_value_heads does not divide the heads");
    }
    config.num_kv_shared_layers = top.integer("num_kv_shared_layers", 0, config.num_hidden_layers, 0);
    config.double_wide_mlp = top.boolean("use_double_wide_mlp", false);
    config.hidden_size_per_layer_input =
        top.is_null("hidden_size_per_layer_input") ? 0 : top.integer("hidden_size_per_layer_input", 0, 65536, 256);
    if (top.integer("vocab_size_per_layer_input", 1, kMaxVocabulary, config.vocab_size) != config.vocab_size) {
        unsupported("vocab_size_per_layer_input other than vocab_size is not supported");
    }
    // layers that share take from the last one of their kind that does not
    for (const bool window : {false, true}) {
        bool owned = false, shared = false;
        for (std::int32_t layer = 0; layer < config.num_hidden_layers; ++layer) {
            if (config.has_window(layer) == window) (config.shares_kv(layer) ? shared : owned) = true;
        }
        if (shared && !owned) invalid("num_kv_shared_layers leaves layers with nothing to share");
    }
}

void read_latent_attention(const Fields& top, HfConfig& config) {
    config.q_lora_rank = top.is_null("q_lora_rank") ? 0 : top.integer("q_lora_rank", 0, kMaxWidth, 1536);
    config.kv_lora_rank = top.integer("kv_lora_rank", 1, kMaxWidth, 512);
    config.qk_nope_head_dim = top.integer("qk_nope_head_dim", 1, 65536, 128);
    config.qk_rope_head_dim = top.integer("qk_rope_head_dim", 2, 65536, 64);
    config.v_head_dim = top.integer("v_head_dim", 1, 65536, 128);
    config.rope_interleave = top.boolean("rope_interleave", true);
    const std::int64_t heads = top.integer("num_attention_heads", 1, kMaxHeads);
    if (heads * (config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim) > kMaxWidth) {
        invalid("the heads together are wider than " + std::to_string(kMaxWidth));
    }
}

void read_experts(const Fields& top, const HfDefaults& defaults, HfConfig& config) {
    const ExpertDefaults& experts = defaults.experts;
    constexpr std::int64_t kMaxExperts = 1024;  // what llama.cpp's fixed arrays hold
    const char* key = experts.keys[1] != nullptr && top.find(experts.keys[0]) == nullptr ? experts.keys[1] : experts.keys[0];
    config.num_experts = top.integer(key, 2, kMaxExperts, experts.count);
    config.num_experts_per_tok = top.integer("num_experts_per_tok", 1, config.num_experts, experts.used);
    if (config.num_experts_per_tok > config.num_experts) invalid("num_experts_per_tok is beyond the number of experts");
    config.expert_intermediate_size =
        experts.width_key != nullptr ? top.integer(experts.width_key, 1, kMaxWidth, experts.width) : config.intermediate_size;
    if (experts.shared_width_key != nullptr) {
        config.shared_intermediate_size = top.integer(experts.shared_width_key, 0, kMaxWidth, experts.shared_width);
    }
    if (experts.shared_count_key != nullptr) {
        config.num_shared_experts =
            top.is_null(experts.shared_count_key) ? 0 : top.integer(experts.shared_count_key, 0, 64, experts.shared_count);
        const std::int64_t width = std::int64_t{config.num_shared_experts} * config.expert_intermediate_size;
        if (width > kMaxWidth) invalid("the shared experts together are wider than " + std::to_string(kMaxWidth));
        config.shared_intermediate_size = static_cast<std::int32_t>(width);
    }
    config.norm_topk_prob = top.boolean("norm_topk_prob", defaults.norm_topk_prob);
    config.routed_scaling_factor = top.number("routed_scaling_factor", 1e-6, 1e6, defaults.routed_scaling_factor);
    config.num_dense_layers =
        std::min(top.integer("first_k_dense_replace", 0, kMaxLayers, defaults.num_dense_layers), config.num_hidden_layers);
    const Json* dense = top.find("mlp_only_layers");
    config.some_layers_dense = (dense != nullptr && !dense->empty()) || top.integer("decoder_sparse_step", 0, kMaxLayers, 1) != 1;

    const std::int32_t groups = top.integer("n_group", 1, kMaxExperts, std::max(1, defaults.num_expert_groups));
    const std::int32_t used = top.integer("topk_group", 1, kMaxExperts, std::max(1, defaults.num_groups_used));
    if (used >= groups) return;  // every group may be chosen
    if (config.num_experts % groups != 0 || config.num_experts / groups < 2) invalid("the experts cannot be divided into n_group groups");
    if (config.num_experts_per_tok > config.num_experts / groups * used) invalid("topk_group groups have too few experts for a token");
    config.num_expert_groups = groups, config.num_groups_used = used;
    config.group_limited = top.text("topk_method", "greedy") == "group_limited_greedy";
}

/// The layers with a window by a family's rule, where the file does not name them one by one.
bool has_window_by_rule(WindowRule rule, std::size_t layer, std::size_t limit, const HfConfig& config) {
    switch (rule) {
        case WindowRule::none: return false;
        case WindowRule::switched: return layer >= limit;
        case WindowRule::switched_even: return layer % 2 == 0 && layer < limit;
        case WindowRule::switched_no_rope: return !config.rope_layers[layer];
        case WindowRule::switched_all:
        case WindowRule::all_layers: return true;
        case WindowRule::patterned: return (layer + 1) % limit != 0;
    }
    return false;
}

/// Which layers have a window, and how long it is. One as long as the context changes nothing.
void read_windows(const Fields& top, const HfDefaults& defaults, HfConfig& config) {
    const WindowRule rule = defaults.windows;
    const auto layers = static_cast<std::size_t>(config.num_hidden_layers);
    config.window_layers.assign(layers, false);
    if (rule == WindowRule::none) return;
    // transformers switches all windows off with this one key
    const bool on = rule == WindowRule::all_layers || rule == WindowRule::patterned || top.boolean("use_sliding_window", false);
    std::int32_t window = 0;
    if (on && !top.is_null("sliding_window")) window = top.integer("sliding_window", 0, kMaxContext, defaults.sliding_window);
    const bool uniform = rule == WindowRule::all_layers || rule == WindowRule::switched_all;
    if (const Json* types = top.find("layer_types"); types != nullptr && !uniform) {
        if (!types->is_array() || types->size() != layers) invalid("layer_types is not a list with one entry a layer");
        for (std::size_t layer = 0; layer < layers; ++layer) {
            const Json& type = (*types)[layer];
            if (!type.is_string()) invalid("layer_types has an entry that is not text");
            const auto& name = type.get_ref<const std::string&>();
            if (name != "full_attention" && name != "sliding_attention") {
                unsupported("the layer type " + in_quotes(name) + " is not supported for this architecture");
            }
            config.window_layers[layer] = name == "sliding_attention";
        }
    } else {
        const std::int32_t limit = rule == WindowRule::patterned
                                       ? top.integer("sliding_window_pattern", 1, kMaxLayers, defaults.window_pattern)
                                       : top.integer("max_window_layers", 0, kMaxContext, 28);
        for (std::size_t layer = 0; layer < layers; ++layer) {
            config.window_layers[layer] = has_window_by_rule(rule, layer, static_cast<std::size_t>(limit), config);
        }
    }
    if (defaults.last_layer_full) config.window_layers.back() = false;
    const bool some = std::find(config.window_layers.begin(), config.window_layers.end(), true) != config.window_layers.end();
    const std::int32_t context = config.max_position_embeddings;
    if (rule == WindowRule::patterned) {
        // such layers differ in more than their window
        config.sliding_window = window == 0 ? context : window;
    } else if (some && window < context) {
        config.sliding_window = window;
    }
}

void read_rope_layers(const Fields& top, const HfDefaults& defaults, HfConfig& config) {
    const auto layers = static_cast<std::size_t>(config.num_hidden_layers);
    config.rope_layers.assign(layers, true);
    if (defaults.no_rope_layer_interval == 0) return;
    if (top.find("no_rope_layers") != nullptr) {
        // in spite of its name it says which layers do rotate
        const std::vector<double> list = top.numbers("no_rope_layers", 0, 1);
        if (list.size() != layers) invalid("no_rope_layers is not a list with one entry a layer");
        for (std::size_t layer = 0; layer < layers; ++layer) config.rope_layers[layer] = list[layer] != 0;
        return;
    }
    const auto interval = static_cast<std::size_t>(top.integer("no_rope_layer_interval", 1, kMaxLayers, defaults.no_rope_layer_interval));
    for (std::size_t layer = 0; layer < layers; ++layer) config.rope_layers[layer] = (layer + 1) % interval != 0;
}

void read_multipliers(const Fields& top, HfConfig& config) {
    config.attention_multiplier = top.number("attention_multiplier", 1e-9, 1e6, 1.0);
    config.embedding_multiplier = top.number("embedding_multiplier", 1e-9, 1e6, 1.0);
    config.residual_multiplier = top.number("residual_multiplier", 1e-9, 1e6, 1.0);
    config.logits_scaling = top.number("logits_scaling", 1e-9, 1e6, 1.0);
    config.swiglu_alpha = top.number("swiglu_alpha", 0, 1e6, 1.702);
    config.swiglu_limit = top.number("swiglu_limit", 0, 1e6, 7.0);
}

std::optional<DType> stated_dtype(const Fields& top) {
    std::string text = top.text("dtype", top.text("torch_dtype", ""));
    if (text.rfind("torch.", 0) == 0) text.erase(0, 6);
    if (text == "bfloat16") return DType::bfloat16;
    if (text == "float16" || text == "half") return DType::float16;
    if (text == "float32" || text == "float") return DType::float32;
    if (text == "float64" || text == "double") return DType::float64;
    return std::nullopt;
}

}  // namespace

std::string hf_architecture(std::string_view json) {
    const Json document = parse_json(json, kConfigFile);
    return architecture_of(Fields(document, ""));
}

HfConfig parse_hf_config(std::string_view json, const HfDefaults& defaults) {
    const Json document = parse_json(json, kConfigFile);
    const Fields file(document, "");
    const Json* text = defaults.text_config ? file.find("text_config") : nullptr;
    if (defaults.text_config && text == nullptr) invalid("text_config is missing");
    const Fields top(text != nullptr ? *text : document, text != nullptr ? "text_config." : "");
    HfConfig config;
    config.architecture = architecture_of(file);
    config.model_type = file.text("model_type", "");
    config.hidden_size = top.integer("hidden_size", 1, kMaxWidth);
    config.intermediate_size = top.integer("intermediate_size", 1, kMaxWidth);
    config.num_hidden_layers = top.integer("num_hidden_layers", 1, kMaxLayers);
    if (defaults.latent_attention) read_latent_attention(top, config);
    read_attention(top, defaults, config);
    config.vocab_size = top.integer_or("vocab_size", 1, kMaxVocabulary, defaults.vocab_size);
    config.max_position_embeddings = top.integer("max_position_embeddings", 1, kMaxContext, defaults.max_position_embeddings);
    config.rms_norm_eps = top.number("rms_norm_eps", 0, 1, defaults.rms_norm_eps);
    config.tie_word_embeddings = file.boolean("tie_word_embeddings", top.boolean("tie_word_embeddings", defaults.tie_word_embeddings));
    config.mlp_bias = top.boolean("mlp_bias", false);
    config.hidden_act = top.text(defaults.activation_key, defaults.activation);
    if (defaults.experts.keys[0] != nullptr) read_experts(top, defaults, config);
    read_rope(top, defaults, config);
    read_rope_layers(top, defaults, config);
    read_windows(top, defaults, config);
    if (defaults.per_layer_inputs) read_per_layer(top, config);
    read_multipliers(top, config);
    config.dtype = stated_dtype(file);
    if (const Json* quantization = file.find("quantization_config")) {
        config.quantization = Fields(*quantization, "quantization_config.").text("quant_method", "unknown");
    }
    auto token = [&](const char* key) { return file.find(key) != nullptr ? file.find(key) : top.find(key); };
    if (const Json* bos = token("bos_token_id")) config.bos_token_id = Fields::checked_integer(*bos, "bos_token_id", -1, kMaxVocabulary);
    if (const Json* eos = token("eos_token_id")) {
        for (const Json& id : eos->is_array() ? *eos : Json::array({*eos})) {
            config.eos_token_ids.push_back(Fields::checked_integer(id, "eos_token_id", -1, kMaxVocabulary));
        }
    }
    return config;
}

}  // namespace tfserve
