#include "loader/gguf_check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "loader/load_error.h"
#include "loader/mapped_file.h"

namespace tfserve {

namespace {

constexpr std::int64_t kMaxLayers = 512, kMaxExperts = 512;  // llama.cpp's fixed arrays
constexpr std::int64_t kMaxSplits = 999;

template <typename T>
std::int64_t whole_at(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return static_cast<std::int64_t>(value);
}

class Checker {
   public:
    Checker(const GgufHeader& gguf, std::string name) : gguf_(gguf), name_(std::move(name)) {}

    [[noreturn]] void invalid(const std::string& what) const { throw LoadError(LoadError::Kind::invalid, name_ + ": " + what + "."); }

    /// Whole numbers of a scalar or list; empty when the key is absent.
    std::vector<std::int64_t> integers(const std::string& key) const {
        const GgufValue* value = gguf_.find(key);
        if (value == nullptr) return {};
        std::vector<std::int64_t> values(static_cast<std::size_t>(value->count));
        const std::byte* data = value->data.data();
        for (std::size_t i = 0; i < values.size(); ++i) {
            switch (value->type) {
                case GgufType::u8: values[i] = whole_at<std::uint8_t>(data + i); break;
                case GgufType::i8: values[i] = whole_at<std::int8_t>(data + i); break;
                case GgufType::boolean: values[i] = whole_at<std::int8_t>(data + i) != 0; break;
                case GgufType::u16: values[i] = whole_at<std::uint16_t>(data + 2 * i); break;
                case GgufType::i16: values[i] = whole_at<std::int16_t>(data + 2 * i); break;
                case GgufType::u32: values[i] = whole_at<std::uint32_t>(data + 4 * i); break;
                case GgufType::i32: values[i] = whole_at<std::int32_t>(data + 4 * i); break;
                case GgufType::u64:
                case GgufType::i64: values[i] = whole_at<std::int64_t>(data + 8 * i); break;
                default: invalid("the key " + in_quotes(key) + " is not a whole number");
            }
        }
        return values;
    }

    std::optional<std::int64_t> integer(const std::string& key) const {
        const auto values = integers(key);
        return values.empty() ? std::nullopt : std::optional(values.front());
    }

    std::string text(const std::string& key) const {
        const GgufValue* value = gguf_.find(key);
        if (value == nullptr) return "";
        if (value->type != GgufType::string || value->is_list) invalid("the key " + in_quotes(key) + " is not text");
        return std::string(value->texts().front());
    }

    /// Every value of the key, where it is there, lies in [low, high].
    void in_range(const std::string& key, std::int64_t low, std::int64_t high) const {
        for (std::int64_t value : integers(key)) {
            if (value < low || value > high)
                invalid("the key " + in_quotes(key) + " is not between " + std::to_string(low) + " and " + std::to_string(high));
        }
    }

    void finite(const std::string& key) const {
        const GgufValue* value = gguf_.find(key);
        if (value == nullptr || value->type != GgufType::f32) return;
        for (std::size_t i = 0; i < value->count; ++i) {
            float x = 0;
            std::memcpy(&x, value->data.data() + i * sizeof x, sizeof x);
            if (!std::isfinite(x)) invalid("the key " + in_quotes(key) + " is not a finite number");
        }
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
        const GgufValue* tokens = gguf_.find("tokenizer.ggml.tokens");
        if (tokens == nullptr) return;
        if (tokens->type != GgufType::string || !tokens->is_list) invalid("its vocabulary is not a list of texts");
        const std::uint64_t count = tokens->count;
        if (count == 0 || count > (1u << 22)) invalid("its vocabulary has " + std::to_string(count) + " tokens");
        for (const char* key : {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"}) {
            const GgufValue* list = gguf_.find(key);
            if (list != nullptr && (!list->is_list || list->count != count)) {
                invalid("the key " + in_quotes(key) + " has not one entry for each of the " + std::to_string(count) + " tokens");
            }
        }
        std::unordered_set<std::string> seen;
        std::size_t id = 0;
        for (const std::string_view token : tokens->texts()) {
            // an empty one is as llama.cpp names it
            const std::string spelling = token.empty() ? "[EMPTY_" + std::to_string(id) + "]" : std::string(token);
            if (!seen.insert(spelling).second) invalid("token " + std::to_string(id) + " of its vocabulary is there twice");
            ++id;
        }
        special_token("bos", count);
        special_token("eos", count);
    }

    bool quantized(GgufWeightTypes types) const {
        return std::any_of(gguf_.tensors.begin(), gguf_.tensors.end(), [&](const GgufTensor& each) { return types(each.type).block > 1; });
    }

    /// llama.cpp ends the process when it is to add a token that there is not.
    void special_token(const std::string& name, std::uint64_t count) const {
        const std::string model = text("tokenizer.ggml.model");
        const bool bos = name == "bos";
        auto within = [&](std::int64_t id) { return id >= 0 && static_cast<std::uint64_t>(id) < count; };
        // what llama.cpp assumes where the file does not say
        const std::int64_t assumed = model == "llama"  ? (bos ? 1 : 2)
                                     : model == "bert" ? (bos ? 101 : -1)
                                     : model == "gpt2" ? 11
                                     : model == "t5"   ? (bos ? -1 : 1)
                                                       : -1;
        const bool assumed_added = bos ? model == "llama" || model == "bert" : model == "t5";
        const std::int64_t id = integer("tokenizer.ggml." + name + "_token_id").value_or(assumed);
        const bool added = integer("tokenizer.ggml.add_" + name + "_token").value_or(assumed_added ? 1 : 0) != 0;
        if (added && !within(id) && !within(assumed)) invalid("its tokenizer adds the " + name + " token, which its vocabulary has not");
    }

    std::string main_type(GgufWeightTypes types) const {
        std::map<std::uint32_t, std::uint64_t> bytes;
        for (const GgufTensor& tensor : gguf_.tensors) bytes[tensor.type] += tensor.size;
        if (bytes.empty()) invalid("it has no weights");
        const auto most = std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
        const std::string name = types(most->first).name;
        return name == "bf16" ? "bfloat16" : name == "f16" ? "float16" : name == "f32" ? "float32" : name;
    }

    std::int64_t splits() const {
        in_range("split.count", 0, kMaxSplits);
        const std::int64_t count = std::max<std::int64_t>(1, integer("split.count").value_or(1));
        if (count > 1 && integer("split.no").value_or(0) != 0) invalid("it is not the first part of the model; name the one with 00001");
        return count;
    }

    /// One of the further parts, beside the first.
    void part(std::int64_t number, std::unordered_set<std::string>& names) const {
        const GgufValue* no = gguf_.find("split.no");
        if (no == nullptr || no->type != GgufType::u16 || no->is_list || integer("split.no") != number) {
            invalid("it does not say that it is part " + std::to_string(number + 1) + " of the model");
        }
        for (const GgufTensor& tensor : gguf_.tensors) {
            if (!names.insert(tensor.name).second) invalid("the tensor " + in_quotes(tensor.name) + " is in another part, too");
        }
    }

   private:
    const GgufHeader& gguf_;
    std::string name_;
};

/// The file name of a part of a model of `count` parts, the first of which is `first`.
std::string part_name(const std::string& first, std::int64_t number, std::int64_t count) {
    char own[32], wanted[32];
    std::snprintf(own, sizeof own, "-%05d-of-%05d.gguf", 1, static_cast<int>(count));
    std::snprintf(wanted, sizeof wanted, "-%05d-of-%05d.gguf", static_cast<int>(number) + 1, static_cast<int>(count));
    if (!first.ends_with(own)) {
        throw LoadError(LoadError::Kind::invalid,
                        first + " is the first of " + std::to_string(count) + " parts, but its name does not end in " + own + ".");
    }
    return first.substr(0, first.size() - std::string_view(own).size()) + wanted;
}

void check_parts(const std::filesystem::path& path, const GgufHeader& first, std::int64_t count, GgufWeightTypes types) {
    std::unordered_set<std::string> names;
    for (const GgufTensor& tensor : first.tensors) names.insert(tensor.name);
    for (std::int64_t number = 1; number < count; ++number) {
        const std::filesystem::path part = path.parent_path() / part_name(path.filename().string(), number, count);
        std::error_code ignored;
        if (!std::filesystem::exists(part, ignored)) {
            throw LoadError(LoadError::Kind::not_found, path.filename().string() + " is the first of " + std::to_string(count) +
                                                            " parts; " + part.filename().string() + " is missing beside it.");
        }
        const MappedFile file(part);
        Checker(parse_gguf_header(file.bytes(), file.name(), types), file.name()).part(number, names);
    }
}

}  // namespace

GgufSummary check_gguf(const std::filesystem::path& path, GgufWeightTypes types) {
    const MappedFile file(path);
    const GgufHeader header = parse_gguf_header(file.bytes(), file.name(), types);
    const Checker check(header, file.name());
    GgufSummary summary;
    summary.architecture = check.text("general.architecture");
    if (summary.architecture.empty()) check.invalid("the key \"general.architecture\" is missing");
    check.hyperparameters(summary.architecture);
    check.plain_heads(summary.architecture);
    check.vocabulary();
    summary.main_type = check.main_type(types);
    summary.quantized = check.quantized(types);
    summary.layers = static_cast<std::int32_t>(check.integer(summary.architecture + ".block_count").value_or(0));
    summary.splits = check.splits();
    if (summary.splits > 1) check_parts(path, header, summary.splits, types);
    return summary;
}

}  // namespace tfserve
