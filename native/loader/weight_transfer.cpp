#include "loader/weight_transfer.h"

#include <algorithm>
#include <exception>
#include <new>
#include <string>
#include <unordered_map>

namespace tfserve {

namespace {

/// Carries the state through llama.cpp's callback, one call a tensor.
class Transfer {
   public:
    Transfer(const TransferSource& source, const LoadOptions& options, const ProgressFn& progress, const std::atomic<bool>* cancel,
             WriteStats& stats)
        : source_(source), write_{options.zero_copy, options.threads}, progress_(progress), cancel_(cancel), stats_(stats) {
        for (const PlannedTensor& tensor : source.tensors) by_name_.emplace(tensor.name, &tensor);
        total_.tensors_total = source.tensors.size();
        total_.bytes_total = source.types.bytes;
    }

    static void set_data(ggml_tensor* target, void* self) { static_cast<Transfer*>(self)->set(target); }

    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
    }

   private:
    void set(ggml_tensor* target) try {
        if (cancel_ != nullptr && cancel_->load(std::memory_order_relaxed)) {
            throw LoadError(LoadError::Kind::cancelled, "Loading was cancelled.");
        }
        const auto planned = by_name_.find(target->name);
        if (planned == by_name_.end()) {
            throw LoadError(LoadError::Kind::unsupported, std::string("This architecture needs the tensor ") + target->name +
                                                              ", which has no counterpart in the checkpoint.");
        }
        const std::uint64_t mapped = stats_.mapped_bytes;
        write_tensor(*planned->second, target, write_, stats_);
        if (stats_.mapped_bytes == mapped) discard(*planned->second);
        // a tied matrix may come twice, once a device
        total_.tensors_done = std::min(total_.tensors_done + 1, total_.tensors_total);
        total_.bytes_done = std::min(total_.bytes_done + ggml_nbytes(target), total_.bytes_total);
        if (progress_) progress_(total_);
    } catch (...) {
        // llama.cpp turns every exception into a null model; this one tells why
        failure_ = std::current_exception();
        throw;
    }

    // what has been copied is not read again: a second copy of the weights would stay in memory
    void discard(const PlannedTensor& planned) const {
        for (const SafeTensor* source : planned.sources) source_.files[source->file]->discard(source->data);
        if (planned.scales != nullptr) source_.files[planned.scales->file]->discard(planned.scales->data);
    }

    const TransferSource& source_;
    const WriteOptions write_;
    const ProgressFn& progress_;
    const std::atomic<bool>* cancel_;
    WriteStats& stats_;
    std::unordered_map<std::string, const PlannedTensor*> by_name_;
    LoadProgress total_;
    std::exception_ptr failure_;
};

}  // namespace

void describe_tensors(gguf_context* description, const std::vector<PlannedTensor>& tensors, const std::vector<ggml_type>& types) {
    const GgmlPtr shapes(ggml_init({ggml_tensor_overhead() * (tensors.size() + 1), nullptr, true}));
    if (!shapes) throw std::bad_alloc();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const std::vector<std::int64_t> inner_first(tensors[i].shape.rbegin(), tensors[i].shape.rend());
        ggml_tensor* shape = ggml_new_tensor(shapes.get(), types[i], static_cast<int>(inner_first.size()), inner_first.data());
        ggml_set_name(shape, tensors[i].name.c_str());
        gguf_add_tensor(description, shape);
    }
}

LoadedModel::ModelPtr transfer_weights(const TransferSource& source, const LoadOptions& options, const ProgressFn& progress,
                                       const std::atomic<bool>* cancel, WriteStats& stats) {
    Transfer transfer(source, options, progress, cancel, stats);
    llama_model_params parameters = llama_model_default_params();
    parameters.n_gpu_layers = options.gpu_layers;
    const LlamaLogCapture log;
    LoadedModel::ModelPtr model(llama_model_init_from_user(source.description, &Transfer::set_data, &transfer, parameters));
    transfer.rethrow();
    if (!model) {
        if (!log.has_error("unable to allocate") && !log.has_error("bad_alloc")) throw source.refusal(log);
        throw LoadError(LoadError::Kind::out_of_memory,
                        "There is not enough memory for the model's weights (" + std::to_string(source.types.bytes >> 20) + " MiB).");
    }
    return model;
}

std::string overflow_warning(const WriteStats& stats) {
    if (stats.overflows == 0) return "";
    return std::to_string(stats.overflows) +
           " weights are too large for float16 and became infinite, as they do in torch; bfloat16 or float32 would keep them.";
}

}  // namespace tfserve
