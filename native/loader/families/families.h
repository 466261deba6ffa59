// The families there are; each is a file of its own.
#pragma once

#include "loader/families/family.h"

namespace tfserve {

Family llama_family();
Family qwen2_family();
/// For what llama.cpp's qwen2 graph does not know: a head size of its own, and stretched rotary embeddings.
Family qwen2_as_llama_family();
Family qwen3_family();

}  // namespace tfserve
