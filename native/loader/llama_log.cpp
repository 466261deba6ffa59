#include "loader/llama_log.h"

namespace tfserve {

namespace {

std::mutex& process_log() {
    static std::mutex mutex;
    return mutex;
}

}  // namespace

LlamaLogCapture::LlamaLogCapture() : turn_(process_log()) {
    llama_log_get(&previous_, &previous_data_);
    llama_log_set(&LlamaLogCapture::receive, this);
}

LlamaLogCapture::~LlamaLogCapture() { llama_log_set(previous_, previous_data_); }

void LlamaLogCapture::receive(ggml_log_level level, const char* text, void* self) {
    auto& capture = *static_cast<LlamaLogCapture*>(self);
    constexpr std::size_t kEnough = 16384;
    if (level == GGML_LOG_LEVEL_ERROR && capture.errors_.size() < kEnough) capture.errors_ += text;
    if (capture.previous_ != nullptr) capture.previous_(level, text, capture.previous_data_);
}

}  // namespace tfserve
