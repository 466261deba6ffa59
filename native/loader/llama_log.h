// llama.cpp's log while a model loads.
#pragma once

#include <mutex>
#include <string>

#include "llama.h"

namespace tfserve {

/// Passes llama.cpp's log on to whoever had it and keeps the last error, for the log only: it may contain paths of this machine.
/// One at a time in a process; the constructor waits for the previous one.
class LlamaLogCapture {
   public:
    LlamaLogCapture();
    ~LlamaLogCapture();
    LlamaLogCapture(const LlamaLogCapture&) = delete;
    LlamaLogCapture& operator=(const LlamaLogCapture&) = delete;

    /// True when an error line of this load contains `text`.
    bool has_error(const char* text) const { return errors_.find(text) != std::string::npos; }

   private:
    static void receive(ggml_log_level level, const char* text, void* self);

    std::unique_lock<std::mutex> turn_;
    ggml_log_callback previous_ = nullptr;
    void* previous_data_ = nullptr;
    std::string errors_;
};

}  // namespace tfserve
