#include "loader/gguf_quantizer.h"

#include <list>
#include <new>
#include <set>
#include <string>
#include <utility>

namespace tfserve {

namespace {

/// One GGUF file: its header and its bytes.
struct OpenGguf {
    std::shared_ptr<const MappedFile> file;
    GgufPtr header;
    GgmlPtr shapes;

    explicit OpenGguf(const std::filesystem::path& path) : file(std::make_shared<const MappedFile>(path)) {
        ggml_context* context = nullptr;
        header.reset(gguf_init_from_file(path.c_str(), {true, &context}));
        shapes.reset(context);
        if (!header) throw LoadError(LoadError::Kind::invalid, file->name() + " is damaged or truncated: its GGUF header cannot be read.");
    }
};

DType dtype_of(const ggml_tensor& tensor, const std::string& file) {
    switch (tensor.type) {
        case GGML_TYPE_F32: return DType::float32;
        case GGML_TYPE_F16: return DType::float16;
        case GGML_TYPE_BF16: return DType::bfloat16;
        case GGML_TYPE_F64: return DType::float64;
        default: break;
    }
    throw LoadError(LoadError::Kind::unsupported,
                    file + " holds a tensor of the type " + ggml_type_name(tensor.type) + " and cannot be quantised; serve it as it is.");
}

/// The tensors of all files of a model, as a plan that changes nothing but their types.
class GgufTensors {
   public:
    GgufTensors(const std::filesystem::path& path, const GgufSummary& summary) : summary_(summary) {
        parts_.emplace_back(path);
        for (std::int64_t part = 1; part < summary.splits; ++part) parts_.emplace_back(part_path(path, static_cast<int>(part)));
        for (const OpenGguf& part : parts_) {
            add(part);
            files_.push_back(part.file);
        }
    }

    const std::vector<PlannedTensor>& plan() const { return plan_; }
    const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }
    const gguf_context* metadata() const { return parts_.front().header.get(); }

   private:
    std::filesystem::path part_path(const std::filesystem::path& first, int part) const {
        char prefix[4096], path[4096];
        const int count = static_cast<int>(summary_.splits);
        const bool named = llama_split_prefix(prefix, sizeof prefix, first.c_str(), 0, count) > 0;
        if (named && llama_split_path(path, sizeof path, prefix, part, count) > 0) return path;
        throw LoadError(LoadError::Kind::invalid, first.filename().string() + " is one of " + std::to_string(count) +
                                                      " files, but not named as the first of them (...-00001-of-0000N.gguf).");
    }

    void add(const OpenGguf& part) {
        const std::size_t data = gguf_get_data_offset(part.header.get());
        for (ggml_tensor* tensor = ggml_get_first_tensor(part.shapes.get()); tensor != nullptr;
             tensor = ggml_get_next_tensor(part.shapes.get(), tensor)) {
            const std::string& file = part.file->name();
            if (!names_.insert(tensor->name).second || ggml_nelements(tensor) < 1) {
                throw LoadError(LoadError::Kind::invalid, file + ": the tensor " + in_quotes(tensor->name) + " is empty or there twice.");
            }
            SafeTensor& stored = stored_.emplace_back();
            stored.dtype = dtype_of(*tensor, file);
            for (int dim = ggml_n_dims(tensor); dim > 0; --dim) stored.shape.push_back(tensor->ne[dim - 1]);
            if (stored.shape.size() > 3) {
                throw LoadError(LoadError::Kind::unsupported, file + " holds a tensor of four dimensions and cannot be quantised.");
            }
            const std::size_t offset = gguf_get_tensor_offset(part.header.get(), gguf_find_tensor(part.header.get(), tensor->name));
            stored.data = part.file->bytes().subspan(data + offset, ggml_nbytes(tensor));
            stored.file = files_.size();

            PlannedTensor planned{.name = tensor->name, .sources = {&stored}};
            planned.shape = stored.shape;
            planned.whole = true;
            planned.view.row_stride = planned.width();
            planned.view.slice_stride = planned.rows() * planned.width();
            plan_.push_back(std::move(planned));
        }
    }

    const GgufSummary& summary_;
    std::list<OpenGguf> parts_;
    std::list<SafeTensor> stored_;  // the plan points at them
    std::vector<std::shared_ptr<const MappedFile>> files_;
    std::vector<PlannedTensor> plan_;
    std::set<std::string> names_;
};

}  // namespace

QuantizedGguf load_quantized_gguf(const LoadOptions& options, const GgufSummary& summary, const Refusal& refusal,
                                  const ProgressFn& progress, const std::atomic<bool>* cancel) {
    const GgufTensors tensors(options.path, summary);
    QuantizedGguf result;
    LoadOptions quantize = options;
    quantize.dtype = WeightType::as_stored;  // graphs of architectures that we do not know may rely on it
    result.types = target_types(tensors.plan(), quantize, summary.layers);
    const GgufPtr description(gguf_init_empty());
    if (!description) throw std::bad_alloc();
    gguf_set_kv(description.get(), tensors.metadata());
    describe_tensors(description.get(), tensors.plan(), result.types.types);
    result.model = transfer_weights({description.get(), tensors.plan(), result.types, tensors.files(), refusal}, quantize, progress, cancel,
                                    result.stats);
    for (const PlannedTensor& tensor : tensors.plan()) {
        result.num_parameters += static_cast<std::uint64_t>(tensor.slices() * tensor.rows() * tensor.width());
    }
    if (result.stats.mapped_bytes > 0) result.files = tensors.files();
    return result;
}

}  // namespace tfserve
