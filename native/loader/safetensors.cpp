#include "loader/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "loader/json_file.h"
#include "loader/load_error.h"

namespace tfserve {

namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own bound
constexpr std::size_t kMaxIndexBytes = 64u << 20;
constexpr std::size_t kMaxTensors = 1'000'000;
constexpr std::size_t kMaxDims = 8;
constexpr std::size_t kMaxShards = 10'000;

struct TypeRow {
    const char* text;
    DType dtype;
    std::uint64_t bits;
};

constexpr TypeRow kTypes[] = {
    {"BF16", DType::bfloat16, 16},    {"F16", DType::float16, 16},      {"F32", DType::float32, 32},  {"F64", DType::float64, 64},
    {"BOOL", DType::other, 8},        {"U8", DType::other, 8},          {"I8", DType::other, 8},      {"U16", DType::other, 16},
    {"I16", DType::other, 16},        {"U32", DType::other, 32},        {"I32", DType::other, 32},    {"U64", DType::other, 64},
    {"I64", DType::other, 64},        {"C64", DType::other, 64},        {"F8_E4M3", DType::other, 8}, {"F8_E5M2", DType::other, 8},
    {"F8_E8M0", DType::other, 8},     {"F4", DType::other, 4},          {"F6_E2M3", DType::other, 6}, {"F6_E3M2", DType::other, 6},
    {"F8_E4M3FNUZ", DType::other, 8}, {"F8_E5M2FNUZ", DType::other, 8},
};

[[noreturn]] void invalid(const std::string& file, const std::string& what) {
    throw LoadError(LoadError::Kind::invalid, file + " is not a sound safetensors file: " + what + ". Download it again.");
}

/// Reads the header event by event, so that a hostile one costs no more memory than the tensors it names.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
   public:
    struct Entry {
        std::string name, dtype;
        std::vector<std::uint64_t> shape, offsets;
        bool has_dtype = false, has_shape = false, has_offsets = false;
    };

    std::vector<Entry> entries;
    std::string problem;

    bool null() override { return fail("null where a value is needed"); }
    bool boolean(bool) override { return fail("true or false where a value is needed"); }
    bool number_integer(number_integer_t) override { return fail("a negative number" + where()); }
    bool number_float(number_float_t, const string_t&) override { return fail("a number that is not whole" + where()); }
    bool binary(binary_t&) override { return fail("binary data"); }

    bool number_unsigned(number_unsigned_t value) override {
        if (place_ != Place::shape && place_ != Place::offsets) return fail("a number in an unexpected place");
        auto& list = place_ == Place::shape ? entries.back().shape : entries.back().offsets;
        if (list.size() >= (place_ == Place::shape ? kMaxDims : 2))
            return fail("a list that is too long in " + in_quotes(entries.back().name));
        list.push_back(value);
        return true;
    }

    bool string(string_t& value) override {
        if (place_ == Place::metadata) return true;
        if (place_ != Place::dtype) return fail("text in an unexpected place");
        entries.back().dtype = value;
        place_ = Place::tensor;
        return true;
    }

    bool start_object(std::size_t) override {
        switch (place_) {
            case Place::start: place_ = Place::top; return true;
            case Place::metadata_value: place_ = Place::metadata; return true;
            case Place::tensor_value: place_ = Place::tensor; return true;
            default: return fail("an object in an unexpected place");
        }
    }

    bool end_object() override {
        if (place_ == Place::tensor) {
            const Entry& entry = entries.back();
            if (!entry.has_dtype || !entry.has_shape || !entry.has_offsets) {
                return fail(in_quotes(entry.name) + " lacks dtype, shape or data_offsets");
            }
        }
        place_ = place_ == Place::top ? Place::end : Place::top;
        return true;
    }

    bool key(string_t& name) override {
        if (place_ == Place::top) {
            if (!names_.insert(name).second) return fail(in_quotes(name) + " is there twice");
            if (name == "__metadata__") {
                place_ = Place::metadata_value;
                return true;
            }
            if (entries.size() >= kMaxTensors) return fail("too many tensors");
            entries.emplace_back().name = name;
            place_ = Place::tensor_value;
            return true;
        }
        if (place_ == Place::metadata) return true;
        Entry& entry = entries.back();
        bool* seen = nullptr;
        if (name == "dtype") {
            seen = &entry.has_dtype;
            place_ = Place::dtype;
        } else if (name == "shape") {
            seen = &entry.has_shape;
            place_ = Place::shape_value;
        } else if (name == "data_offsets") {
            seen = &entry.has_offsets;
            place_ = Place::offsets_value;
        } else {
            return fail(in_quotes(entry.name) + " has the unknown field " + in_quotes(name));
        }
        if (*seen) return fail(in_quotes(entry.name) + " has the field " + in_quotes(name) + " twice");
        *seen = true;
        return true;
    }

    bool start_array(std::size_t) override {
        if (place_ == Place::shape_value) return place_ = Place::shape, true;
        if (place_ == Place::offsets_value) return place_ = Place::offsets, true;
        return fail("a list in an unexpected place");
    }

    bool end_array() override {
        place_ = Place::tensor;
        return true;
    }

    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
        return fail("its header is not valid JSON near byte " + std::to_string(position));
    }

   private:
    enum class Place {
        start,
        top,
        metadata_value,
        metadata,
        tensor_value,
        tensor,
        dtype,
        shape_value,
        shape,
        offsets_value,
        offsets,
        end,
    };

    std::string where() const { return entries.empty() ? "" : " in " + in_quotes(entries.back().name); }

    bool fail(const std::string& what) {
        if (problem.empty()) problem = what;
        return false;
    }

    Place place_ = Place::start;
    std::set<std::string> names_;
};

SafeTensor checked_tensor(const HeaderReader::Entry& entry, std::span<const std::byte> data, const std::string& file) {
    const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeRow& row) { return entry.dtype == row.text; });
    if (type == std::end(kTypes)) invalid(file, in_quotes(entry.name) + " has the unknown dtype " + in_quotes(entry.dtype));
    if (entry.offsets.size() != 2) invalid(file, in_quotes(entry.name) + " has data_offsets that are not two numbers");

    SafeTensor tensor;
    tensor.dtype = type->dtype;
    tensor.dtype_text = entry.dtype;
    std::uint64_t bits = type->bits;
    bool zero = false;
    for (std::uint64_t dim : entry.shape) {
        if (dim > (1ull << 62)) invalid(file, in_quotes(entry.name) + " has a dimension that is too large");
        zero = zero || dim == 0;
        if (dim != 0 && __builtin_mul_overflow(bits, dim, &bits)) invalid(file, in_quotes(entry.name) + " has a shape that overflows");
        tensor.shape.push_back(static_cast<std::int64_t>(dim));
    }
    if (zero) bits = 0;
    const std::uint64_t begin = entry.offsets[0], end = entry.offsets[1];
    if (begin > end) invalid(file, in_quotes(entry.name) + " ends before it starts");
    if (end > data.size()) {
        invalid(file, in_quotes(entry.name) + " reaches beyond the end of the file (it is truncated, or its header lies)");
    }
    if (bits % 8 != 0 || bits / 8 != end - begin) invalid(file, "the size of " + in_quotes(entry.name) + " does not fit its shape");
    tensor.data = data.subspan(begin, end - begin);
    return tensor;
}

}  // namespace

const char* dtype_name(DType type) {
    switch (type) {
        case DType::bfloat16: return "bfloat16";
        case DType::float16: return "float16";
        case DType::float32: return "float32";
        case DType::float64: return "float64";
        default: return "other";
    }
}

std::size_t dtype_size(DType type) {
    switch (type) {
        case DType::bfloat16:
        case DType::float16: return 2;
        case DType::float32: return 4;
        case DType::float64: return 8;
        default: return 0;
    }
}

std::int64_t SafeTensor::elements() const {
    std::int64_t n = 1;
    for (std::int64_t dim : shape) n = dim == 0 ? 0 : n * dim;  // the product was checked when the header was read
    return n;
}

std::map<std::string, SafeTensor> parse_safetensors(std::span<const std::byte> bytes, const std::string& name) {
    std::uint64_t header_size = 0;
    if (bytes.size() < sizeof header_size) invalid(name, "it is shorter than 8 bytes");
    std::memcpy(&header_size, bytes.data(), sizeof header_size);
    if (header_size > kMaxHeaderBytes) invalid(name, "it states a header of " + std::to_string(header_size) + " bytes");
    if (header_size > bytes.size() - sizeof header_size) {
        invalid(name, "its header reaches beyond the end of the file (it is truncated, or not a safetensors file)");
    }
    const char* text = reinterpret_cast<const char*>(bytes.data()) + sizeof header_size;
    if (header_size == 0 || text[0] != '{') invalid(name, "its header does not start with '{'");

    HeaderReader header;
    bool whole = false;
    try {
        whole = nlohmann::json::sax_parse(text, text + header_size, &header);
    } catch (const nlohmann::json::exception&) {
        invalid(name, "its header is not valid JSON");
    }
    if (!whole) invalid(name, header.problem.empty() ? "its header is not valid JSON" : header.problem);

    const std::span<const std::byte> data = bytes.subspan(sizeof header_size + header_size);
    std::map<std::string, SafeTensor> tensors;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    for (const HeaderReader::Entry& entry : header.entries) {
        tensors.emplace(entry.name, checked_tensor(entry, data, name));
        ranges.emplace_back(entry.offsets[0], entry.offsets[1]);
    }
    // the format allows neither holes nor overlaps nor a tail
    std::sort(ranges.begin(), ranges.end());
    std::uint64_t reached = 0;
    for (const auto& [begin, end] : ranges) {
        if (begin != reached) invalid(name, begin < reached ? "two tensors overlap" : "there is a hole between two tensors");
        reached = end;
    }
    if (reached != data.size())
        invalid(name, "its header describes " + std::to_string(reached) + " bytes of data, the file has " + std::to_string(data.size()));
    return tensors;
}

Checkpoint Checkpoint::open(const std::filesystem::path& directory) {
    namespace fs = std::filesystem;
    Checkpoint checkpoint;
    std::error_code ignored;
    const fs::path single = directory / "model.safetensors", index_path = directory / "model.safetensors.index.json";
    if (fs::exists(single, ignored)) {
        checkpoint.add_file(single);
        return checkpoint;
    }
    if (!fs::exists(index_path, ignored)) {
        std::string message = "The directory has neither model.safetensors nor model.safetensors.index.json.";
        if (fs::exists(directory / "pytorch_model.bin", ignored) || fs::exists(directory / "pytorch_model.bin.index.json", ignored)) {
            message += " Its pytorch_model.bin must be converted to safetensors first.";
        }
        throw LoadError(LoadError::Kind::not_found, message);
    }

    const std::string index_name = index_path.filename().string();
    auto bad_index = [&](const std::string& what) { return LoadError(LoadError::Kind::invalid, index_name + " " + what + "."); };
    const nlohmann::json index = read_json_file(index_path, kMaxIndexBytes);
    const auto map = index.is_object() ? index.find("weight_map") : index.end();
    if (!index.is_object() || map == index.end() || !map->is_object() || map->empty()) throw bad_index("has no weight_map");

    std::map<std::string, std::size_t> shards;
    for (const auto& [tensor, file] : map->items()) {
        if (!file.is_string()) throw bad_index("has a weight_map entry that is not a file name: " + in_quotes(tensor));
        const auto& shard = file.get_ref<const std::string&>();
        // a name, never a way out of the directory
        if (shard.empty() || shard.front() == '.' || shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
            throw bad_index("names a shard outside its directory: " + in_quotes(shard));
        }
        shards.emplace(shard, 0);
        if (shards.size() > kMaxShards) throw bad_index("names too many shards");
    }
    for (auto& [shard, file] : shards) {
        if (!fs::exists(directory / shard, ignored)) {
            throw LoadError(LoadError::Kind::not_found, index_name + " names " + in_quotes(shard) + ", which is missing.");
        }
        file = checkpoint.files_.size();
        checkpoint.add_file(directory / shard);
    }
    for (const auto& [tensor, file] : map->items()) {
        const SafeTensor* found = checkpoint.find(tensor);
        if (found == nullptr || found->file != shards.at(file.get_ref<const std::string&>())) {
            throw bad_index("says that " + in_quotes(tensor) + " is in " + in_quotes(file.get_ref<const std::string&>()) +
                            ", where it is not");
        }
    }
    return checkpoint;
}

void Checkpoint::add_file(const std::filesystem::path& path) {
    auto file = std::make_shared<const MappedFile>(path);
    for (auto& [name, tensor] : parse_safetensors(file->bytes(), file->name())) {
        tensor.file = files_.size();
        if (!tensors_.emplace(name, std::move(tensor)).second) {
            throw LoadError(LoadError::Kind::invalid,
                            "The tensor " + in_quotes(name) + " is in two files; one of them is " + file->name() + ".");
        }
    }
    files_.push_back(std::move(file));
}

const SafeTensor* Checkpoint::find(std::string_view name) const {
    const auto it = tensors_.find(name);
    return it == tensors_.end() ? nullptr : &it->second;
}

}  // namespace tfserve
