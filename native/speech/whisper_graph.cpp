#include "speech/whisper_graph.h"

#include <new>
#include <utility>

namespace tfserve::speech {

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kNodesPerLayer = 24;
constexpr std::size_t kOtherNodes = 32;

BuiltGraph empty_graph(std::int32_t layers) {
    const std::size_t nodes = kNodesPerLayer * static_cast<std::size_t>(layers) + kOtherNodes;
    ggml_init_params params{};
    params.mem_size = nodes * ggml_tensor_overhead() + ggml_graph_overhead_custom(nodes, false);
    params.no_alloc = true;
    BuiltGraph built;
    built.context.reset(ggml_init(params));
    if (!built.context) throw std::bad_alloc();
    built.graph = ggml_new_graph_custom(built.context.get(), nodes, false);
    return built;
}

/// Rows of one run, one after the other.
ggml_tensor* new_input(BuiltGraph& built, std::int64_t width, std::int64_t rows) {
    ggml_tensor* input = ggml_new_tensor_2d(built.context.get(), GGML_TYPE_F32, width, rows);
    ggml_set_input(input);
    built.input = input;
    return input;
}

}  // namespace

SlotMemory::SlotMemory(const WhisperConfig& config, const CellLayout& layout)
    : cell_bytes_(layout.cell_bytes),
      source_positions_(config.max_source_positions),
      target_positions_(config.max_target_positions),
      layers_(config.decoder_layers) {
    const std::size_t size = (static_cast<std::size_t>(bytes(config, layout)) + kAlignment - 1) / kAlignment * kAlignment;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, size)));
    if (!data_) throw std::bad_alloc();
}

std::uint64_t SlotMemory::bytes(const WhisperConfig& config, const CellLayout& layout) {
    const auto cells = static_cast<std::uint64_t>(config.max_source_positions + config.max_target_positions);
    return cells * static_cast<std::uint64_t>(config.decoder_layers) * layout.cell_bytes;
}

std::byte* SlotMemory::cross(std::int32_t layer, std::int32_t cell) const {
    return data_.get() +
           (static_cast<std::size_t>(layer) * static_cast<std::size_t>(source_positions_) + static_cast<std::size_t>(cell)) * cell_bytes_;
}

std::byte* SlotMemory::self(std::int32_t layer, std::int32_t cell) const {
    return cross(layers_, 0) +
           (static_cast<std::size_t>(layer) * static_cast<std::size_t>(target_positions_) + static_cast<std::size_t>(cell)) * cell_bytes_;
}

BuiltGraph build_encoder(const WhisperWeights& weights, CpuOps& ops, const CellLayout& layout, const SlotMemory& memory) {
    const WhisperConfig& config = weights.config;
    const std::int64_t d = config.d_model, positions = config.max_source_positions;
    const int heads = config.encoder_attention_heads, head_dim = config.d_model / heads;
    BuiltGraph built = empty_graph(config.encoder_layers + config.decoder_layers);
    ggml_context* const ctx = built.context.get();

    // windows of three positions lie one after the other in rows of time, with a row of zeros at either end
    ggml_tensor* x = new_input(built, config.num_mel_bins, config.mel_frames() + 2);
    x = ops.linear(ctx, weights.conv1, x, config.mel_frames(), {.gelu = true, .stride = config.num_mel_bins, .padding = 1});
    x = ops.linear(ctx, weights.conv2, x, positions, {.gelu = true, .constant = weights.encoder_positions.data(), .stride = 2 * d});

    const CellLayout in_rows{TF_KERNEL_F32, static_cast<std::size_t>(3 * d) * sizeof(float)};
    const AttentionRun all{0, config.max_source_positions, nullptr, config.max_source_positions, 0};
    for (const EncoderLayer& layer : weights.encoder) {
        ggml_tensor* h = ops.norm(ctx, layer.attention_norm.weight, layer.attention_norm.bias, x);
        h = ops.linear(ctx, layer.qkv, h, positions);
        h = ops.attention(ctx, h, heads, head_dim, in_rows, {all}, h, d);
        x = ops.linear(ctx, layer.attention_out, h, positions, {.residual = x});
        h = ops.norm(ctx, layer.mlp_norm.weight, layer.mlp_norm.bias, x);
        h = ops.linear(ctx, layer.mlp_up, h, positions, {.gelu = true});
        x = ops.linear(ctx, layer.mlp_down, h, positions, {.residual = x});
    }
    x = ops.norm(ctx, weights.encoder_norm.weight, weights.encoder_norm.bias, x);
    ggml_set_output(x);
    built.output = x;
    ggml_build_forward_expand(built.graph, x);

    for (std::int32_t i = 0; i < config.decoder_layers; ++i) {
        ggml_tensor* kv = ops.linear(ctx, weights.decoder[static_cast<std::size_t>(i)].cross_kv, x, positions);
        const StoreRun run{0, config.max_source_positions, memory.cross(i, 0)};
        ggml_build_forward_expand(built.graph, ops.store(ctx, kv, 0, 2 * d, layout, {run}));
    }
    return built;
}

BuiltGraph build_decoder(const WhisperWeights& weights, CpuOps& ops, const CellLayout& layout, std::span<const RowRun> runs,
                         std::int32_t rows, std::span<const std::int32_t> logit_rows, std::span<const std::vector<std::int32_t>> watched) {
    const WhisperConfig& config = weights.config;
    const std::int64_t d = config.d_model;
    const int heads = config.decoder_attention_heads, head_dim = config.d_model / heads;
    BuiltGraph built = empty_graph(config.decoder_layers);
    ggml_context* const ctx = built.context.get();
    ggml_tensor* x = new_input(built, d, rows);

    for (std::int32_t i = 0; i < config.decoder_layers; ++i) {
        const DecoderLayer& layer = weights.decoder[static_cast<std::size_t>(i)];
        std::vector<StoreRun> stores;
        std::vector<AttentionRun> self, cross;
        for (const RowRun& run : runs) {
            stores.push_back({run.first_row, run.rows, run.memory->self(i, run.position)});
            self.push_back({run.first_row, run.rows, run.memory->self(i, 0), run.position + 1, 1});
            cross.push_back({run.first_row, run.rows, run.memory->cross(i, 0), config.max_source_positions, 0});
        }
        ggml_tensor* h = ops.norm(ctx, layer.self_norm.weight, layer.self_norm.bias, x);
        h = ops.linear(ctx, layer.self_qkv, h, rows);
        // before the attention over what it writes
        ggml_build_forward_expand(built.graph, ops.store(ctx, h, d, 2 * d, layout, std::move(stores)));
        h = ops.attention(ctx, h, heads, head_dim, layout, std::move(self));
        x = ops.linear(ctx, layer.self_out, h, rows, {.residual = x});

        h = ops.norm(ctx, layer.cross_norm.weight, layer.cross_norm.bias, x);
        h = ops.linear(ctx, layer.cross_q, h, rows);
        if (!watched.empty() && !watched[static_cast<std::size_t>(i)].empty()) {
            std::vector<WatchedHead> wanted;
            for (std::int32_t head : watched[static_cast<std::size_t>(i)]) wanted.push_back({runs[0].memory->cross(i, 0), head});
            built.watched.push_back(ops.attention_weights(ctx, h, head_dim, config.max_source_positions, layout, std::move(wanted)));
            ggml_set_output(built.watched.back());
            ggml_build_forward_expand(built.graph, built.watched.back());
        }
        h = ops.attention(ctx, h, heads, head_dim, layout, std::move(cross));
        x = ops.linear(ctx, layer.cross_out, h, rows, {.residual = x});

        h = ops.norm(ctx, layer.mlp_norm.weight, layer.mlp_norm.bias, x);
        h = ops.linear(ctx, layer.mlp_up, h, rows, {.gelu = true});
        x = ops.linear(ctx, layer.mlp_down, h, rows, {.residual = x});
        ggml_build_forward_expand(built.graph, x);
    }
    if (logit_rows.empty()) return built;
    x = ops.rows(ctx, x, {logit_rows.begin(), logit_rows.end()});
    x = ops.norm(ctx, weights.decoder_norm.weight, weights.decoder_norm.bias, x);
    x = ops.linear(ctx, weights.output_matrix(), x, static_cast<std::int64_t>(logit_rows.size()));
    ggml_set_output(x);
    built.output = x;
    ggml_build_forward_expand(built.graph, x);
    return built;
}

}  // namespace tfserve::speech
