#include "loader/tensor_plan.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "loader/load_error.h"

namespace tfserve {

namespace {

template <typename... F>
struct Overloaded : F... {
    using F::operator()...;
};

std::int64_t dimension(Dim dim, const HfConfig& config, std::int32_t layer) {
    const std::int64_t heads = config.num_attention_heads, kv_heads = config.kv_heads_of(layer);
    const std::int64_t head_dim = config.head_dim_of(layer), rope = config.qk_rope_head_dim;
    switch (dim) {
        case Dim::vocab: return config.vocab_size;
        case Dim::hidden: return config.hidden_size;
        case Dim::ffn: return config.intermediate_size_of(layer);
        case Dim::two_ffn: return std::int64_t{2} * config.intermediate_size_of(layer);
        case Dim::head: return head_dim;
        case Dim::query: return heads * head_dim;
        case Dim::kv: return kv_heads * head_dim;
        case Dim::qkv: return (heads + 2 * kv_heads) * head_dim;
        case Dim::heads: return heads;
        case Dim::experts: return config.num_experts;
        case Dim::expert_ffn: return config.expert_intermediate_size;
        case Dim::two_expert_ffn: return std::int64_t{2} * config.expert_intermediate_size;
        case Dim::shared_ffn: return config.shared_intermediate_size;
        case Dim::q_lora: return config.q_lora_rank;
        case Dim::kv_lora: return config.kv_lora_rank;
        case Dim::kv_lora_rope: return config.kv_lora_rank + rope;
        case Dim::mla_query: return heads * (config.qk_nope_head_dim + rope);
        case Dim::mla_kv: return heads * (config.qk_nope_head_dim + config.v_head_dim);
        case Dim::mla_value: return heads * config.v_head_dim;
        case Dim::per_layer: return config.hidden_size_per_layer_input;
        case Dim::all_layers: return std::int64_t{config.num_hidden_layers} * config.hidden_size_per_layer_input;
        case Dim::one:
        case Dim::none: break;
    }
    return 1;
}

bool wanted(When when, const HfConfig& config, std::int32_t layer) {
    switch (when) {
        case When::always: return true;
        case When::untied_head: return !config.tie_word_embeddings;
        case When::tied_head: return config.tie_word_embeddings;
        case When::attention_bias: return config.attention_bias;
        case When::qkv_bias: return config.qkv_bias;
        case When::mlp_bias: return config.mlp_bias;
        case When::dense_layer: return layer < config.num_dense_layers;
        case When::expert_layer: return layer >= config.num_dense_layers;
        case When::q_lora: return config.q_lora_rank > 0;
        case When::no_q_lora: return config.q_lora_rank == 0;
        case When::own_kv: return !config.shares_kv(layer);
        case When::own_v: return !config.shares_kv(layer) && (!config.keys_are_values || config.has_window(layer));
        case When::per_layer_input: return config.hidden_size_per_layer_input > 0;
    }
    return true;
}

const char* why_wanted(When when) {
    switch (when) {
        case When::untied_head: return " (tie_word_embeddings is false)";
        case When::attention_bias: return " (attention_bias is true)";
        case When::mlp_bias: return " (mlp_bias is true)";
        default: return "";
    }
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string text = "[";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return text + "]";
}

std::string filled(std::string name, const char* mark, std::int32_t number) {
    if (const auto at = name.find(mark); at != std::string::npos) name.replace(at, std::string_view(mark).size(), std::to_string(number));
    return name;
}

bool of_a_layer(const TensorRule& rule) { return std::string_view(rule.hf_name).find("{}") != std::string_view::npos; }
bool of_experts(const TensorRule& rule) { return std::string_view(rule.hf_name).find("{e}") != std::string_view::npos; }

/// llama.cpp adds biases in float32, and routers decide by small differences.
bool stays_float32(std::string_view name) { return name.ends_with(".bias") || name.ends_with(".ffn_gate_inp.weight"); }

class Planner {
   public:
    Planner(const Family& family, const HfConfig& config, const Checkpoint& checkpoint)
        : family_(family), config_(config), checkpoint_(checkpoint) {}

    ModelPlan run() {
        plan_.llama_architecture = family_.llama_architecture;
        limit_context();
        untie_different_heads();
        for (const auto& table : family_.hyperparameters) {
            for (const HyperRule& rule : table) plan_number(rule);
        }
        if (config_.sliding_window > 0) {
            set("attention.sliding_window", static_cast<std::uint32_t>(config_.sliding_window));
            set("attention.sliding_window_pattern", config_.window_layers);
        }
        plan_rope();
        plan_tables(false, 0);
        for (std::int32_t layer = 0; layer < config_.num_hidden_layers; ++layer) plan_tables(true, layer);
        warn_about_unused();
        plan_.context_length = config_.max_position_embeddings;
        return std::move(plan_);
    }

   private:
    void set(const std::string& key, MetadataValue value) {
        plan_.metadata.emplace_back(plan_.llama_architecture + "." + key, std::move(value));
    }

    /// Ends the context where llama.cpp's graph would begin to compute something else than transformers.
    void limit_context() {
        auto limit = [&](std::int32_t positions, const std::string& what) {
            if (positions >= config_.max_position_embeddings) return;
            plan_.warnings.push_back(what + ", so the context is limited to " + std::to_string(positions) + " of " +
                                     std::to_string(config_.max_position_embeddings) + " positions.");
            config_.max_position_embeddings = positions;
        };
        if (config_.rope.type == RopeType::longrope) {
            limit(config_.rope.original_max_position_embeddings, "Only the short factors of longrope are used");
        }
    }

    /// A head that is stored, and is not the embedding, counts whatever config.json says; so it does in transformers.
    void untie_different_heads() {
        if (!config_.tie_word_embeddings) return;
        const SafeTensor* head = checkpoint_.find(stored_name("lm_head.weight"));
        const SafeTensor* embedding = checkpoint_.find(stored_name("model.embed_tokens.weight"));
        if (head == nullptr || embedding == nullptr) return;
        if (head->dtype_text == embedding->dtype_text && std::ranges::equal(head->data, embedding->data)) return;
        config_.tie_word_embeddings = false;
        plan_.warnings.push_back(
            "config.json ties the output matrix to the embedding, but the checkpoint holds both and they differ: they are not tied.");
    }

    void plan_number(const HyperRule& rule) {
        std::visit(Overloaded{
                       [&](std::int32_t HfConfig::*number) { set(rule.key, static_cast<std::uint32_t>(config_.*number)); },
                       [&](double HfConfig::*number) { set(rule.key, static_cast<float>(config_.*number)); },
                       [&](bool HfConfig::*flag) { set(rule.key, config_.*flag); },
                       [&](std::vector<bool> HfConfig::*flags) { set(rule.key, config_.*flags); },
                       [&](std::int32_t (*number)(const HfConfig&)) { set(rule.key, static_cast<std::uint32_t>(number(config_))); },
                       [&](std::vector<std::uint32_t> (*numbers)(const HfConfig&)) { set(rule.key, numbers(config_)); },
                       [&](double (*number)(const HfConfig&)) { set(rule.key, static_cast<float>(number(config_))); },
                   },
                   rule.value);
    }

    void plan_rope() {
        const RopeConfig& rope = config_.rope;
        set("rope.freq_base", static_cast<float>(rope.theta));
        if (rope.type == RopeType::linear) {
            set("rope.scaling.type", "linear");
            set("rope.scaling.factor", static_cast<float>(rope.factor));
        }
        if (family_.rope_scaling == RopeScaling::yarn_by_name) {
            if (rope.type != RopeType::yarn) return;
            set("rope.scaling.type", "yarn");
            set("rope.scaling.factor", static_cast<float>(rope.factor));
            set("rope.scaling.original_context_length", static_cast<std::uint32_t>(rope.original_max_position_embeddings));
            set("rope.scaling.yarn_log_multiplier", static_cast<float>(0.1 * rope.mscale_all_dim));
            return;
        }
        const std::vector<float> factors = rope_frequency_factors(
            rope, config_.global_head_dim != 0 && rope.type == RopeType::proportional ? config_.global_head_dim : config_.rotary_dim);
        if (factors.empty()) return;
        if (rope.attention_factor != 1) set("rope.scaling.attn_factor", static_cast<float>(rope.attention_factor));
        const bool two = family_.rope_scaling == RopeScaling::long_short;
        for (const char* name : {two ? "rope_factors_short.weight" : "rope_freqs.weight", two ? "rope_factors_long.weight" : ""}) {
            if (*name == '\0') continue;
            PlannedTensor tensor{.name = name, .values = factors};
            tensor.shape = {static_cast<std::int64_t>(factors.size())};
            plan_.tensors.push_back(std::move(tensor));
        }
    }

    void plan_tables(bool layers, std::int32_t layer) {
        for (const auto& table : family_.tensors) {
            for (const TensorRule& rule : table) {
                if (of_a_layer(rule) == layers) plan_tensor(rule, layer);
            }
        }
    }

    /// The name in this checkpoint: the text part of a larger model has a prefix of its own.
    std::string stored_name(const std::string& name) const {
        constexpr std::string_view kModel = "model.";
        for (const char* prefix : family_.model_prefixes) {
            const bool inner = name.starts_with(kModel);
            std::string other = inner ? prefix + name.substr(kModel.size()) : name;
            // beside "language_model.model." the head is "language_model.lm_head."
            if (!inner && std::string_view(prefix).ends_with(kModel)) {
                other = std::string(prefix, std::string_view(prefix).size() - kModel.size()) + name;
            }
            if (checkpoint_.find(other) != nullptr) return other;
        }
        return name;
    }

    const SafeTensor* find_source(const TensorRule& rule, const std::string& name, const std::vector<std::int64_t>& shape) {
        const SafeTensor* source = checkpoint_.find(name);
        if (source == nullptr) {
            throw LoadError(LoadError::Kind::invalid, "The checkpoint lacks the tensor " + name + why_wanted(rule.when) + ".");
        }
        if (source->shape != shape) {
            throw LoadError(LoadError::Kind::invalid, "The tensor " + name + " has the shape " + shape_text(source->shape) +
                                                          ", but config.json asks for " + shape_text(shape) + ".");
        }
        if (source->dtype == DType::other) {
            throw LoadError(LoadError::Kind::unsupported, "The tensor " + name + " is stored as " + source->dtype_text +
                                                              ", which is not supported; BF16, F16 and F32 are.");
        }
        if (used_.insert(name).second) plan_.num_parameters += static_cast<std::uint64_t>(source->elements());
        return source;
    }

    /// One of the two tensors of MXFP4 weights; `shape` is that of the bytes.
    const SafeTensor* find_bytes(const std::string& name, const std::vector<std::int64_t>& shape, std::int64_t elements_a_byte) {
        const SafeTensor* source = checkpoint_.find(name);
        if (source == nullptr) throw LoadError(LoadError::Kind::invalid, "The checkpoint lacks the tensor " + name + ".");
        if (source->shape != shape || source->dtype_text != "U8") {
            throw LoadError(LoadError::Kind::invalid, "The tensor " + name + " is " + source->dtype_text + " " + shape_text(source->shape) +
                                                          ", but config.json asks for U8 " + shape_text(shape) + ".");
        }
        if (used_.insert(name).second) plan_.num_parameters += static_cast<std::uint64_t>(source->elements() * elements_a_byte);
        return source;
    }

    /// `shape` is that of the values.
    void find_mxfp4(PlannedTensor& tensor, const std::string& name, std::vector<std::int64_t> shape) {
        if (shape.back() % 32 != 0) {
            throw LoadError(LoadError::Kind::invalid, "The rows of " + name + " are not whole blocks of 32 values, which MXFP4 asks for.");
        }
        shape.back() /= 32;
        tensor.scales = find_bytes(name + "_scales", shape, 0);
        shape.push_back(16);
        tensor.sources.push_back(find_bytes(name + "_blocks", shape, 2));
    }

    void plan_tensor(const TensorRule& rule, std::int32_t layer) {
        const std::string name = stored_name(filled(rule.hf_name, "{}", layer));
        if (!wanted(rule.when, config_, layer)) {
            // a tied checkpoint may well carry the head it shares
            if (rule.when == When::untied_head) used_.insert(name);
            return;
        }
        std::vector<std::int64_t> stored;
        for (Dim dim : rule.shape) {
            if (dim != Dim::none) stored.push_back(dimension(dim, config_, layer));
        }
        PlannedTensor tensor{.name = filled(rule.gguf_name, "{}", layer)};
        auto [shape, view] = view_of(rule.op, stored, config_);
        tensor.shape = std::move(shape), tensor.view = view;
        if (of_experts(rule)) {
            for (std::int32_t expert = 0; expert < config_.num_experts; ++expert) {
                tensor.sources.push_back(find_source(rule, filled(name, "{e}", expert), stored));
                if (tensor.sources.back()->dtype != tensor.sources.front()->dtype) {
                    throw LoadError(LoadError::Kind::unsupported, "The experts of " + tensor.name + " are stored in different types.");
                }
            }
            tensor.shape.insert(tensor.shape.begin(), config_.num_experts);
        } else if (rule.mxfp4) {
            find_mxfp4(tensor, name, stored);
        } else {
            tensor.sources.push_back(find_source(rule, name, stored));
        }
        if (rule.op == Op::interleave_query) tensor.interleaved_heads = config_.num_attention_heads;
        if (rule.op == Op::interleave_kv) tensor.interleaved_heads = config_.num_key_value_heads;
        if (rule.op == Op::add_one) tensor.add = 1;
        tensor.whole = (rule.op == Op::as_stored || rule.op == Op::squeeze) && !of_experts(rule) && !rule.mxfp4;
        tensor.float32 = stays_float32(tensor.name);
        plan_.tensors.push_back(std::move(tensor));
    }

    bool aside(const std::string& name) const {
        return std::any_of(family_.ignored_prefixes.begin(), family_.ignored_prefixes.end(),
                           [&](const char* prefix) { return name.starts_with(prefix); });
    }

    void warn_about_unused() {
        std::size_t count = 0;
        std::string example;
        for (const auto& [name, tensor] : checkpoint_.tensors()) {
            // buffers that older transformers saved, recomputed by everybody
            if (used_.count(name) != 0 || name.ends_with("rotary_emb.inv_freq") || aside(name)) continue;
            if (count++ == 0) example = name;
        }
        if (count == 0) return;
        plan_.warnings.push_back(std::to_string(count) + (count == 1 ? " tensor" : " tensors") +
                                 " of the checkpoint are not used by this architecture, for instance " + in_quotes(example) + ".");
    }

    const Family& family_;
    HfConfig config_;
    const Checkpoint& checkpoint_;
    ModelPlan plan_;
    std::set<std::string> used_;
};

}  // namespace

ModelPlan plan_model(const Family& family, const HfConfig& config, const Checkpoint& checkpoint) {
    return Planner(family, config, checkpoint).run();
}

}  // namespace tfserve
