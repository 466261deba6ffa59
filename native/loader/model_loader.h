// From a path to a model that llama.cpp can run.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/types.h"
#include "llama.h"
#include "loader/load_error.h"
#include "loader/mapped_file.h"
#include "loader/quantization.h"

namespace tfserve {

/// Type of the weight matrices in memory. Vectors (norms, biases) are always float32.
enum class WeightType : std::uint8_t { as_stored, bfloat16, float16, float32 };

struct LoadOptions {
    std::filesystem::path path;                ///< a .gguf file, or a directory with config.json and safetensors
    WeightType dtype = WeightType::as_stored;  ///< a GGUF file keeps its own types, whatever is asked for
    std::int32_t gpu_layers = -1;              ///< layers on a GPU where there is one; negative: all
    bool zero_copy = true;                     ///< let weights that need no change stay in the mapped checkpoint
    /// Quantises matrices of float types while they are loaded; null: not. `dtype` is then for the matrices that are not quantised.
    const QuantizationScheme* quantization = nullptr;
    std::int32_t threads = 1;  ///< that convert and quantise
};

struct LoadProgress {
    std::size_t tensors_done = 0, tensors_total = 0;  ///< total 0: not known (GGUF)
    std::uint64_t bytes_done = 0, bytes_total = 0;
};
/// Called on the loading thread.
using ProgressFn = std::function<void(const LoadProgress&)>;

/// What is known of a loaded model.
struct ModelInfo {
    enum class Format : std::uint8_t { safetensors, gguf };

    Format format = Format::safetensors;
    std::string architecture;  ///< class name of transformers, or general.architecture of a GGUF file
    std::string llama_architecture;
    std::string dtype;         ///< of most weights: bfloat16, ..., q4_1
    std::string quantization;  ///< name of the scheme that made them so; empty: they were not quantised here
    std::uint64_t num_parameters = 0;
    std::uint64_t weight_bytes = 0;   ///< in memory, mapped or not
    std::uint64_t mapped_bytes = 0;   ///< of them, used in place from the checkpoint's files
    std::int32_t context_length = 0;  ///< positions the model was made for
    std::int32_t vocab_size = 0;      ///< entries of a logits row
    std::int32_t hidden_size = 0;
    std::int32_t num_layers = 0;
    std::int32_t num_heads = 0;
    std::int32_t num_kv_heads = 0;
    std::int32_t head_dim = 0;            ///< of k and v; 0 where they differ
    std::optional<TokenId> bos_token_id;  ///< of config.json or the GGUF file; generation_config.json goes before it
    std::vector<TokenId> eos_token_ids;
    std::vector<std::string> warnings;  ///< sentences for the log
    std::vector<std::string> notes;     ///< the same, nothing to worry about
    double files_ms = 0;                ///< time to map the files and to read what is not weights
    double weights_ms = 0;              ///< time to put the weights where they are computed with, quantised_ms included
    double quantized_ms = 0;            ///< time to quantise
};

/// A model and the files its weights may lie in; the files are let go after the model.
class LoadedModel {
   public:
    struct Free {
        void operator()(llama_model* model) const { llama_model_free(model); }
    };
    using ModelPtr = std::unique_ptr<llama_model, Free>;

    LoadedModel(ModelPtr model, ModelInfo info, std::vector<std::shared_ptr<const MappedFile>> files)
        : files_(std::move(files)), info_(std::move(info)), model_(std::move(model)) {}

    llama_model* get() const { return model_.get(); }
    const ModelInfo& info() const { return info_; }

   private:
    std::vector<std::shared_ptr<const MappedFile>> files_;  // declared before the model: destroyed after it
    ModelInfo info_;
    ModelPtr model_;
};

/// Loads a model. Thread safe; loads are done one after the other, because llama.cpp's log is one a process.
/// `cancel` (may be null) is looked at between tensors. Throws LoadError; never ends the process for bad input.
LoadedModel load_model(const LoadOptions& options, const ProgressFn& progress = {}, const std::atomic<bool>* cancel = nullptr);

}  // namespace tfserve
