// Host memory of a KV pool: reserved when made, committed by the system page by page as cells are first written, and
// given back by a clear.
#pragma once

#include "ggml-backend.h"

namespace tfserve::paged {

/// Our buffer type where `buft` is the CPU's plain one (and the system can reserve memory lazily), else `buft` itself.
ggml_backend_buffer_type_t lazy_kv_buffer_type(ggml_backend_buffer_type_t buft);

}  // namespace tfserve::paged
