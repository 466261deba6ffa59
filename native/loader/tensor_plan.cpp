#include "loader/tensor_plan.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>
#include <string_view>

#include "loader/load_error.h"

namespace tfserve {

namespace {

std::int64_t dimension(Dim dim, const HfConfig& config) {
    switch (dim) {
        case Dim::vocab: return config.vocab_size;
        case Dim::hidden: return config.hidden_size;
        case Dim::ffn: return config.intermediate_size;
        case Dim::query: return std::int64_t{config.num_attention_heads} * config.head_dim;
        case Dim::kv: return std::int64_t{config.num_key_value_heads} * config.head_dim;
        case Dim::head: return config.head_dim;
        case Dim::none: break;
    }
    return 1;
}

bool wanted(When when, const HfConfig& config) {
    switch (when) {
        case When::always: return true;
        case When::untied_head: return !config.tie_word_embeddings;
        case When::attention_bias: return config.attention_bias;
        case When::mlp_bias: return config.mlp_bias;
    }
    return true;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string text = "[";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return text + "]";
}

std::string with_layer(const char* pattern, std::int32_t layer) {
    std::string name = pattern;
    if (const auto at = name.find("{}"); at != std::string::npos) name.replace(at, 2, std::to_string(layer));
    return name;
}

class Planner {
   public:
    Planner(const Family& family, const HfConfig& config, const Checkpoint& checkpoint)
        : family_(family), config_(config), checkpoint_(checkpoint) {}

    ModelPlan run() {
        plan_.llama_architecture = family_.llama_architecture;
        plan_metadata();
        plan_rope();
        for (const TensorRule& rule : family_.tensors) {
            if (std::string_view(rule.hf_name).find("{}") == std::string_view::npos) plan_tensor(rule, 0);
        }
        for (std::int32_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
            for (const TensorRule& rule : family_.tensors) {
                if (std::string_view(rule.hf_name).find("{}") != std::string_view::npos) plan_tensor(rule, layer);
            }
        }
        warn_about_unused();
        return std::move(plan_);
    }

   private:
    void set(const std::string& key, MetadataValue value) {
        plan_.metadata.emplace_back(plan_.llama_architecture + "." + key, std::move(value));
    }

    void plan_metadata() {
        for (const HyperRule& rule : family_.hyperparameters) {
            if (const auto* number = std::get_if<std::int32_t HfConfig::*>(&rule.value)) {
                set(rule.key, static_cast<std::uint32_t>(config_.*(*number)));
            } else {
                set(rule.key, static_cast<float>(config_.*std::get<double HfConfig::*>(rule.value)));
            }
        }
    }

    void plan_rope() {
        const RopeConfig& rope = config_.rope;
        set("rope.freq_base", static_cast<float>(rope.theta));
        if (rope.type == RopeType::linear) {
            set("rope.scaling.type", "linear");
            set("rope.scaling.factor", static_cast<float>(rope.factor));
        }
        if (rope.type == RopeType::yarn) set("rope.scaling.attn_factor", static_cast<float>(rope.attention_factor));
        PlannedTensor factors{.name = "rope_freqs.weight", .values = rope_frequency_factors(rope, config_.head_dim)};
        if (factors.values.empty()) return;
        factors.shape = {static_cast<std::int64_t>(factors.values.size())};
        plan_.tensors.push_back(std::move(factors));
    }

    void plan_tensor(const TensorRule& rule, std::int32_t layer) {
        const std::string name = with_layer(rule.hf_name, layer);
        if (!wanted(rule.when, config_)) {
            // a tied checkpoint may well carry the head it shares
            if (rule.when == When::untied_head) used_.insert(name);
            return;
        }
        const SafeTensor* source = checkpoint_.find(name);
        if (source == nullptr) {
            const char* why = rule.when == When::untied_head      ? " (tie_word_embeddings is false)"
                              : rule.when == When::attention_bias ? " (attention_bias is true)"
                              : rule.when == When::mlp_bias       ? " (mlp_bias is true)"
                                                                  : "";
            throw LoadError(LoadError::Kind::invalid, "The checkpoint lacks the tensor " + name + why + ".");
        }
        PlannedTensor tensor{.name = with_layer(rule.gguf_name, layer), .source = source};
        for (Dim dim : rule.shape) {
            if (dim != Dim::none) tensor.shape.push_back(dimension(dim, config_));
        }
        if (source->shape != tensor.shape) {
            throw LoadError(LoadError::Kind::invalid, "The tensor " + name + " has the shape " + shape_text(source->shape) +
                                                          ", but config.json asks for " + shape_text(tensor.shape) + ".");
        }
        if (source->dtype == DType::other) {
            throw LoadError(LoadError::Kind::unsupported, "The tensor " + name + " is stored as " + source->dtype_text +
                                                              ", which is not supported; BF16, F16 and F32 are.");
        }
        if (rule.layout == Layout::interleave_query) tensor.interleaved_heads = config_.num_attention_heads;
        if (rule.layout == Layout::interleave_kv) tensor.interleaved_heads = config_.num_key_value_heads;
        used_.insert(name);
        plan_.num_parameters += static_cast<std::uint64_t>(source->elements());
        plan_.tensors.push_back(std::move(tensor));
    }

    void warn_about_unused() {
        std::size_t count = 0;
        std::string example;
        for (const auto& [name, tensor] : checkpoint_.tensors()) {
            // buffers that older transformers saved, recomputed by everybody
            if (used_.count(name) != 0 || name.ends_with("rotary_emb.inv_freq")) continue;
            if (count++ == 0) example = name;
        }
        if (count == 0) return;
        plan_.warnings.push_back(std::to_string(count) + (count == 1 ? " tensor" : " tensors") +
                                 " of the checkpoint are not used by this architecture, for instance " + in_quotes(example) + ".");
    }

    const Family& family_;
    const HfConfig& config_;
    const Checkpoint& checkpoint_;
    ModelPlan plan_;
    std::set<std::string> used_;
};

/// Wavelengths long against the original context are divided by `factor`, short ones stay, those between are blended.
double llama3_divisor(const RopeConfig& rope, double frequency) {
    const double wavelength = 2 * std::numbers::pi / frequency, context = rope.original_max_position_embeddings;
    if (wavelength < context / rope.high_freq_factor) return 1;
    if (wavelength > context / rope.low_freq_factor) return rope.factor;
    const double smooth = (context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
    return 1 / ((1 - smooth) / rope.factor + smooth);
}

}  // namespace

ModelPlan plan_model(const Family& family, const HfConfig& config, const Checkpoint& checkpoint) {
    return Planner(family, config, checkpoint).run();
}

std::vector<float> rope_frequency_factors(const RopeConfig& rope, std::int32_t head_dim) {
    if (rope.type != RopeType::llama3 && rope.type != RopeType::yarn) return {};
    // yarn: the pair that turns `rotations` times within the original context
    auto pair_of = [&](double rotations) {
        return head_dim * std::log(rope.original_max_position_embeddings / (rotations * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
    };
    double low = pair_of(rope.beta_fast), high = pair_of(rope.beta_slow);
    if (rope.truncate) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, head_dim - 1.0);
    if (low == high) high += 0.001;

    std::vector<float> factors;
    for (std::int32_t pair = 0; pair < head_dim / 2; ++pair) {
        double divisor = 0;
        if (rope.type == RopeType::llama3) {
            divisor = llama3_divisor(rope, std::pow(rope.theta, -2.0 * pair / head_dim));
        } else {
            const double interpolated = std::clamp((pair - low) / (high - low), 0.0, 1.0);
            divisor = 1 / (interpolated / rope.factor + (1 - interpolated));
        }
        factors.push_back(static_cast<float>(divisor));
    }
    return factors;
}

std::int64_t interleaved_source_row(std::int64_t row, std::int64_t rows_per_head) {
    const std::int64_t head = row / rows_per_head, within = row % rows_per_head;
    return head * rows_per_head + (within % 2) * (rows_per_head / 2) + within / 2;
}

}  // namespace tfserve
