#include "loader/gguf_header.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "loader/load_error.h"

namespace tfserve {

namespace {

// llama.cpp compares each name with all before it: these bound the time that takes
constexpr std::uint64_t kMaxKeys = 8192, kMaxTensors = 16384;
constexpr std::uint64_t kMaxNameBytes = 63;  // what a tensor of ggml holds
constexpr std::uint64_t kMaxKeyBytes = 65535, kMaxTextBytes = 64u << 20;
constexpr std::uint64_t kMaxListEntries = 1u << 24;
constexpr std::uint64_t kMaxAlignment = 1u << 20;

/// Bytes of a scalar; 0 for texts, lists and unknown types.
std::uint64_t scalar_bytes(GgufType type) {
    switch (type) {
        case GgufType::u8:
        case GgufType::i8:
        case GgufType::boolean: return 1;
        case GgufType::u16:
        case GgufType::i16: return 2;
        case GgufType::u32:
        case GgufType::i32:
        case GgufType::f32: return 4;
        case GgufType::u64:
        case GgufType::i64:
        case GgufType::f64: return 8;
        default: return 0;
    }
}

class HeaderReader {
   public:
    HeaderReader(std::span<const std::byte> bytes, const std::string& name, GgufWeightTypes types)
        : bytes_(bytes), name_(name), types_(types) {}

    GgufHeader run() {
        if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "GGUF", 4) != 0) {
            throw LoadError(LoadError::Kind::invalid, name_ + " is not a GGUF file.");
        }
        at_ = 4;
        header_.version = number<std::uint32_t>();
        if (header_.version != 2 && header_.version != 3) {
            throw LoadError(LoadError::Kind::unsupported, name_ + " says that it is of version " + std::to_string(header_.version) +
                                                              " of the GGUF format; 2 and 3 are supported, in little-endian order.");
        }
        const auto tensors = number<std::uint64_t>(), keys = number<std::uint64_t>();
        if (tensors > kMaxTensors) invalid("states " + std::to_string(tensors) + " tensors, more than any model has");
        if (keys > kMaxKeys) invalid("states " + std::to_string(keys) + " keys, more than any model has");
        for (std::uint64_t i = 0; i < keys; ++i) read_value();
        for (std::uint64_t i = 0; i < tensors; ++i) read_tensor();
        place_tensors();
        return std::move(header_);
    }

   private:
    [[noreturn]] void invalid(const std::string& what) const { throw LoadError(LoadError::Kind::invalid, name_ + " " + what + "."); }

    std::span<const std::byte> take(std::uint64_t count) {
        if (count > bytes_.size() - at_) invalid("is truncated, or not a sound GGUF file: its header reaches beyond its end");
        const auto taken = bytes_.subspan(at_, static_cast<std::size_t>(count));
        at_ += static_cast<std::size_t>(count);
        return taken;
    }

    template <typename T>
    T number() {
        T value;
        std::memcpy(&value, take(sizeof value).data(), sizeof value);
        return value;
    }

    std::span<const std::byte> text(std::uint64_t most, const char* what) {
        const auto size = number<std::uint64_t>();
        if (size > most) invalid("has " + std::string(what) + " of " + std::to_string(size) + " bytes");
        return take(size);
    }

    std::string name_text(std::uint64_t most, const char* what) {
        const auto taken = text(most, what);
        std::string name(reinterpret_cast<const char*>(taken.data()), taken.size());
        if (name.empty() || name.find('\0') != std::string::npos) invalid("has " + std::string(what) + " that is empty or malformed");
        return name;
    }

    void read_value() {
        const std::string key = name_text(kMaxKeyBytes, "a key");
        GgufValue value;
        auto type = number<std::uint32_t>();
        value.is_list = type == static_cast<std::uint32_t>(GgufType::array);
        if (value.is_list) {
            type = number<std::uint32_t>();
            value.count = number<std::uint64_t>();
            if (value.count > kMaxListEntries) {
                invalid("has a list of " + std::to_string(value.count) + " entries under the key " + in_quotes(key));
            }
        }
        value.type = static_cast<GgufType>(std::min<std::uint32_t>(type, static_cast<std::uint32_t>(GgufType::f64) + 1));
        if (value.type == GgufType::string) {
            if (value.is_list) {
                const std::size_t begin = at_;
                for (std::uint64_t i = 0; i < value.count; ++i) text(kMaxTextBytes, "a text");
                value.data = bytes_.subspan(begin, at_ - begin);
            } else {
                value.data = text(kMaxTextBytes, "a text");
            }
        } else if (const std::uint64_t size = scalar_bytes(value.type); size != 0) {
            value.data = take(value.count * size);
        } else {
            invalid("has a value of an unknown type (" + std::to_string(type) + ") under the key " + in_quotes(key));
        }
        if (!header_.values.emplace(key, value).second) invalid("has the key " + in_quotes(key) + " twice");
    }

    void read_tensor() {
        GgufTensor tensor;
        tensor.name = name_text(kMaxNameBytes, "the name of a tensor");
        if (!names_.insert(tensor.name).second) invalid("has the tensor " + in_quotes(tensor.name) + " twice");
        const auto dims = number<std::uint32_t>();
        if (dims < 1 || dims > tensor.shape.size()) {
            invalid("has the tensor " + in_quotes(tensor.name) + " of " + std::to_string(dims) + " dimensions");
        }
        std::int64_t elements = 1;
        for (std::uint32_t dim = 0; dim < dims; ++dim) {
            tensor.shape[dim] = number<std::int64_t>();
            if (tensor.shape[dim] < 1 || __builtin_mul_overflow(elements, tensor.shape[dim], &elements)) {
                invalid("has the tensor " + in_quotes(tensor.name) + " with dimensions that are out of range");
            }
        }
        tensor.type = number<std::uint32_t>();
        const GgufWeightType type = types_(tensor.type);
        if (type.block == 0) {
            throw LoadError(LoadError::Kind::unsupported, name_ + " has the tensor " + in_quotes(tensor.name) + " in a type (" +
                                                              std::to_string(tensor.type) + ") that is not known.");
        }
        if (tensor.shape[0] % type.block != 0) {
            invalid("has the tensor " + in_quotes(tensor.name) + ", whose rows are not whole blocks of " + type.name);
        }
        if (__builtin_mul_overflow(static_cast<std::uint64_t>(elements / type.block), std::uint64_t{type.bytes}, &tensor.size)) {
            invalid("has the tensor " + in_quotes(tensor.name) + ", which is too large");
        }
        tensor.offset = number<std::uint64_t>();
        header_.tensors.push_back(std::move(tensor));
    }

    std::uint64_t alignment() const {
        const GgufValue* value = header_.find("general.alignment");
        if (value == nullptr) return 32;
        std::uint32_t alignment = 0;
        if (value->type == GgufType::u32 && !value->is_list) std::memcpy(&alignment, value->data.data(), sizeof alignment);
        // what is not a multiple of 8 leaves numbers unaligned
        if (alignment < 8 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
            invalid("has the key \"general.alignment\", which is not a power of two between 8 and " + std::to_string(kMaxAlignment));
        }
        return alignment;
    }

    /// The data of the tensors follow each other in the order of the header, each padded to the alignment.
    void place_tensors() {
        const std::uint64_t align = alignment(), size = bytes_.size();
        auto padded = [&](std::uint64_t x) { return (x + align - 1) / align * align; };
        const std::uint64_t data = padded(at_);
        std::uint64_t expected = 0;
        for (GgufTensor& tensor : header_.tensors) {
            if (tensor.offset != expected) {
                invalid("places the tensor " + in_quotes(tensor.name) + " at " + std::to_string(tensor.offset) + " instead of " +
                        std::to_string(expected) + " (a lie, an overlap or a hole)");
            }
            if (data > size || tensor.offset > size - data || tensor.size > size - data - tensor.offset) {
                invalid("is truncated: the tensor " + in_quotes(tensor.name) + " reaches beyond its end");
            }
            expected = padded(tensor.offset + tensor.size);
            tensor.offset += data;
        }
    }

    const std::span<const std::byte> bytes_;
    const std::string& name_;
    const GgufWeightTypes types_;
    std::size_t at_ = 0;
    GgufHeader header_;
    std::unordered_set<std::string> names_;
};

}  // namespace

std::vector<std::string_view> GgufValue::texts() const {
    if (type != GgufType::string) return {};
    const char* start = reinterpret_cast<const char*>(data.data());
    if (!is_list) return {std::string_view(start, data.size())};
    std::vector<std::string_view> list;
    list.reserve(static_cast<std::size_t>(count));
    for (std::size_t at = 0; list.size() < count;) {
        std::uint64_t size = 0;  // checked when the header was read
        std::memcpy(&size, start + at, sizeof size);
        at += sizeof size;
        list.emplace_back(start + at, static_cast<std::size_t>(size));
        at += static_cast<std::size_t>(size);
    }
    return list;
}

const GgufValue* GgufHeader::find(std::string_view key) const {
    const auto it = values.find(key);
    return it == values.end() ? nullptr : &it->second;
}

GgufHeader parse_gguf_header(std::span<const std::byte> bytes, const std::string& name, GgufWeightTypes types) {
    return HeaderReader(bytes, name, types).run();
}

}  // namespace tfserve
