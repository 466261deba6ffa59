// One log for our native code and for llama.cpp and ggml below it.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace tfserve {

enum class LogLevel : std::uint8_t { debug, info, warn, error, off };

/// Gets whole lines without their newline, at or above the threshold, one at a time; from any thread.
using LogSink = std::function<void(LogLevel, std::string_view line)>;

/// Lines below this level are dropped. Starts as `warn`.
void set_log_level(LogLevel level);
LogLevel log_level();
/// Replaces the sink; an empty one brings back the default, which writes to stderr.
void set_log_sink(LogSink sink);
/// Sends one line.
void log(LogLevel level, std::string_view line);
/// Makes llama.cpp and ggml log here. Done once for the process; may be called again.
void capture_llama_log();

}  // namespace tfserve
