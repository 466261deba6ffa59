// What llama.cpp asserts of a model while it is being loaded.
#pragma once

namespace tfserve {

/// While one lives, an assertion of ggml or llama.cpp that fails on this thread throws std::runtime_error (with their text, for the log
/// alone) instead of ending the process: their graphs take for granted what a damaged file need not keep. Only for work that leaves
/// nothing behind when it is given up: setting up a model, reserving its graphs.
class AbortGuard {
   public:
    AbortGuard();
    ~AbortGuard();
    AbortGuard(const AbortGuard&) = delete;
    AbortGuard& operator=(const AbortGuard&) = delete;
};

}  // namespace tfserve
