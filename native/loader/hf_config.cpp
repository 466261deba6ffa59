#include "loader/hf_config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "loader/json_file.h"
#include "loader/load_error.h"

namespace tfserve {

namespace {

using Json = nlohmann::json;

constexpr const char* kFile = "config.json";
constexpr std::int64_t kMaxWidth = 1 << 20;  // hidden, feed-forward and projection widths
constexpr std::int64_t kMaxVocabulary = 1 << 24;
constexpr std::int64_t kMaxContext = 1 << 28;
constexpr std::int64_t kMaxLayers = 512;  // what llama.cpp's fixed arrays hold
constexpr std::int64_t kMaxHeads = 4096;

[[noreturn]] void invalid(const std::string& what) { throw LoadError(LoadError::Kind::invalid, std::string(kFile) + ": " + what + "."); }
[[noreturn]] void unsupported(const std::string& what) {
    throw LoadError(LoadError::Kind::unsupported, std::string(kFile) + ": " + what + ".");
}

/// Typed access to one object of the file; null counts as absent, unless is_null() is asked.
class Fields {
   public:
    Fields(const Json& object, std::string prefix) : object_(object), prefix_(std::move(prefix)) {
        if (!object.is_object()) invalid((prefix_.empty() ? "the file" : prefix_) + " is not an object");
    }

    const Json* find(const char* key) const {
        const auto it = object_.find(key);
        return it == object_.end() || it->is_null() ? nullptr : &*it;
    }

    bool is_null(const char* key) const {
        const auto it = object_.find(key);
        return it != object_.end() && it->is_null();
    }

    bool has_nested_object() const {
        return std::any_of(object_.begin(), object_.end(), [](const Json& value) { return value.is_object(); });
    }

    std::int32_t integer(const char* key, std::int64_t low, std::int64_t high, std::optional<std::int64_t> fallback = {}) const {
        const Json* value = find(key);
        if (value == nullptr) {
            if (!fallback) invalid(prefix_ + key + " is missing");
            return static_cast<std::int32_t>(*fallback);
        }
        return checked_integer(*value, prefix_ + key, low, high);
    }

    double number(const char* key, double low, double high, std::optional<double> fallback = {}) const {
        const Json* value = find(key);
        if (value == nullptr) {
            if (!fallback) invalid(prefix_ + key + " is missing");
            return *fallback;
        }
        const double x = value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
        if (!(x >= low && x <= high)) invalid(prefix_ + key + " is not a number between " + short_text(low) + " and " + short_text(high));
        return x;
    }

    bool boolean(const char* key, bool fallback) const {
        const Json* value = find(key);
        if (value == nullptr) return fallback;
        if (!value->is_boolean()) invalid(prefix_ + key + " is neither true nor false");
        return value->get<bool>();
    }

    std::string text(const char* key, const std::string& fallback) const {
        const Json* value = find(key);
        if (value == nullptr) return fallback;
        if (!value->is_string()) invalid(prefix_ + key + " is not text");
        return value->get<std::string>();
    }

    static std::int32_t checked_integer(const Json& value, const std::string& name, std::int64_t low, std::int64_t high) {
        // 4096.0 is written by some tools and is a whole number all the same
        const double x = value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
        if (!(x >= static_cast<double>(low) && x <= static_cast<double>(high)) || x != std::floor(x)) {
            invalid(name + " is not a whole number between " + std::to_string(low) + " and " + std::to_string(high));
        }
        return static_cast<std::int32_t>(x);
    }

   private:
    static std::string short_text(double x) {
        std::string out(32, '\0');
        out.resize(static_cast<std::size_t>(std::snprintf(out.data(), out.size(), "%g", x)));
        return out;
    }

    const Json& object_;
    std::string prefix_;
};

std::string architecture_of(const Fields& fields) {
    const Json* list = fields.find("architectures");
    if (list == nullptr) invalid("architectures is missing, so the kind of model is unknown");
    if (!list->is_array() || list->empty() || !list->front().is_string()) invalid("architectures is not a list with a class name");
    return list->front().get<std::string>();
}

double yarn_mscale(double scale, double mscale) { return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0; }

RopeConfig read_rope(const Fields& top, const HfConfig& config, const HfDefaults& defaults) {
    RopeConfig rope;
    const Json* five = top.find("rope_parameters");
    const Json* four = top.find("rope_scaling");
    static const Json kNone = Json::object();
    // an old rope_scaling goes before rope_parameters, as it does in transformers
    const bool old = four != nullptr && !(four->is_object() && four->empty());
    const Fields fields(old ? *four : five != nullptr ? *five : kNone, old ? "rope_scaling." : "rope_parameters.");
    if (fields.has_nested_object()) unsupported("rope parameters that differ from layer to layer are not supported for this architecture");

    const double theta = top.number("rope_theta", 1e-3, 1e12, defaults.rope_theta);
    rope.theta = fields.number("rope_theta", 1e-3, 1e12, theta);
    // a part of the head is rotated only in families that are not here
    const double partial = fields.number("partial_rotary_factor", 0, 1e3, top.number("partial_rotary_factor", 0, 1e3, 1.0));
    if (partial != 1.0) unsupported("partial_rotary_factor other than 1 is not supported for this architecture");

    const std::string type = fields.text("rope_type", fields.text("type", "default"));
    if (type == "default") return rope;
    constexpr double kMaxFactor = 1e6;
    // beside the rope parameters it goes before the one in them
    rope.original_max_position_embeddings =
        top.integer("original_max_position_embeddings", 1, kMaxContext,
                    fields.integer("original_max_position_embeddings", 1, kMaxContext, config.max_position_embeddings));
    if (type == "linear") {
        rope.type = RopeType::linear;
        rope.factor = fields.number("factor", 1e-3, kMaxFactor);
    } else if (type == "dynamic") {
        rope.type = RopeType::dynamic;
        rope.factor = fields.number("factor", 1e-3, kMaxFactor);
    } else if (type == "llama3") {
        rope.type = RopeType::llama3;
        rope.factor = fields.number("factor", 1e-3, kMaxFactor);
        rope.low_freq_factor = fields.number("low_freq_factor", 1e-6, kMaxFactor);
        rope.high_freq_factor = fields.number("high_freq_factor", 1e-6, kMaxFactor);
        if (rope.high_freq_factor <= rope.low_freq_factor) invalid("rope high_freq_factor is not greater than low_freq_factor");
    } else if (type == "yarn") {
        rope.type = RopeType::yarn;
        rope.factor = fields.number("factor", 1e-3, kMaxFactor,
                                    static_cast<double>(config.max_position_embeddings) / rope.original_max_position_embeddings);
        // 0 means unset, as it does in transformers
        if (const double beta = fields.number("beta_fast", 0, kMaxFactor, 0.0); beta > 0) rope.beta_fast = beta;
        if (const double beta = fields.number("beta_slow", 0, kMaxFactor, 0.0); beta > 0) rope.beta_slow = beta;
        rope.truncate = fields.boolean("truncate", true);
        const double mscale = fields.number("mscale", 0, 1e3, 0.0), mscale_all = fields.number("mscale_all_dim", 0, 1e3, 0.0);
        const double by_formula = mscale != 0 && mscale_all != 0 ? yarn_mscale(rope.factor, mscale) / yarn_mscale(rope.factor, mscale_all)
                                                                 : yarn_mscale(rope.factor, 1.0);
        rope.attention_factor = fields.number("attention_factor", 1e-3, 1e3, by_formula);
        if (rope.theta <= 1) invalid("rope_theta must be greater than 1 with yarn");
    } else {
        unsupported("the rope type " + in_quotes(type) + " is not supported; default, linear, dynamic, llama3 and yarn are");
    }
    return rope;
}

bool uses_sliding_window(const Fields& top, const HfConfig& config) {
    // transformers switches all windows off with this one key, and assumes 4096 where none is stated
    const bool stated = top.boolean("use_sliding_window", false) && !top.is_null("sliding_window");
    const std::int32_t window = stated ? top.integer("sliding_window", 0, kMaxContext, 4096) : 0;
    if (const Json* types = top.find("layer_types")) {
        if (!types->is_array() || types->size() != static_cast<std::size_t>(config.num_hidden_layers)) {
            invalid("layer_types is not a list with one entry a layer");
        }
        bool sliding = false;
        for (const Json& type : *types) {
            if (!type.is_string()) invalid("layer_types has an entry that is not text");
            const auto& name = type.get_ref<const std::string&>();
            if (name != "full_attention" && name != "sliding_attention") {
                unsupported("the layer type " + in_quotes(name) + " is not supported for this architecture");
            }
            sliding = sliding || name == "sliding_attention";
        }
        return sliding && (!stated || window < config.max_position_embeddings);
    }
    // layers from max_window_layers on have the window; one as long as the context changes nothing
    return stated && window < config.max_position_embeddings &&
           top.integer("max_window_layers", 0, kMaxContext, 28) < config.num_hidden_layers;
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
    const Json document = parse_json(json, kFile);
    return architecture_of(Fields(document, ""));
}

HfConfig parse_hf_config(std::string_view json, const HfDefaults& defaults) {
    const Json document = parse_json(json, kFile);
    const Fields top(document, "");
    HfConfig config;
    config.architecture = architecture_of(top);
    config.model_type = top.text("model_type", "");
    config.hidden_size = top.integer("hidden_size", 1, kMaxWidth);
    config.intermediate_size = top.integer("intermediate_size", 1, kMaxWidth);
    config.num_hidden_layers = top.integer("num_hidden_layers", 1, kMaxLayers);
    config.num_attention_heads = top.integer("num_attention_heads", 1, kMaxHeads);
    const bool as_many = defaults.num_key_value_heads == 0 || top.is_null("num_key_value_heads");
    config.num_key_value_heads =
        top.integer("num_key_value_heads", 1, kMaxHeads, as_many ? config.num_attention_heads : defaults.num_key_value_heads);
    if (config.num_attention_heads % config.num_key_value_heads != 0) {
        invalid("num_attention_heads (" + std::to_string(config.num_attention_heads) + ") is not a multiple of num_key_value_heads (" +
                std::to_string(config.num_key_value_heads) + ")");
    }
    config.head_dim =
        top.integer("head_dim", 2, 65536, defaults.head_dim != 0 ? defaults.head_dim : config.hidden_size / config.num_attention_heads);
    if (config.head_dim < 2 || config.head_dim % 2 != 0)
        invalid("head_dim (" + std::to_string(config.head_dim) + ") is not an even number");
    if (static_cast<std::int64_t>(config.head_dim) * config.num_attention_heads > kMaxWidth) {
        invalid("head_dim x num_attention_heads is beyond " + std::to_string(kMaxWidth));
    }
    config.vocab_size = top.integer("vocab_size", 1, kMaxVocabulary);
    config.max_position_embeddings = top.integer("max_position_embeddings", 1, kMaxContext, defaults.max_position_embeddings);
    config.rms_norm_eps = top.number("rms_norm_eps", 0, 1, 1e-6);
    config.tie_word_embeddings = top.boolean("tie_word_embeddings", defaults.tie_word_embeddings);
    config.attention_bias = top.boolean("attention_bias", false);
    config.mlp_bias = top.boolean("mlp_bias", false);
    config.hidden_act = top.text("hidden_act", "silu");
    config.rope = read_rope(top, config, defaults);
    config.sliding_window = uses_sliding_window(top, config);
    config.dtype = stated_dtype(top);
    if (const Json* quantization = top.find("quantization_config")) {
        config.quantization = Fields(*quantization, "quantization_config.").text("quant_method", "unknown");
    }
    if (const Json* bos = top.find("bos_token_id")) config.bos_token_id = Fields::checked_integer(*bos, "bos_token_id", -1, kMaxVocabulary);
    if (const Json* eos = top.find("eos_token_id")) {
        for (const Json& id : eos->is_array() ? *eos : Json::array({*eos})) {
            config.eos_token_ids.push_back(Fields::checked_integer(id, "eos_token_id", -1, kMaxVocabulary));
        }
    }
    return config;
}

}  // namespace tfserve
