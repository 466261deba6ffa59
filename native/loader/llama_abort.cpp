#include "loader/llama_abort.h"

#include <cstdio>
#include <mutex>
#include <stdexcept>

#include "ggml.h"

namespace tfserve {

namespace {

thread_local int guards = 0;

// Called by ggml_abort(), which ends the process when this returns. The frames in between are C with unwind tables, or C++.
void on_abort(const char* message) {
    if (guards > 0) throw std::runtime_error(message);
    std::fprintf(stderr, "%s\n", message);
}

}  // namespace

AbortGuard::AbortGuard() {
    static std::once_flag installed;
    std::call_once(installed, [] { ggml_set_abort_callback(&on_abort); });
    ++guards;
}

AbortGuard::~AbortGuard() { --guards; }

}  // namespace tfserve
