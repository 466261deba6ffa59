#include "loader/hf_rope.h"

namespace tfserve::hf {

namespace {

constexpr double kMaxFactor = 1e6;

double yarn_mscale(double scale, double mscale) { return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0; }

void read_llama3(const Fields& fields, RopeConfig& rope) {
    rope.factor = fields.number("factor", 1e-3, kMaxFactor);
    rope.low_freq_factor = fields.number("low_freq_factor", 1e-6, kMaxFactor);
    rope.high_freq_factor = fields.number("high_freq_factor", 1e-6, kMaxFactor);
    if (rope.high_freq_factor <= rope.low_freq_factor) invalid("rope high_freq_factor is not greater than low_freq_factor");
}

void read_yarn(const Fields& fields, double stretch, RopeConfig& rope) {
    rope.factor = fields.number("factor", 1e-3, kMaxFactor, stretch);
    // 0 means unset, as it does in transformers
    if (const double beta = fields.number("beta_fast", 0, kMaxFactor, 0.0); beta > 0) rope.beta_fast = beta;
    if (const double beta = fields.number("beta_slow", 0, kMaxFactor, 0.0); beta > 0) rope.beta_slow = beta;
    rope.truncate = fields.boolean("truncate", true);
    rope.mscale = fields.number("mscale", 0, 1e3, 0.0), rope.mscale_all_dim = fields.number("mscale_all_dim", 0, 1e3, 0.0);
    const double by_formula = rope.mscale != 0 && rope.mscale_all_dim != 0
                                  ? yarn_mscale(rope.factor, rope.mscale) / yarn_mscale(rope.factor, rope.mscale_all_dim)
                                  : yarn_mscale(rope.factor, 1.0);
    rope.attention_factor = fields.number("attention_factor", 1e-3, 1e3, by_formula);
    if (rope.theta <= 1) invalid("rope_theta must be greater than 1 with yarn");
}

void read_longrope(const Fields& fields, double stretch, std::int32_t rotary_dim, RopeConfig& rope) {
    rope.factor = stretch;
    const double context = rope.original_max_position_embeddings;
    const double by_formula = stretch <= 1 ? 1.0 : std::sqrt(1 + std::log(stretch) / std::log(context));
    rope.attention_factor = fields.number("attention_factor", 1e-3, 1e3, by_formula);
    rope.short_factors = fields.numbers("short_factor", 1e-6, kMaxFactor);
    if (rope.short_factors.size() != static_cast<std::size_t>(rotary_dim / 2)) {
        invalid("rope short_factor has " + std::to_string(rope.short_factors.size()) + " entries instead of " +
                std::to_string(rotary_dim / 2));
    }
}

}  // namespace

void read_rope(const Fields& top, const HfDefaults& defaults, HfConfig& config) {
    RopeConfig& rope = config.rope;
    const Json* five = top.find("rope_parameters");
    const Json* four = top.find("rope_scaling");
    static const Json kNone = Json::object();
    config.rope_local_theta = top.number("rope_local_base_freq", 1e-3, 1e12, defaults.rope_local_theta);
    // transformers 5 writes an object for each kind of layer where they differ
    if (defaults.rope_local_theta > 0 && five != nullptr && five->is_object() && (four == nullptr || four->empty())) {
        const Fields kinds(*five, "rope_parameters.");
        if (const Json* local = kinds.find("sliding_attention")) {
            const Fields fields(*local, "rope_parameters.sliding_attention.");
            config.rope_local_theta = fields.number("rope_theta", 1e-3, 1e12, defaults.rope_local_theta);
            if (fields.text("rope_type", "default") != "default") unsupported("stretched rotary embeddings in layers with a window");
        }
        if (const Json* full = kinds.find("full_attention")) five = full;
    }
    // an old rope_scaling goes before rope_parameters, as it does in transformers
    const bool old = four != nullptr && !(four->is_object() && four->empty());
    const Fields fields(old ? *four : five != nullptr ? *five : kNone, old ? "rope_scaling." : "rope_parameters.");
    if (fields.has_nested_object()) unsupported("rope parameters that differ from layer to layer are not supported for this architecture");

    const double theta = top.number("rope_theta", 1e-3, 1e12, defaults.rope_theta);
    rope.theta = fields.number("rope_theta", 1e-3, 1e12, theta);
    const double partial = top.number("partial_rotary_factor", 0, 1e3, defaults.partial_rotary_factor);
    rope.partial = std::min(1.0, fields.number("partial_rotary_factor", 0, 1e3, partial));
    const std::string type = fields.text("rope_type", fields.text("type", defaults.rope_type));
    if (type == "proportional") {
        rope.type = RopeType::proportional;
        rope.factor = fields.number("factor", 1e-3, kMaxFactor, 1.0);
        config.rotary_dim = config.head_dim;
        return;
    }
    config.rotary_dim = static_cast<std::int32_t>(config.head_dim * rope.partial);
    if (config.rotary_dim < 2 || config.rotary_dim % 2 != 0)
        invalid("partial_rotary_factor does not give an even number of rotated values");

    if (type == "default") return;
    // beside the rope parameters it goes before the one in them
    const std::int32_t assumed =
        defaults.original_max_position_embeddings != 0 ? defaults.original_max_position_embeddings : config.max_position_embeddings;
    rope.original_max_position_embeddings = top.integer("original_max_position_embeddings", 1, kMaxContext,
                                                        fields.integer("original_max_position_embeddings", 1, kMaxContext, assumed));
    const double stretch = static_cast<double>(config.max_position_embeddings) / rope.original_max_position_embeddings;
    if (type == "linear") {
        rope.type = RopeType::linear;
        rope.factor = fields.number("factor", 1e-3, kMaxFactor);
    } else if (type == "dynamic") {
        rope.type = RopeType::dynamic;
        rope.factor = fields.number("factor", 1e-3, kMaxFactor);
    } else if (type == "llama3") {
        rope.type = RopeType::llama3;
        read_llama3(fields, rope);
    } else if (type == "longrope" || type == "su" || (type == "yarn" && fields.find("short_factor") != nullptr)) {
        rope.type = RopeType::longrope;
        read_longrope(fields, stretch, config.rotary_dim, rope);
    } else if (type == "yarn") {
        rope.type = RopeType::yarn;
        read_yarn(fields, stretch, rope);
    } else {
        unsupported("the rope type " + in_quotes(type) + " is not supported; default, linear, dynamic, llama3, yarn and longrope are");
    }
}

}  // namespace tfserve::hf
