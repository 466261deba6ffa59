// Tiny whisper checkpoints with random weights, and the computations of the model as plain loops over them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint_files.h"
#include "speech/whisper_config.h"

namespace tfserve::testing {

using speech::WhisperConfig;

struct PlainTensor {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
};
using PlainTensors = std::map<std::string, PlainTensor>;

/// Sizes that are multiples of nothing.
inline WhisperConfig odd_config() {
    WhisperConfig config;
    config.vocab_size = 67;
    config.num_mel_bins = 5;
    config.d_model = 24;
    config.encoder_layers = 2;
    config.encoder_attention_heads = 3;
    config.encoder_ffn_dim = 50;
    config.decoder_layers = 3;
    config.decoder_attention_heads = 2;
    config.decoder_ffn_dim = 37;
    config.max_source_positions = 41;
    config.max_target_positions = 30;
    return config;
}

/// All tensors of such a model by transformers' names; rounded to bfloat16, so that every type but float16 holds them.
inline PlainTensors random_whisper(const WhisperConfig& config, std::uint64_t seed) {
    PlainTensors tensors;
    std::mt19937_64 random(seed);
    const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, float scale, float mean = 0) {
        std::int64_t count = 1;
        for (std::int64_t dim : shape) count *= dim;
        std::normal_distribution<float> normal(mean, scale);
        PlainTensor tensor{std::move(shape), std::vector<float>(static_cast<std::size_t>(count))};
        for (float& value : tensor.values) {
            value = normal(random);
            std::uint32_t bits = 0;
            std::memcpy(&bits, &value, sizeof bits);
            bits &= 0xffff0000U;
            std::memcpy(&value, &bits, sizeof value);
        }
        tensors[name] = std::move(tensor);
    };
    const std::int64_t d = config.d_model;
    const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in, bool biased = true) {
        add(name + ".weight", {out, in}, 1.5f / std::sqrt(static_cast<float>(in)));
        if (biased) add(name + ".bias", {out}, 0.3f);
    };
    const auto norm = [&](const std::string& name) {
        add(name + ".weight", {d}, 0.2f, 1.0f);
        add(name + ".bias", {d}, 0.2f);
    };
    const auto attention = [&](const std::string& name) {
        linear(name + ".q_proj", d, d);
        linear(name + ".k_proj", d, d, false);
        linear(name + ".v_proj", d, d);
        linear(name + ".out_proj", d, d);
    };
    const auto mlp = [&](const std::string& name, std::int64_t width) {
        linear(name + ".fc1", width, d);
        linear(name + ".fc2", d, width);
        norm(name + ".final_layer_norm");
    };
    add("model.encoder.conv1.weight", {d, config.num_mel_bins, 3}, 0.4f);
    add("model.encoder.conv1.bias", {d}, 0.2f);
    add("model.encoder.conv2.weight", {d, d, 3}, 0.15f);
    add("model.encoder.conv2.bias", {d}, 0.2f);
    add("model.encoder.embed_positions.weight", {config.max_source_positions, d}, 0.5f);
    for (std::int32_t i = 0; i < config.encoder_layers; ++i) {
        const std::string at = "model.encoder.layers." + std::to_string(i);
        attention(at + ".self_attn");
        norm(at + ".self_attn_layer_norm");
        mlp(at, config.encoder_ffn_dim);
    }
    norm("model.encoder.layer_norm");
    add("model.decoder.embed_tokens.weight", {config.vocab_size, d}, 0.6f);
    add("model.decoder.embed_positions.weight", {config.max_target_positions, d}, 0.5f);
    for (std::int32_t i = 0; i < config.decoder_layers; ++i) {
        const std::string at = "model.decoder.layers." + std::to_string(i);
        attention(at + ".self_attn");
        norm(at + ".self_attn_layer_norm");
        attention(at + ".encoder_attn");
        norm(at + ".encoder_attn_layer_norm");
        mlp(at, config.decoder_ffn_dim);
    }
    norm("model.decoder.layer_norm");
    if (!config.tie_word_embeddings) linear("proj_out", config.vocab_size, d, false);
    return tensors;
}

inline std::string whisper_config_json(const WhisperConfig& config) {
    const auto entry = [](const char* key, std::int64_t value) { return ",\"" + std::string(key) + "\":" + std::to_string(value); };
    return "{\"model_type\":\"whisper\",\"architectures\":[\"WhisperForConditionalGeneration\"],\"activation_function\":\"gelu\"" +
           entry("vocab_size", config.vocab_size) + entry("num_mel_bins", config.num_mel_bins) + entry("d_model", config.d_model) +
           entry("encoder_layers", config.encoder_layers) + entry("encoder_attention_heads", config.encoder_attention_heads) +
           entry("encoder_ffn_dim", config.encoder_ffn_dim) + entry("decoder_layers", config.decoder_layers) +
           entry("decoder_attention_heads", config.decoder_attention_heads) + entry("decoder_ffn_dim", config.decoder_ffn_dim) +
           entry("max_source_positions", config.max_source_positions) + entry("max_target_positions", config.max_target_positions) +
           ",\"tie_word_embeddings\":" + (config.tie_word_embeddings ? "true" : "false") + "}";
}

/// A safetensors file in F32 or BF16.
inline std::string safetensors_of(const PlainTensors& tensors, bool bf16 = false) {
    std::string header = "{\"__metadata__\":{\"format\":\"pt\"}", data;
    for (const auto& [name, tensor] : tensors) {
        std::string dims;
        for (std::int64_t dim : tensor.shape) dims += (dims.empty() ? "" : ",") + std::to_string(dim);
        const std::size_t begin = data.size();
        for (float value : tensor.values) {
            char bytes[4];
            std::memcpy(bytes, &value, 4);
            data.append(bf16 ? bytes + 2 : bytes, bf16 ? 2 : 4);
        }
        header += ",\"" + name + "\":{\"dtype\":\"" + (bf16 ? "BF16" : "F32") + "\",\"shape\":[" + dims + "],\"data_offsets\":[" +
                  std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
    }
    std::string bytes = safetensors_bytes(header + "}", 0);
    return bytes + data;
}

/// The model as transformers computes it, one value after the other in float64.
class PlainWhisper {
   public:
    using Matrix = std::vector<std::vector<double>>;  // rows

    PlainWhisper(const WhisperConfig& config, const PlainTensors& tensors) : config_(config), tensors_(tensors) {}

    /// mel: [num_mel_bins][mel_frames] -> [max_source_positions][d_model]
    Matrix encode(const std::vector<float>& mel) const {
        Matrix x(static_cast<std::size_t>(config_.mel_frames()), std::vector<double>(static_cast<std::size_t>(config_.num_mel_bins)));
        for (std::size_t b = 0; b < x[0].size(); ++b) {
            for (std::size_t t = 0; t < x.size(); ++t) x[t][b] = static_cast<double>(mel[b * x.size() + t]);
        }
        x = convolve(x, "model.encoder.conv1", 1);
        x = convolve(x, "model.encoder.conv2", 2);
        const PlainTensor& positions = get("model.encoder.embed_positions.weight");
        for (std::size_t r = 0; r < x.size(); ++r) {
            for (std::size_t i = 0; i < x[r].size(); ++i) x[r][i] += static_cast<double>(positions.values[r * x[r].size() + i]);
        }
        for (std::int32_t l = 0; l < config_.encoder_layers; ++l) {
            const std::string at = "model.encoder.layers." + std::to_string(l);
            const Matrix h = norm(x, at + ".self_attn_layer_norm");
            add(x, attend(h, h, at + ".self_attn", config_.encoder_attention_heads, false, nullptr));
            add(x, mlp(norm(x, at + ".final_layer_norm"), at));
        }
        return norm(x, "model.encoder.layer_norm");
    }

    /// Logits after each token. `weights` (may be null) gets the cross-attention of (layer, head): [tokens][positions].
    Matrix decode(const std::vector<std::int32_t>& tokens, const Matrix& sound,
                  std::map<std::pair<std::int32_t, std::int32_t>, Matrix>* weights = nullptr) const {
        const auto d = static_cast<std::size_t>(config_.d_model);
        const PlainTensor &embedding = get("model.decoder.embed_tokens.weight"), &positions = get("model.decoder.embed_positions.weight");
        Matrix x(tokens.size(), std::vector<double>(d));
        for (std::size_t r = 0; r < x.size(); ++r) {
            for (std::size_t i = 0; i < d; ++i) {
                x[r][i] = static_cast<double>(embedding.values[static_cast<std::size_t>(tokens[r]) * d + i]) +
                          static_cast<double>(positions.values[r * d + i]);
            }
        }
        for (std::int32_t l = 0; l < config_.decoder_layers; ++l) {
            const std::string at = "model.decoder.layers." + std::to_string(l);
            const Matrix h = norm(x, at + ".self_attn_layer_norm");
            add(x, attend(h, h, at + ".self_attn", config_.decoder_attention_heads, true, nullptr));
            std::vector<Matrix> heads;
            add(x, attend(norm(x, at + ".encoder_attn_layer_norm"), sound, at + ".encoder_attn", config_.decoder_attention_heads, false,
                          &heads));
            if (weights != nullptr) {
                for (std::size_t head = 0; head < heads.size(); ++head) (*weights)[{l, static_cast<std::int32_t>(head)}] = heads[head];
            }
            add(x, mlp(norm(x, at + ".final_layer_norm"), at));
        }
        return linear(norm(x, "model.decoder.layer_norm"), config_.tie_word_embeddings ? "model.decoder.embed_tokens" : "proj_out");
    }

   private:
    const PlainTensor& get(const std::string& name) const { return tensors_.at(name); }

    static void add(Matrix& to, const Matrix& what) {
        for (std::size_t r = 0; r < to.size(); ++r) {
            for (std::size_t i = 0; i < to[r].size(); ++i) to[r][i] += what[r][i];
        }
    }
    static double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }

    Matrix linear(const Matrix& x, const std::string& name) const {
        const PlainTensor& weight = get(name + ".weight");
        const auto bias = tensors_.find(name + ".bias");
        const auto outputs = static_cast<std::size_t>(weight.shape[0]), inputs = static_cast<std::size_t>(weight.shape[1]);
        Matrix y(x.size(), std::vector<double>(outputs));
        for (std::size_t r = 0; r < x.size(); ++r) {
            for (std::size_t o = 0; o < outputs; ++o) {
                y[r][o] = bias == tensors_.end() ? 0 : static_cast<double>(bias->second.values[o]);
                for (std::size_t i = 0; i < inputs; ++i) y[r][o] += static_cast<double>(weight.values[o * inputs + i]) * x[r][i];
            }
        }
        return y;
    }

    Matrix convolve(const Matrix& x, const std::string& name, std::size_t stride) const {
        const PlainTensor &weight = get(name + ".weight"), &bias = get(name + ".bias");
        const auto outputs = static_cast<std::size_t>(weight.shape[0]), inputs = static_cast<std::size_t>(weight.shape[1]);
        Matrix y(x.size() / stride, std::vector<double>(outputs));
        for (std::size_t r = 0; r < y.size(); ++r) {
            for (std::size_t o = 0; o < outputs; ++o) {
                double sum = static_cast<double>(bias.values[o]);
                for (std::size_t tap = 0; tap < 3; ++tap) {
                    const std::size_t at = r * stride + tap;  // one ahead
                    if (at == 0 || at > x.size()) continue;
                    for (std::size_t i = 0; i < inputs; ++i)
                        sum += static_cast<double>(weight.values[(o * inputs + i) * 3 + tap]) * x[at - 1][i];
                }
                y[r][o] = gelu(sum);
            }
        }
        return y;
    }

    Matrix norm(const Matrix& x, const std::string& name) const {
        const PlainTensor &weight = get(name + ".weight"), &bias = get(name + ".bias");
        Matrix y = x;
        for (auto& row : y) {
            double mean = 0, variance = 0;
            for (double value : row) mean += value / static_cast<double>(row.size());
            for (double value : row) variance += (value - mean) * (value - mean) / static_cast<double>(row.size());
            for (std::size_t i = 0; i < row.size(); ++i) {
                row[i] = (row[i] - mean) / std::sqrt(variance + 1e-5) * static_cast<double>(weight.values[i]) +
                         static_cast<double>(bias.values[i]);
            }
        }
        return y;
    }

    Matrix mlp(const Matrix& x, const std::string& at) const {
        Matrix h = linear(x, at + ".fc1");
        for (auto& row : h) {
            for (double& value : row) value = gelu(value);
        }
        return linear(h, at + ".fc2");
    }

    Matrix attend(const Matrix& x, const Matrix& to, const std::string& name, std::int32_t heads, bool causal,
                  std::vector<Matrix>* weights) const {
        const Matrix q = linear(x, name + ".q_proj"), k = linear(to, name + ".k_proj"), v = linear(to, name + ".v_proj");
        const std::size_t dim = q[0].size() / static_cast<std::size_t>(heads);
        Matrix out(x.size(), std::vector<double>(q[0].size(), 0.0));
        for (std::size_t head = 0; head < static_cast<std::size_t>(heads); ++head) {
            Matrix all;
            for (std::size_t r = 0; r < x.size(); ++r) {
                const std::size_t seen = causal ? r + 1 : to.size();
                std::vector<double> p(seen);
                double largest = -std::numeric_limits<double>::infinity(), sum = 0;
                for (std::size_t c = 0; c < seen; ++c) {
                    for (std::size_t i = head * dim; i < (head + 1) * dim; ++i)
                        p[c] += q[r][i] * k[c][i] / std::sqrt(static_cast<double>(dim));
                    largest = std::max(largest, p[c]);
                }
                for (double& value : p) sum += value = std::exp(value - largest);
                for (std::size_t c = 0; c < seen; ++c) {
                    p[c] /= sum;
                    for (std::size_t i = head * dim; i < (head + 1) * dim; ++i) out[r][i] += p[c] * v[c][i];
                }
                all.push_back(std::move(p));
            }
            if (weights != nullptr) weights->push_back(std::move(all));
        }
        return linear(out, name + ".out_proj");
    }

    const WhisperConfig config_;
    const PlainTensors& tensors_;
};

}  // namespace tfserve::testing
