#include "loader/model_loader.h"

#include <mutex>
#include <new>

#include "loader/checkpoint_loader.h"
#include "loader/gguf_loader.h"
#include "loader/llama_abort.h"

namespace tfserve {

LoadedModel load_model(const LoadOptions& options, const ProgressFn& progress, const std::atomic<bool>* cancel) {
    namespace fs = std::filesystem;
    static std::once_flag initialised;
    std::call_once(initialised, llama_backend_init);

    std::error_code error;
    const fs::file_status status = fs::status(options.path, error);
    const std::string name =
        in_quotes(options.path.has_filename() ? options.path.filename().string() : options.path.parent_path().filename().string());
    if (!fs::exists(status)) throw LoadError(LoadError::Kind::not_found, "There is no file or directory " + name + ".");
    const AbortGuard guard;
    try {
        if (fs::is_directory(status)) {
            if (!fs::exists(options.path / "config.json", error)) {
                throw LoadError(LoadError::Kind::not_found,
                                "The directory " + name + " has no config.json; to load a GGUF file, name the file itself.");
            }
            return load_checkpoint(options, progress, cancel);
        }
        return load_gguf(options, progress, cancel);
    } catch (const std::bad_alloc&) {
        throw LoadError(LoadError::Kind::out_of_memory, "There is not enough memory to load " + name + ".");
    }
}

}  // namespace tfserve
