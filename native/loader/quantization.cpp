#include "loader/quantization.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace tfserve {

namespace {

using enum BlockType;

constexpr QuantizationScheme kSchemes[] = {
    // name      most    output  value   down    attention_output feed_forward
    {"q8_0", q8_0, q8_0, q8_0, q8_0, q8_0, q8_0, BetterLayers::all},
    {"q6_k", q6_k, q6_k, q6_k, q6_k, q6_k, q6_k, BetterLayers::all},
    {"q5_k_m", q5_k, q6_k, q6_k, q6_k, q5_k, q5_k, BetterLayers::some},
    {"q5_k_s", q5_k, q6_k, q5_k, q5_k, q5_k, q5_k, BetterLayers::all},
    {"q5_1", q5_1, q6_k, q5_1, q5_1, q5_1, q5_1, BetterLayers::all},
    {"q5_0", q5_0, q6_k, q5_0, q5_0, q5_0, q5_0, BetterLayers::all},
    {"q4_k_m", q4_k, q6_k, q6_k, q6_k, q4_k, q4_k, BetterLayers::some},
    {"q4_k_s", q4_k, q6_k, q5_k, q5_k, q4_k, q4_k, BetterLayers::first},
    {"q4_1", q4_1, q6_k, q4_1, q4_1, q4_1, q4_1, BetterLayers::all},
    {"q4_0", q4_0, q6_k, q4_0, q4_0, q4_0, q4_0, BetterLayers::all},
    {"iq4_nl", iq4_nl, q6_k, q5_k, q5_k, iq4_nl, iq4_nl, BetterLayers::first},
    {"iq4_xs", iq4_xs, q6_k, q5_k, q5_k, iq4_xs, iq4_xs, BetterLayers::first},
    {"q3_k_l", q3_k, q6_k, q5_k, q5_k, q5_k, q3_k, BetterLayers::all},
    {"q3_k_m", q3_k, q6_k, q4_k, q4_k, q4_k, q3_k, BetterLayers::all},
    {"q3_k_s", q3_k, q6_k, q3_k, q3_k, q3_k, q3_k, BetterLayers::all},
    {"q2_k", q2_k, q6_k, q4_k, q3_k, q3_k, q2_k, BetterLayers::all},
    // the four-bit format of gpt-oss: made for feed-forward parts and experts; the rest is small beside them
    {"mxfp4", q8_0, q8_0, q8_0, mxfp4, q8_0, mxfp4, BetterLayers::all},
};

enum class Role : std::uint8_t { kept, embedding, output, value, down, attention_output, feed_forward, other };

/// Tensors of a layer that are multiplied with what flows through the model. What is not here is small or decides by small differences.
constexpr std::pair<std::string_view, Role> kLayerRoles[] = {
    {"attn_q", Role::other},
    {"attn_k", Role::other},
    {"attn_v", Role::value},
    {"attn_qkv", Role::value},
    {"attn_gate", Role::other},
    {"attn_output", Role::attention_output},
    // multi-head latent attention
    {"attn_q_a", Role::other},
    {"attn_q_b", Role::other},
    {"attn_kv_a_mqa", Role::other},
    {"attn_kv_b", Role::value},
    {"attn_k_b", Role::other},
    {"attn_v_b", Role::value},
    {"ffn_gate", Role::feed_forward},
    {"ffn_up", Role::feed_forward},
    {"ffn_down", Role::down},
    {"ffn_gate_exps", Role::feed_forward},
    {"ffn_up_exps", Role::feed_forward},
    {"ffn_gate_up_exps", Role::feed_forward},
    {"ffn_down_exps", Role::down},
    {"ffn_gate_shexp", Role::feed_forward},
    {"ffn_up_shexp", Role::feed_forward},
    {"ffn_down_shexp", Role::down},
    // the embedding of the token that every layer of Gemma 4 gets
    {"inp_gate", Role::other},
    {"proj", Role::other},
    // recurrent layers
    {"ssm_in", Role::other},
    {"ssm_out", Role::other},
};

struct Place {
    Role role = Role::kept;
    std::int32_t layer = 0;
};

Place place_of(std::string_view name, bool tied) {
    constexpr std::string_view kWeight = ".weight", kLayer = "blk.";
    if (!name.ends_with(kWeight)) return {};
    name.remove_suffix(kWeight.size());
    if (name == "token_embd") return {tied ? Role::output : Role::embedding};
    if (name == "per_layer_token_embd") return {Role::embedding};
    if (name == "output") return {Role::output};
    if (!name.starts_with(kLayer)) return {};
    name.remove_prefix(kLayer.size());
    Place place;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), place.layer);
    if (error != std::errc{} || end == name.data() + name.size() || *end != '.') return {};
    name.remove_prefix(static_cast<std::size_t>(end - name.data()) + 1);
    for (const auto& [part, role] : kLayerRoles) {
        if (name == part) place.role = role;
    }
    return place;
}

bool is_better(BetterLayers better, std::int32_t layer, std::int32_t layers) {
    const std::int32_t eighth = std::max(layers / 8, 1);
    switch (better) {
        case BetterLayers::all: return true;
        case BetterLayers::some: return layer < eighth || layer >= layers - eighth || (layer - eighth) % 3 == 2;
        case BetterLayers::first: return layer < eighth;
    }
    return false;
}

BlockType wanted_type(const QuantizationScheme& scheme, const Place& place, std::int32_t layers) {
    const bool better = is_better(scheme.better, place.layer, layers);
    switch (place.role) {
        case Role::kept: return none;
        case Role::output: return scheme.output;
        case Role::value: return better ? scheme.value : scheme.most;
        case Role::down: return better ? scheme.down : scheme.feed_forward;
        case Role::attention_output: return scheme.attention_output;
        case Role::feed_forward: return scheme.feed_forward;
        case Role::embedding:
        case Role::other: break;
    }
    return scheme.most;
}

/// The type of short blocks that is nearest to one of long blocks, and no coarser.
BlockType short_blocks(BlockType type) {
    switch (type) {
        case q2_k:
        case q3_k:
        case iq4_xs: return iq4_nl;
        case q4_k: return q5_0;
        case q5_k: return q5_1;
        case q6_k: return q8_0;
        default: return type;
    }
}

}  // namespace

std::int64_t block_width(BlockType type) {
    if (type == none) return 1;
    return short_blocks(type) == type ? 32 : 256;
}

std::span<const QuantizationScheme> quantization_schemes() { return kSchemes; }

const QuantizationScheme* find_quantization(std::string_view name) {
    const auto found = std::find_if(std::begin(kSchemes), std::end(kSchemes), [&](const auto& scheme) { return scheme.name == name; });
    return found == std::end(kSchemes) ? nullptr : found;
}

std::string quantization_names() {
    std::string names;
    for (const QuantizationScheme& scheme : kSchemes) {
        names += (names.empty() ? "" : &scheme == std::end(kSchemes) - 1 ? " and " : ", ") + std::string(scheme.name);
    }
    return names;
}

BlockType quantized_type(const QuantizationScheme& scheme, std::string_view name, std::int64_t width, std::int32_t layers, bool tied,
                         bool* fallback) {
    const BlockType wanted = wanted_type(scheme, place_of(name, tied), layers);
    BlockType type = wanted;
    if (width % block_width(type) != 0) type = short_blocks(type);
    if (width % block_width(type) != 0) type = none;
    if (fallback != nullptr) *fallback = type != wanted;
    return type;
}

}  // namespace tfserve
