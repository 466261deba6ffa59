// One served model: weights, runner and engine, with every size decided.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "grammar/constraint_compiler.h"
#include "text/token_table.h"

namespace tfserve {

/// The deterministic stand-in for a model: its vocabulary and how long a step of it takes.
struct StandInHostOptions {
    std::int32_t vocab_size = 2048;
    std::int32_t step_micros = 0;
    std::int32_t token_micros = 0;
};

/// Sizes in bytes or tokens; 0 where a default is to be chosen.
struct ModelHostOptions {
    std::string path;                     ///< a GGUF file or a Hugging Face checkpoint directory
    std::string tokenizer_json;           ///< stands for the checkpoint's tokenizer.json; empty: the file itself
    std::string dtype = "auto";           ///< auto, bfloat16, float16, float32
    std::string quantization;             ///< a name of loader/quantization.h; empty: the weights are not quantised
    std::string kv_cache_dtype = "auto";  ///< auto, float32, float16, bfloat16, q8_0
    std::uint64_t kv_cache_memory = 0;    ///< a bound; reserved, committed as it fills
    std::int32_t max_batch_tokens = 0;
    std::int32_t max_num_seqs = 0;
    std::int32_t max_model_len = 0;
    std::int32_t max_waiting = 1024;
    std::int64_t max_waiting_tokens = std::int64_t{1} << 22;
    std::int32_t block_size = 16;
    std::int32_t threads = 0;
    bool prefix_caching = true;
    bool continuous_batching = true;
    bool paged_kv = true;
    std::optional<StandInHostOptions> stand_in;
};

/// What a GGUF file says in place of a checkpoint's JSON files.
struct GgufText {
    std::string chat_template;
    std::string bos_token;
    std::string eos_token;
    std::vector<TokenId> eos_token_ids;
};

/// Where the time of a load went, in milliseconds. Parts overlap where they are done at once.
struct LoadTimings {
    double files = 0;        ///< map the files, read what is not weights
    double weights = 0;      ///< put the weights where they are computed with, `quantize` included
    double quantize = 0;     ///< make the quantised ones
    double vocabulary = 0;   ///< read the bytes of the tokens
    double context = 0;      ///< buffers, threads, the largest graph
    double first_token = 0;  ///< compute one: weights are read, the first graph is made
};

struct ModelHostInfo {
    std::string architecture;
    std::string dtype;
    std::string quantization;  ///< what the weights were quantised to; empty: they were not
    std::string kv_cache_dtype;
    std::uint64_t parameters = 0;
    std::uint64_t weight_bytes = 0;
    std::int32_t vocab_size = 0;
    std::int32_t longest_token = 0;   ///< bytes
    std::int32_t context_length = 0;  ///< what the model was made for
    std::int32_t max_model_len = 0;   ///< what is served
    bool paged_kv = false;
    std::int32_t block_size = 0;
    std::vector<KvGroupSpec> kv_groups;  ///< how the memory was divided: layers that see everything, then those with a window
    std::int32_t kv_blocks = 0;          ///< pages of all groups
    std::uint64_t kv_bytes = 0;
    std::int32_t max_num_seqs = 0;
    std::int32_t max_batch_tokens = 0;
    std::int32_t threads = 0;
    std::string attention_kernel;
    LoadTimings timings;
    std::vector<std::string> warnings;
    std::vector<std::string> notes;  ///< like warnings, but nothing to worry about
    std::optional<GgufText> gguf;
};

class ModelHost {
   public:
    /// Tensors done and in all; called on the loading thread.
    using Progress = std::function<void(std::size_t done, std::size_t total)>;

    /// Throws std::runtime_error with a sentence for the user. `wake` as in Engine.
    static std::unique_ptr<ModelHost> load(const ModelHostOptions& options, const Progress& progress, Engine::Wake wake);
    ~ModelHost();
    ModelHost(const ModelHost&) = delete;
    ModelHost& operator=(const ModelHost&) = delete;

    /// Aborts everything and joins the engine's thread: `wake` is not called afterwards. engine() may not be used any more.
    void stop_engine();

    const ModelHostInfo& info() const;
    Engine& engine();
    const TokenTable& tokens() const;
    /// Thread safe.
    ConstraintCompiler& constraints();
    /// Ids by a GGUF file's own vocabulary. Throws std::runtime_error for a checkpoint directory. Thread safe.
    std::vector<TokenId> tokenize(const std::string& text, bool add_special_tokens) const;

   private:
    struct Impl;
    explicit ModelHost(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace tfserve
