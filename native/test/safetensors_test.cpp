#include "loader/safetensors.h"

#include <sys/stat.h>

#include <random>

#include "checkpoint_files.h"
#include "loader/load_error.h"
#include "testing.h"

namespace tfserve {

using testing::safetensors_bytes;
using testing::TemporaryDirectory;
using testing::zero_safetensors;

namespace {

std::span<const std::byte> as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

/// The message of the LoadError that parsing raises, empty when it raises none.
std::string refusal(const std::string& bytes) {
    try {
        parse_safetensors(as_bytes(bytes), "model.safetensors");
        return "";
    } catch (const LoadError& error) {
        return error.what();
    }
}

std::string refusal_of(const std::filesystem::path& directory) {
    try {
        Checkpoint::open(directory);
        return "";
    } catch (const LoadError& error) {
        return error.what();
    }
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

constexpr const char* kIndex = "model.safetensors.index.json";

}  // namespace

TEST(safetensors_reads_types_shapes_and_data) {
    std::string bytes = safetensors_bytes(
        R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
        R"("b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},"c":{"dtype":"I64","shape":[0,4],"data_offsets":[26,26]}}   )",
        26);
    bytes[bytes.size() - 1] = 0x40;
    const auto tensors = parse_safetensors(as_bytes(bytes), "x");
    REQUIRE(tensors.size() == 3);
    CHECK(tensors.at("a").dtype == DType::float32);
    CHECK_EQ(tensors.at("a").shape, (std::vector<std::int64_t>{2, 3}));
    CHECK_EQ(tensors.at("a").elements(), 6);
    CHECK_EQ(tensors.at("a").data.size(), 24u);
    CHECK(tensors.at("b").dtype == DType::bfloat16);
    CHECK_EQ(tensors.at("b").elements(), 1);
    CHECK(tensors.at("b").data[1] == std::byte{0x40});
    CHECK(tensors.at("c").dtype == DType::other);
    CHECK_EQ(tensors.at("c").elements(), 0);
}

TEST(safetensors_refuses_hostile_headers) {
    struct Case {
        const char* header;
        std::size_t data;
        const char* reason;
    };
    const Case cases[] = {
        {"", 0, "does not start with"},
        {"[]", 0, "does not start with"},
        {"{", 0, "not valid JSON"},
        {"{\"a\"", 0, "not valid JSON"},
        {"{} trailing", 0, "not valid JSON"},
        {"{\"\xff\":{}}", 0, "not valid JSON"},
        {R"({"a":1})", 0, "unexpected place"},
        {R"({"a":[]})", 0, "unexpected place"},
        {R"({"a":null})", 0, "null"},
        {R"({"a":{}})", 0, "lacks"},
        {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "lacks"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "not two numbers"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "too long"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,5]}})", 5, "does not fit its shape"},
        {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "does not fit its shape"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3, "beyond the end"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5, "describes 4 bytes"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "ends before"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "hole"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})", 6, "overlap"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "overlap"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "twice"},
        {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "twice"},
        {R"({"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", 4, "unknown dtype"},
        {R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4, "unexpected place"},
        {R"({"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}})", 4, "unexpected place"},
        {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "unexpected place"},
        {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "negative"},
        {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "not whole"},
        {R"({"a":{"dtype":"F32","shape":[1e30],"data_offsets":[0,4]}})", 4, "not whole"},
        {R"({"a":{"dtype":"F32","shape":[99999999999999999999999],"data_offsets":[0,4]}})", 4, "not whole"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}})", 4, "beyond the end"},
        {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4, "too large"},
        {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "overflows"},
        {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", 0, "overflows"},
        {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4, "too long"},
        {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1, "does not fit its shape"},
        {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":{}}})", 4, "unknown field"},
        {R"({"__metadata__":7})", 0, "unexpected place"},
        {R"({"__metadata__":{"a":{}}})", 0, "unexpected place"},
        {R"({"__metadata__":{"a":7}})", 0, "unexpected place"},
    };
    for (const Case& c : cases) {
        const std::string message = refusal(safetensors_bytes(c.header, c.data));
        if (!CHECK(contains(message, c.reason))) testing::report(__FILE__, __LINE__, std::string(c.header) + " -> " + message);
    }
    CHECK_EQ(refusal(safetensors_bytes("{}", 0)), "");
}

TEST(safetensors_refuses_headers_that_lie_about_their_size) {
    for (std::uint64_t size :
         {std::uint64_t{3}, std::uint64_t{1} << 20, std::uint64_t{100'000'001}, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
        std::string bytes = safetensors_bytes("{}", 0);
        std::memcpy(bytes.data(), &size, sizeof size);
        CHECK(!refusal(bytes).empty());
    }
    for (std::size_t size = 0; size < 8; ++size) CHECK(!refusal(std::string(size, '{')).empty());
    // nesting costs no stack
    CHECK(!refusal(safetensors_bytes("{\"a\":" + std::string(200'000, '['), 0)).empty());
    CHECK(!refusal(safetensors_bytes("{\"__metadata__\":{\"a\":" + std::string(200'000, '{'), 0)).empty());
}

TEST(safetensors_every_truncation_is_refused) {
    const std::string whole = zero_safetensors({{"a.weight", {4, 8}}, {"b.bias", {8}}});
    for (std::size_t size = 0; size < whole.size(); ++size) CHECK(!refusal(whole.substr(0, size)).empty());
    CHECK_EQ(refusal(whole), "");
}

TEST(safetensors_mutated_headers_never_escape) {
    const std::string whole = zero_safetensors({{"model.a", {4, 8}}, {"model.b", {8}}, {"c", {2, 2, 2}}});
    std::mt19937_64 random(7);
    int accepted = 0;
    for (int round = 0; round < 10'000; ++round) {
        std::string bytes = whole;
        const int changes = 1 + static_cast<int>(random() % 4);
        for (int i = 0; i < changes; ++i) {
            const std::size_t at = random() % (whole.size() - 90);
            switch (random() % 4) {
                case 0: bytes[at] = static_cast<char>(random()); break;
                case 1: bytes[at] = "0123456789[]{},:\"-.eE"[random() % 21]; break;
                case 2: bytes.erase(at, 1 + random() % 8); break;
                default: bytes.insert(at, 1, static_cast<char>(random())); break;
            }
        }
        try {
            for (const auto& [name, tensor] : parse_safetensors(as_bytes(bytes), "x")) {
                // what is accepted lies inside the file
                CHECK(tensor.data.data() >= as_bytes(bytes).data() &&
                      tensor.data.data() + tensor.data.size() <= as_bytes(bytes).data() + bytes.size());
                if (dtype_size(tensor.dtype) != 0) CHECK_EQ(tensor.data.size(), tensor.elements() * dtype_size(tensor.dtype));
            }
            ++accepted;
        } catch (const LoadError&) {}
    }
    CHECK(accepted < 10'000);
}

TEST(checkpoint_of_one_file) {
    TemporaryDirectory directory;
    directory.write("model.safetensors", zero_safetensors({{"a", {2, 3}}}));
    const Checkpoint checkpoint = Checkpoint::open(directory.path());
    REQUIRE(checkpoint.find("a") != nullptr);
    CHECK(checkpoint.find("b") == nullptr);
    CHECK_EQ(checkpoint.files().size(), 1u);
}

TEST(checkpoint_of_shards) {
    TemporaryDirectory directory;
    directory.write("model-00001-of-00002.safetensors", zero_safetensors({{"a", {2, 3}}, {"b", {4}}}));
    directory.write("model-00002-of-00002.safetensors", zero_safetensors({{"c", {5}}}));
    directory.write(kIndex, R"({"metadata":{"total_size":30},"weight_map":{"a":"model-00001-of-00002.safetensors",
        "b":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}})");
    const Checkpoint checkpoint = Checkpoint::open(directory.path());
    CHECK_EQ(checkpoint.tensors().size(), 3u);
    CHECK_EQ(checkpoint.find("a")->file, 0u);
    CHECK_EQ(checkpoint.find("c")->file, 1u);
}

TEST(checkpoint_refuses_bad_indices) {
    struct Case {
        const char* index;
        const char* reason;
    };
    const Case cases[] = {
        {"[]", "no weight_map"},
        {"{}", "no weight_map"},
        {R"({"weight_map":{}})", "no weight_map"},
        {R"({"weight_map":[]})", "no weight_map"},
        {R"({"weight_map":{"a":1}})", "not a file name"},
        {R"({"weight_map":{"a":""}})", "outside"},
        {R"({"weight_map":{"a":"."}})", "outside"},
        {R"({"weight_map":{"a":".."}})", "outside"},
        {R"({"weight_map":{"a":"../s1"}})", "outside"},
        {R"({"weight_map":{"a":"/etc/passwd"}})", "outside"},
        {R"({"weight_map":{"a":"x/s1"}})", "outside"},
        {R"({"weight_map":{"a":"x\\s1"}})", "outside"},
        {R"({"weight_map":{"a":"s1\u0000"}})", "outside"},
        {R"({"weight_map":{"a":"s9"}})", "missing"},
        {R"({"weight_map":{"a":"s2"}})", "where it is not"},
        {R"({"weight_map":{"nothing":"s1"}})", "where it is not"},
        {R"({"weight_map":{"a":"s1","a":"s1"}})", "twice"},
        {R"({"weight_map":{"a":"s1","c":"s3"}})", "in two files"},
        {R"({"weight_map":{"a":"s1","c":"directory"}})", "not a regular file"},
        {R"({"weight_map":{"a":"pipe"}})", "not a regular file"},
        {R"({"weight_map":{"a":"empty"}})", "empty"},
        {R"({"weight_map":{"a":"loop"}})", "missing"},
        {R"({"weight_map")", "not valid JSON"},
        {"", "empty"},
    };
    TemporaryDirectory directory;
    directory.write("s1", zero_safetensors({{"a", {2}}}));
    directory.write("s2", zero_safetensors({{"c", {2}}}));
    directory.write("s3", zero_safetensors({{"a", {2}}, {"c", {2}}}));
    directory.write("empty", "");
    std::filesystem::create_directory(directory.path() / "directory");
    std::filesystem::create_symlink("loop", directory.path() / "loop");
    REQUIRE(::mkfifo((directory.path() / "pipe").c_str(), 0600) == 0);
    for (const Case& c : cases) {
        directory.write(kIndex, c.index);
        const std::string message = refusal_of(directory.path());
        if (!CHECK(contains(message, c.reason))) testing::report(__FILE__, __LINE__, std::string(c.index) + " -> " + message);
        CHECK(!contains(message, directory.path().string()));
    }
    directory.write(kIndex, "{\"weight_map\":" + std::string(100'000, '['));
    CHECK(contains(refusal_of(directory.path()), "nested too deeply"));
}

TEST(checkpoint_missing_files_are_explained) {
    TemporaryDirectory directory;
    CHECK(contains(refusal_of(directory.path()), "neither model.safetensors"));
    directory.write("pytorch_model.bin", "x");
    CHECK(contains(refusal_of(directory.path()), "must be converted"));
}

}  // namespace tfserve
