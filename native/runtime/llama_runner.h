// Computes step plans on libllama: through the paged caches, or, for models that it does not serve, on upstream's own cache.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model_runner.h"
#include "runtime/kv_sizes.h"

struct ggml_threadpool;
struct llama_context;
struct llama_model;

namespace tfserve {

namespace paged {
class StepExecutor;
}

/// Type of the cache's entries. float32 keeps attention exact for float32 models.
enum class KvType : std::uint8_t { float32, float16, bfloat16, q8_0 };
/// "float32", "float16", "bfloat16", "q8_0".
const char* kv_type_name(KvType type);
std::optional<KvType> kv_type_from_name(std::string_view name);

struct LlamaRunnerOptions {
    bool paged = true;                     ///< false: upstream's cache, whatever the model
    std::int32_t block_size = 16;          ///< cells a page, a power of two
    std::vector<std::int32_t> num_blocks;  ///< pages of each of the model's groups, see kv_groups()
    std::int32_t max_num_seqs = 64;        ///< 1..256
    std::int32_t max_batch_tokens = 2048;  ///< tokens a step
    std::int32_t max_model_len = 0;        ///< prompt + output of one sequence; 0: what the model was trained for
    KvType type_k = KvType::float16;
    KvType type_v = KvType::float16;
    std::int32_t n_threads = 0;  ///< 0: the cores this process may use
};

/// How a runner was set up, for logs.
struct RunnerInfo {
    bool paged = false;
    std::string kernel;  ///< attention kernel; empty when not paged
    std::int32_t n_threads = 1;
    std::uint64_t kv_bytes = 0;  ///< of the pools when all of them is in use; committed on use
    KvType type_k = KvType::float16;
    KvType type_v = KvType::float16;
};

/// What a runner with these options (paged, block_size and types count) keeps for a model, in the order of
/// RunnerCapabilities::groups: layers that see everything, then those with a window. Not paged: one group of all layers.
std::vector<KvGroupShape> kv_groups(const llama_model& model, const LlamaRunnerOptions& options);

class LlamaRunner final : public ModelRunner {
   public:
    /// `model` is kept alive; to share a LoadedModel: std::shared_ptr<llama_model>(loaded, loaded->get()).
    /// max_batch_tokens and max_num_seqs may come out lower than asked for, see capabilities().
    /// Throws std::invalid_argument for options out of range, RunnerError when the model cannot generate or memory is short.
    LlamaRunner(std::shared_ptr<llama_model> model, const LlamaRunnerOptions& options);
    ~LlamaRunner() override;

    const RunnerCapabilities& capabilities() const override { return capabilities_; }
    void execute(const StepPlan& plan) override;
    std::span<float> logits(std::size_t row, std::size_t index) override;

    const RunnerInfo& info() const { return info_; }
    /// Steps that could reuse the graph of the step before them.
    std::int32_t graphs_reused() const;

   private:
    struct FreeContext {
        void operator()(llama_context* ctx) const;
    };
    struct FreeThreads {
        void operator()(ggml_threadpool* pool) const;
    };
    /// Arrays of a llama_batch.
    struct Batch {
        std::vector<std::int32_t> pos, n_seq_id, slot;
        std::vector<std::int32_t*> seq_id;
        std::vector<std::int8_t> logits;
        std::vector<TokenId> token;
    };
    /// Where a row's wanted logits begin in the batch.
    struct RowLogits {
        std::int32_t first = 0;
        std::int32_t count = 0;
    };

    void create_context(const LlamaRunnerOptions& options, bool paged);
    void check(const StepPlan& plan) const;
    void fill_batch(const StepPlan& plan);
    void begin_paged(const StepPlan& plan);
    void drop(SlotId slot, std::int32_t from);
    void set_capabilities(const LlamaRunnerOptions& options);
    void decode(const StepPlan& plan);

    std::shared_ptr<llama_model> model_;
    std::unique_ptr<ggml_threadpool, FreeThreads> threads_;  // outlives the context
    std::unique_ptr<llama_context, FreeContext> ctx_;
    std::unique_ptr<paged::StepExecutor> executor_;  // the context's; null when not paged
    RunnerCapabilities capabilities_;
    RunnerInfo info_;
    Batch batch_;
    std::vector<RowLogits> row_logits_;
};

}  // namespace tfserve
