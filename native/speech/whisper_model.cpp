#include "speech/whisper_model.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "loader/load_error.h"
#include "runtime/machine.h"
#include "speech/cpu_ops.h"
#include "speech/whisper_graph.h"
#include "speech/whisper_source.h"

namespace tfserve::speech {

namespace {

// Rounds of spinning before a waiting thread sleeps: longer than the pause between two steps of a busy engine; an idle one's threads sleep.
constexpr std::uint32_t kPoll = 1;
constexpr int kMaxThreads = 256;
constexpr int kMaxKernels = 4;

struct FreeBackend {
    void operator()(ggml_backend* backend) const { ggml_backend_free(backend); }
};
struct FreeThreads {
    void operator()(ggml_threadpool* threads) const { ggml_threadpool_free(threads); }
};
struct FreeAllocator {
    void operator()(ggml_gallocr* allocator) const { ggml_gallocr_free(allocator); }
};

double ms_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

const tf_linear_kernel& choose_kernel(const std::string& name) {
    const tf_linear_kernel* list[kMaxKernels];
    const int count = tf_linear_list(list, kMaxKernels);
    for (int i = 0; i < count; ++i) {
        if (name.empty() || name == list[i]->name) return *list[i];
    }
    throw LoadError(LoadError::Kind::unsupported, "This processor has no kernel " + in_quotes(name) + ".");
}

}  // namespace

struct WhisperModel::Impl {
    WhisperModelInfo info;
    WhisperWeights weights;
    CellLayout layout;
    std::vector<std::unique_ptr<SlotMemory>> slots;
    std::unique_ptr<ggml_threadpool, FreeThreads> threads;
    std::unique_ptr<ggml_backend, FreeBackend> backend;
    std::unique_ptr<ggml_gallocr, FreeAllocator> allocator;
    std::unique_ptr<CpuOps> ops;

    void start_backend(int count) {
        ggml_threadpool_params params = ggml_threadpool_params_default(count);
        params.poll = kPoll;
        threads.reset(ggml_threadpool_new(&params));
        backend.reset(ggml_backend_cpu_init());
        allocator.reset(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
        if (!threads || !backend || !allocator) throw std::bad_alloc();
        ggml_backend_cpu_set_n_threads(backend.get(), count);
        ggml_backend_cpu_set_threadpool(backend.get(), threads.get());
        ops = std::make_unique<CpuOps>(count);
    }

    // the largest graph's buffer is kept; smaller ones use it
    void allocate(const BuiltGraph& built) {
        if (ggml_gallocr_alloc_graph(allocator.get(), built.graph)) return;
        // after a failure the allocator takes graphs of this shape for placed, without a buffer to place them in
        allocator.reset();
        allocator.reset(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
        throw std::bad_alloc();
    }

    /// Bytes of the buffer that the largest graphs need: the encoder's, and a pass of the decoder over all tokens of a window.
    std::uint64_t compute_bytes() const {
        const SlotMemory memory(weights.config, layout);
        const RowRun run{&memory, 0, weights.config.max_target_positions, 0};
        const auto measure = [](const BuiltGraph& built) {
            const std::unique_ptr<ggml_gallocr, FreeAllocator> measuring(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
            if (!measuring) throw std::bad_alloc();
            std::size_t bytes = 0;
            ggml_gallocr_reserve_n_size(measuring.get(), built.graph, nullptr, nullptr, &bytes);
            return std::uint64_t{bytes};
        };
        ops->clear();
        const std::uint64_t encoder = measure(build_encoder(weights, *ops, layout, memory));
        ops->clear();
        const std::uint64_t decoder = measure(build_decoder(weights, *ops, layout, {&run, 1}, run.rows, {}, {}));
        ops->clear();
        return std::max(encoder, decoder);
    }

    RunStatus compute(const BuiltGraph& built, const Abort& abort) {
        const auto asked = [](void* data) {
            const Abort& wanted = *static_cast<const Abort*>(data);
            return wanted && wanted();
        };
        ggml_backend_cpu_set_abort_callback(backend.get(), asked, const_cast<Abort*>(&abort));
        ops->start();
        switch (ggml_backend_graph_compute(backend.get(), built.graph)) {
            case GGML_STATUS_SUCCESS: return RunStatus::done;
            case GGML_STATUS_ABORTED: return RunStatus::aborted;
            default: throw std::bad_alloc();  // of the buffer that threads share
        }
    }

    void embed(TokenId token, std::int32_t position, float* to) const {
        const auto d = static_cast<std::size_t>(weights.config.d_model);
        weights.token_embedding.read_row(token, to);
        const float* at = weights.decoder_positions.data() + static_cast<std::size_t>(position) * d;
        for (std::size_t i = 0; i < d; ++i) to[i] += at[i];
    }
};

WhisperModel::WhisperModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WhisperModel::~WhisperModel() = default;

std::unique_ptr<WhisperModel> WhisperModel::load(const WhisperModelOptions& options, const Progress& progress) {
    auto begun = std::chrono::steady_clock::now();
    WhisperSource source = open_whisper(options.path);
    auto impl = std::make_unique<Impl>();
    WhisperModelInfo& info = impl->info;
    info.config = source.config;
    info.threads = std::clamp(options.threads > 0 ? options.threads : usable_cores(), 1, kMaxThreads);
    info.files_ms = ms_since(begun);

    begun = std::chrono::steady_clock::now();
    const tf_linear_kernel& kernel = choose_kernel(options.kernel);
    info.kernel = kernel.name;
    try {
        impl->weights = pack_weights(source.config, source.tensors, kernel, options.dtype, info.threads, source.name, progress);
    } catch (const std::bad_alloc&) {
        throw LoadError(LoadError::Kind::out_of_memory, "There is not enough memory for the weights.");
    }
    info.dtype = impl->weights.dtype;
    info.parameters = impl->weights.parameters;
    info.weight_bytes = impl->weights.bytes;
    if (impl->weights.overflows > 0) {
        info.warnings.push_back(std::to_string(impl->weights.overflows) + " weights are too large for float16 and became infinite.");
    }
    if (!source.vocabulary.empty()) {
        info.ggml = std::make_shared<const GgmlVocabulary>(GgmlVocabulary{std::move(source.vocabulary)});
    }
    info.weights_ms = ms_since(begun);

    begun = std::chrono::steady_clock::now();
    impl->layout.type = options.float32_cells ? TF_KERNEL_F32 : TF_KERNEL_F16;
    impl->layout.cell_bytes = 2 * static_cast<std::size_t>(source.config.d_model) * impl->layout.element();
    info.bytes_per_slot = SlotMemory::bytes(source.config, impl->layout);
    const std::uint64_t fitting = options.slot_memory == 0 ? UINT64_MAX : options.slot_memory / info.bytes_per_slot;
    if (fitting == 0) {
        throw LoadError(LoadError::Kind::out_of_memory, "The memory does not hold one recording's keys and values (" +
                                                            std::to_string((info.bytes_per_slot >> 20) + 1) + " MiB).");
    }
    info.slots = static_cast<std::int32_t>(std::min<std::uint64_t>(fitting, static_cast<std::uint64_t>(std::max(options.max_slots, 1))));
    impl->slots.resize(static_cast<std::size_t>(info.slots));
    try {
        impl->start_backend(info.threads);
        // a small checkpoint may ask for activations of any size: better refused here than killed in the first request
        const std::uint64_t wanted = impl->compute_bytes();
        const std::uint64_t memory = options.compute_memory > 0 ? options.compute_memory : available_memory();
        if (memory > 0 && wanted > memory) {
            throw LoadError(LoadError::Kind::out_of_memory,
                            "The memory does not hold what the model computes with (" + std::to_string((wanted >> 20) + 1) + " MiB).");
        }
    } catch (const std::bad_alloc&) {
        throw LoadError(LoadError::Kind::out_of_memory, "There is not enough memory for the speech model's threads and buffers.");
    }
    info.context_ms = ms_since(begun);
    return std::unique_ptr<WhisperModel>(new WhisperModel(std::move(impl)));
}

const WhisperModelInfo& WhisperModel::info() const { return impl_->info; }

void WhisperModel::reserve(std::int32_t slot) {
    auto& memory = impl_->slots[static_cast<std::size_t>(slot)];
    if (!memory) memory = std::make_unique<SlotMemory>(impl_->weights.config, impl_->layout);
}

void WhisperModel::release(std::int32_t slot) { impl_->slots[static_cast<std::size_t>(slot)].reset(); }

RunStatus WhisperModel::encode(std::int32_t slot, std::span<const float> mel, const Abort& abort, std::vector<float>* output) {
    const WhisperConfig& config = impl_->weights.config;
    impl_->ops->clear();
    const BuiltGraph built = build_encoder(impl_->weights, *impl_->ops, impl_->layout, *impl_->slots[static_cast<std::size_t>(slot)]);
    impl_->allocate(built);
    const auto bins = static_cast<std::size_t>(config.num_mel_bins), frames = static_cast<std::size_t>(config.mel_frames());
    auto* input = static_cast<float*>(built.input->data);
    std::fill_n(input, bins, 0.0f);
    std::fill_n(input + (frames + 1) * bins, bins, 0.0f);
    for (std::size_t b = 0; b < bins; ++b) {
        for (std::size_t t = 0; t < frames; ++t) input[(t + 1) * bins + b] = mel[b * frames + t];
    }
    const RunStatus status = impl_->compute(built, abort);
    if (output != nullptr) {
        const auto* values = static_cast<const float*>(built.output->data);
        output->assign(values, values + ggml_nelements(built.output));
    }
    return status;
}

void WhisperModel::decode(std::span<const DecodeRow> rows, std::vector<float>& logits) {
    std::vector<RowRun> runs;
    std::vector<std::int32_t> logit_rows;
    std::int32_t last_slot = -1;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        if (rows[r].slot != last_slot) {
            last_slot = rows[r].slot;
            runs.push_back({impl_->slots[static_cast<std::size_t>(last_slot)].get(), static_cast<std::int32_t>(r), 0, rows[r].position});
        }
        ++runs.back().rows;
        if (rows[r].logits) logit_rows.push_back(static_cast<std::int32_t>(r));
    }
    impl_->ops->clear();
    const BuiltGraph built =
        build_decoder(impl_->weights, *impl_->ops, impl_->layout, runs, static_cast<std::int32_t>(rows.size()), logit_rows, {});
    impl_->allocate(built);
    const auto d = static_cast<std::size_t>(impl_->weights.config.d_model);
    auto* input = static_cast<float*>(built.input->data);
    for (std::size_t r = 0; r < rows.size(); ++r) impl_->embed(rows[r].token, rows[r].position, input + r * d);
    impl_->compute(built, {});
    logits.clear();
    if (built.output != nullptr) {
        const auto* values = static_cast<const float*>(built.output->data);
        logits.assign(values, values + ggml_nelements(built.output));
    }
}

RunStatus WhisperModel::cross_attention(std::int32_t slot, std::span<const TokenId> tokens, std::span<const DecoderHead> heads,
                                        const Abort& abort, std::vector<float>& weights) {
    const WhisperConfig& config = impl_->weights.config;
    std::vector<std::vector<std::int32_t>> by_layer(static_cast<std::size_t>(config.decoder_layers));
    for (const auto& [layer, head] : heads) by_layer[static_cast<std::size_t>(layer)].push_back(head);
    const auto rows = static_cast<std::int32_t>(tokens.size());
    const RowRun run{impl_->slots[static_cast<std::size_t>(slot)].get(), 0, rows, 0};
    impl_->ops->clear();
    const BuiltGraph built = build_decoder(impl_->weights, *impl_->ops, impl_->layout, {&run, 1}, rows, {}, by_layer);
    impl_->allocate(built);
    const auto d = static_cast<std::size_t>(config.d_model);
    for (std::size_t r = 0; r < tokens.size(); ++r) {
        impl_->embed(tokens[r], static_cast<std::int32_t>(r), static_cast<float*>(built.input->data) + r * d);
    }
    const RunStatus status = impl_->compute(built, abort);
    if (status == RunStatus::aborted) return status;

    // layer by layer as computed, in the order of `heads` as asked for
    const std::size_t plane = tokens.size() * static_cast<std::size_t>(config.max_source_positions);
    weights.resize(heads.size() * plane);
    std::size_t tensor = 0;
    for (std::size_t layer = 0; layer < by_layer.size(); ++layer) {
        if (by_layer[layer].empty()) continue;
        const auto* from = static_cast<const float*>(built.watched[tensor++]->data);
        for (std::size_t i = 0; i < heads.size(); ++i) {
            if (static_cast<std::size_t>(heads[i].first) != layer) continue;
            std::copy_n(from, plane, weights.data() + i * plane);
            from += plane;
        }
    }
    return status;
}

}  // namespace tfserve::speech
