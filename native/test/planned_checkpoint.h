// Small checkpoints of zeros and what the families' tables make of them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "loader/load_error.h"
#include "loader/registry.h"
#include "loader/tensor_plan.h"
#include "nlohmann/json.hpp"

namespace tfserve::testing {

using Json = nlohmann::json;
using Shapes = std::map<std::string, std::vector<std::int64_t>>;

inline Json config_json(const std::string& architecture) {
    return {{"architectures", {architecture}},
            {"hidden_size", 48},
            {"intermediate_size", 80},
            {"num_hidden_layers", 2},
            {"num_attention_heads", 6},
            {"num_key_value_heads", 2},
            {"head_dim", 8},
            {"vocab_size", 40},
            {"max_position_embeddings", 256},
            {"rms_norm_eps", 1e-6},
            {"tie_word_embeddings", true}};
}

inline HfConfig parse(const Json& json) { return parse_hf_config(json.dump(), family_defaults(hf_architecture(json.dump()))); }

/// All that the three families may have, for head_dim 8, 6 heads and 2 of k and v.
inline Shapes decoder_shapes(bool qkv_bias, bool other_bias, bool head_norms, bool head) {
    Shapes shapes = {{"model.embed_tokens.weight", {40, 48}}, {"model.norm.weight", {48}}};
    if (head) shapes["lm_head.weight"] = {40, 48};
    for (int layer = 0; layer < 2; ++layer) {
        const std::string at = "model.layers." + std::to_string(layer) + ".";
        shapes[at + "input_layernorm.weight"] = shapes[at + "post_attention_layernorm.weight"] = {48};
        shapes[at + "self_attn.q_proj.weight"] = {48, 48};
        shapes[at + "self_attn.k_proj.weight"] = shapes[at + "self_attn.v_proj.weight"] = {16, 48};
        shapes[at + "self_attn.o_proj.weight"] = {48, 48};
        shapes[at + "mlp.gate_proj.weight"] = shapes[at + "mlp.up_proj.weight"] = {80, 48};
        shapes[at + "mlp.down_proj.weight"] = {48, 80};
        if (qkv_bias) shapes[at + "self_attn.q_proj.bias"] = {48};
        if (qkv_bias) shapes[at + "self_attn.k_proj.bias"] = shapes[at + "self_attn.v_proj.bias"] = {16};
        if (other_bias) shapes[at + "self_attn.o_proj.bias"] = shapes[at + "mlp.down_proj.bias"] = {48};
        if (other_bias) shapes[at + "mlp.gate_proj.bias"] = shapes[at + "mlp.up_proj.bias"] = {80};
        if (head_norms) shapes[at + "self_attn.q_norm.weight"] = shapes[at + "self_attn.k_norm.weight"] = {8};
    }
    return shapes;
}

struct Planned {
    TemporaryDirectory directory;
    Checkpoint checkpoint;
    ModelPlan plan;

    Planned(const Json& json, const Shapes& shapes, const std::string& dtype = "BF16", std::size_t bytes = 2)
        : checkpoint((directory.write("model.safetensors", zero_safetensors(shapes, dtype, bytes)), Checkpoint::open(directory.path()))) {
        const HfConfig config = parse(json);
        plan = plan_model(select_family(config), config, checkpoint);
    }

    const PlannedTensor* find(const std::string& name) const {
        for (const PlannedTensor& tensor : plan.tensors) {
            if (tensor.name == name) return &tensor;
        }
        return nullptr;
    }
    const MetadataValue* value(const std::string& key) const {
        for (const auto& [name, value] : plan.metadata) {
            if (name == key) return &value;
        }
        return nullptr;
    }
};

inline std::string refusal(const Json& json, const Shapes& shapes, const std::string& dtype = "BF16", std::size_t bytes = 2) {
    try {
        const Planned planned(json, shapes, dtype, bytes);
        return "";
    } catch (const LoadError& error) {
        return error.what();
    }
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace tfserve::testing
