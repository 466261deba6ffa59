#include "loader/gguf_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "ggml.h"
#include "gguf.h"
#include "loader/load_error.h"
#include "loader/mapped_file.h"

namespace tfserve {

namespace {

constexpr std::int64_t kMaxLayers = 512, kMaxExperts = 512;  // llama.cpp's fixed arrays

struct FreeGguf {
    void operator()(gguf_context* context) const { gguf_free(context); }
};

class Checker {
   public:
    Checker(const gguf_context* gguf, std::string name) : gguf_(gguf), name_(std::move(name)) {}

    [[noreturn]] void invalid(const std::string& what) const { throw LoadError(LoadError::Kind::invalid, name_ + ": " + what + "."); }

    /// Whole numbers of a scalar or array key; empty when it is absent.
    std::vector<std::int64_t> integers(const std::string& key) const {
        const std::int64_t id = gguf_find_key(gguf_, key.c_str());
        if (id < 0) return {};
        gguf_type type = gguf_get_kv_type(gguf_, id);
        const bool list = type == GGUF_TYPE_ARRAY;
        if (list) type = gguf_get_arr_type(gguf_, id);
        const void* data = nullptr;
        if (type != GGUF_TYPE_STRING && type != GGUF_TYPE_ARRAY) data = list ? gguf_get_arr_data(gguf_, id) : gguf_get_val_data(gguf_, id);
        std::vector<std::int64_t> values(data == nullptr ? 0 : list ? gguf_get_arr_n(gguf_, id) : 1);
        for (std::size_t i = 0; i < values.size(); ++i) {
            switch (type) {
                case GGUF_TYPE_UINT8: values[i] = static_cast<const std::uint8_t*>(data)[i]; break;
                case GGUF_TYPE_INT8: values[i] = static_cast<const std::int8_t*>(data)[i]; break;
                case GGUF_TYPE_UINT16: values[i] = static_cast<const std::uint16_t*>(data)[i]; break;
                case GGUF_TYPE_INT16: values[i] = static_cast<const std::int16_t*>(data)[i]; break;
                case GGUF_TYPE_UINT32: values[i] = static_cast<const std::uint32_t*>(data)[i]; break;
                case GGUF_TYPE_INT32: values[i] = static_cast<const std::int32_t*>(data)[i]; break;
                case GGUF_TYPE_BOOL: values[i] = static_cast<const std::int8_t*>(data)[i] != 0; break;
                case GGUF_TYPE_UINT64:
                case GGUF_TYPE_INT64: values[i] = static_cast<const std::int64_t*>(data)[i]; break;
                default: invalid("the key " + in_quotes(key) + " is not a whole number");
            }
        }
        if (data == nullptr) invalid("the key " + in_quotes(key) + " is not a whole number");
        return values;
    }

    std::optional<std::int64_t> integer(const std::string& key) const {
        const auto values = integers(key);
        return values.empty() ? std::nullopt : std::optional(values.front());
    }

    std::string text(const std::string& key) const {
        const std::int64_t id = gguf_find_key(gguf_, key.c_str());
        if (id < 0) return "";
        if (gguf_get_kv_type(gguf_, id) != GGUF_TYPE_STRING) invalid("the key " + in_quotes(key) + " is not text");
        return gguf_get_val_str(gguf_, id);
    }

    /// Every value of the key, where it is there, lies in [low, high].
    void in_range(const std::string& key, std::int64_t low, std::int64_t high) const {
        for (std::int64_t value : integers(key)) {
            if (value < low || value > high)
                invalid("the key " + in_quotes(key) + " is not between " + std::to_string(low) + " and " + std::to_string(high));
        }
    }

    void finite(const std::string& key) const {
        const std::int64_t id = gguf_find_key(gguf_, key.c_str());
        if (id < 0 || gguf_get_kv_type(gguf_, id) != GGUF_TYPE_FLOAT32) return;
        if (!std::isfinite(gguf_get_val_f32(gguf_, id))) invalid("the key " + in_quotes(key) + " is not a finite number");
    }

    void hyperparameters(const std::string& arch) const {
        const auto layers = integer(arch + ".block_count");
        if (!layers) invalid("the key " + in_quotes(arch + ".block_count") + " is missing");
        in_range(arch + ".block_count", 1, kMaxLayers);
        in_range(arch + ".nextn_predict_layers", 0, *layers);
        in_range(arch + ".context_length", 1, 1 << 28);
        in_range(arch + ".embedding_length", 1, 1 << 20);
        in_range(arch + ".feed_forward_length", 0, 1 << 24);
        in_range(arch + ".vocab_size", 1, 1 << 24);
        in_range(arch + ".attention.head_count", 0, 1 << 14);
        in_range(arch + ".attention.head_count_kv", 0, 1 << 14);
        in_range(arch + ".attention.key_length", 1, 1 << 16);
        in_range(arch + ".attention.value_length", 1, 1 << 16);
        in_range(arch + ".rope.dimension_count", 0, 1 << 16);
        in_range(arch + ".expert_count", 0, kMaxExperts);
        in_range(arch + ".expert_used_count", 0, integer(arch + ".expert_count").value_or(0));
        const std::int64_t experts = integer(arch + ".expert_count").value_or(0);
        if (experts > 0) {
            const auto used = integers(arch + ".expert_used_count");
            if (used.empty() || *std::max_element(used.begin(), used.end()) < 1) invalid("it has experts but uses none");
            in_range(arch + ".expert_group_count", 0, experts - 1);
            const std::int64_t groups = integer(arch + ".expert_group_count").value_or(0);
            if (groups > 1 && experts % groups != 0) invalid("its experts do not divide into groups");
            if (groups > 1) {
                if (!integer(arch + ".expert_group_used_count")) invalid("it has expert groups but uses none");
                in_range(arch + ".expert_group_used_count", 1, groups - 1);
            }
        } else {
            in_range(arch + ".expert_group_count", 0, 0);
        }
        for (const char* key :
             {".rope.freq_base", ".rope.scaling.factor", ".rope.scaling.attn_factor", ".attention.layer_norm_rms_epsilon"})
            finite(arch + key);
        const std::string scaling = text(arch + ".rope.scaling.type");
        if (!scaling.empty() && scaling != "none" && scaling != "linear" && scaling != "yarn" && scaling != "longrope") {
            invalid("the rope scaling type " + in_quotes(scaling) + " is not known");
        }
        const auto heads = integers(arch + ".attention.head_count"), kv_heads = integers(arch + ".attention.head_count_kv");
        for (std::size_t i = 0; i < heads.size() && i < kv_heads.size(); ++i) {
            if (kv_heads[i] != 0 && heads[i] % kv_heads[i] != 0) invalid("its attention heads are not a multiple of its key-value heads");
        }
    }

    /// The graphs of these architectures rotate whole heads and want k and v of one size.
    void plain_heads(const std::string& arch) const {
        if (arch != "llama" && arch != "qwen2" && arch != "qwen3") return;
        const auto heads = integer(arch + ".attention.head_count"), width = integer(arch + ".embedding_length");
        if (!heads || *heads < 1 || !width) invalid("its attention heads are missing");
        if (integer(arch + ".attention.head_count_kv").value_or(*heads) < 1) invalid("its key-value heads are missing");
        const std::int64_t head = integer(arch + ".attention.key_length").value_or(*width / *heads);
        if (head < 2 || head % 2 != 0 || integer(arch + ".attention.value_length").value_or(*width / *heads) != head ||
            integer(arch + ".rope.dimension_count").value_or(head) != head) {
            invalid("its head sizes contradict each other");
        }
    }

    void vocabulary() const {
        const std::int64_t id = gguf_find_key(gguf_, "tokenizer.ggml.tokens");
        if (id < 0) return;
        if (gguf_get_kv_type(gguf_, id) != GGUF_TYPE_ARRAY || gguf_get_arr_type(gguf_, id) != GGUF_TYPE_STRING)
            invalid("its vocabulary is not a list of texts");
        const std::size_t count = gguf_get_arr_n(gguf_, id);
        if (count == 0 || count > (1u << 24)) invalid("its vocabulary has " + std::to_string(count) + " tokens");
        std::unordered_set<std::string> seen;
        for (std::size_t i = 0; i < count; ++i) {
            std::string token = gguf_get_arr_str(gguf_, id, i);
            if (token.empty()) token = "[EMPTY_" + std::to_string(i) + "]";  // as llama.cpp names it
            if (!seen.insert(std::move(token)).second) invalid("token " + std::to_string(i) + " of its vocabulary is there twice");
        }
    }

    bool quantized() const {
        for (std::int64_t i = 0; i < gguf_get_n_tensors(gguf_); ++i) {
            if (ggml_is_quantized(gguf_get_tensor_type(gguf_, i))) return true;
        }
        return false;
    }

    std::string main_type() const {
        std::map<ggml_type, std::uint64_t> bytes;
        for (std::int64_t i = 0; i < gguf_get_n_tensors(gguf_); ++i)
            bytes[gguf_get_tensor_type(gguf_, i)] += gguf_get_tensor_size(gguf_, i);
        if (bytes.empty()) invalid("it has no weights");
        const auto most = std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
        switch (most->first) {
            case GGML_TYPE_BF16: return "bfloat16";
            case GGML_TYPE_F16: return "float16";
            case GGML_TYPE_F32: return "float32";
            default: return ggml_type_name(most->first);
        }
    }

   private:
    const gguf_context* gguf_;
    std::string name_;
};

std::unique_ptr<gguf_context, FreeGguf> read_header(const std::filesystem::path& path) {
    const std::string name = path.filename().string();
    const MappedFile file(path);  // says why when it cannot be opened
    const auto bytes = file.bytes();
    const std::string_view start(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 4));
    if (start != "GGUF") throw LoadError(LoadError::Kind::invalid, name + " is not a GGUF file.");
    std::unique_ptr<gguf_context, FreeGguf> gguf(gguf_init_from_file(path.c_str(), {true, nullptr}));
    if (!gguf) throw LoadError(LoadError::Kind::invalid, name + " is damaged or truncated: its GGUF header cannot be read.");
    check_gguf_tensors(gguf.get(), file);
    return gguf;
}

}  // namespace

void check_gguf_tensors(const gguf_context* header, const MappedFile& file) {
    const std::size_t data = gguf_get_data_offset(header), bytes = file.bytes().size();
    for (std::int64_t i = 0; i < gguf_get_n_tensors(header); ++i) {
        const std::size_t offset = gguf_get_tensor_offset(header, i), size = gguf_get_tensor_size(header, i);
        if (data > bytes || offset > bytes - data || size > bytes - data - offset) {
            throw LoadError(LoadError::Kind::invalid, file.name() + " is truncated: the tensor " +
                                                          in_quotes(gguf_get_tensor_name(header, i)) + " reaches beyond its end.");
        }
    }
}

GgufSummary check_gguf(const std::filesystem::path& path) {
    const auto gguf = read_header(path);
    const Checker check(gguf.get(), path.filename().string());
    GgufSummary summary;
    summary.architecture = check.text("general.architecture");
    if (summary.architecture.empty()) check.invalid("the key \"general.architecture\" is missing");
    check.hyperparameters(summary.architecture);
    check.plain_heads(summary.architecture);
    check.vocabulary();
    summary.main_type = check.main_type();
    summary.quantized = check.quantized();
    check.in_range("split.count", 0, 999);
    summary.layers = static_cast<std::int32_t>(check.integer(summary.architecture + ".block_count").value_or(0));
    summary.splits = std::max<std::int64_t>(1, check.integer("split.count").value_or(1));
    return summary;
}

}  // namespace tfserve
