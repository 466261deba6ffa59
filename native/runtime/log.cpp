#include "runtime/log.h"

#include <atomic>
#include <cstdio>
#include <mutex>
#include <string>
#include <utility>

#include "llama.h"

namespace tfserve {
namespace {

std::atomic<LogLevel> g_level{LogLevel::warn};

struct Sink {
    std::mutex mutex;
    LogSink write;
    // llama.cpp writes a line in pieces; a piece without level continues the last one's
    std::string pending;
    LogLevel pending_level = LogLevel::info;
};

Sink& sink() {
    static Sink instance;
    return instance;
}

const char* name_of(LogLevel level) {
    switch (level) {
        case LogLevel::debug: return "debug";
        case LogLevel::info: return "info";
        case LogLevel::warn: return "warning";
        default: return "error";
    }
}

void write_line(Sink& s, LogLevel level, std::string_view line) {
    if (level < g_level.load(std::memory_order_relaxed)) return;
    if (s.write) {
        s.write(level, line);
    } else {
        std::fprintf(stderr, "tfserve: %s: %.*s\n", name_of(level), static_cast<int>(line.size()), line.data());
    }
}

LogLevel level_of(ggml_log_level level, LogLevel last) {
    switch (level) {
        case GGML_LOG_LEVEL_ERROR: return LogLevel::error;
        case GGML_LOG_LEVEL_CONT: return last;
        default: return LogLevel::debug;  // its news are not for our users: what concerns them, our code says
    }
}

void on_llama_log(ggml_log_level level, const char* text, void*) {
    Sink& s = sink();
    const std::lock_guard lock(s.mutex);
    s.pending_level = level_of(level, s.pending_level);
    if (s.pending_level < g_level.load(std::memory_order_relaxed)) {
        s.pending.clear();
        return;
    }
    s.pending += text;
    std::size_t begin = 0;
    for (std::size_t end; (end = s.pending.find('\n', begin)) != std::string::npos; begin = end + 1) {
        if (end > begin) write_line(s, s.pending_level, std::string_view(s.pending).substr(begin, end - begin));
    }
    s.pending.erase(0, begin);
}

}  // namespace

void set_log_level(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }

LogLevel log_level() { return g_level.load(std::memory_order_relaxed); }

void set_log_sink(LogSink write) {
    Sink& s = sink();
    const std::lock_guard lock(s.mutex);
    s.write = std::move(write);
}

void log(LogLevel level, std::string_view line) {
    if (level < g_level.load(std::memory_order_relaxed)) return;
    Sink& s = sink();
    const std::lock_guard lock(s.mutex);
    write_line(s, level, line);
}

void capture_llama_log() {
    llama_log_set(on_llama_log, nullptr);  // ggml's log too
}

}  // namespace tfserve
