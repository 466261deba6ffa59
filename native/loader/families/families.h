// The families there are; each is a file of its own.
#pragma once

#include "loader/families/family.h"

namespace tfserve {

Family llama_family();
Family mistral_family();
/// The text part of Mistral 3 with pictures.
Family mistral3_family();
Family mixtral_family();
Family qwen2_family();
/// For what llama.cpp's qwen2 graph does not know: a head size of its own, and stretched rotary embeddings.
Family qwen2_as_llama_family();
Family qwen2_moe_family();
Family qwen3_family();
Family qwen3_moe_family();
Family gemma2_family();
Family gemma3_family();
/// The text part of Gemma 3 with pictures.
Family gemma3_multimodal_family();
Family gemma4_family();
/// The text part of Gemma 4 with pictures and sound.
Family gemma4_multimodal_family();
Family phi3_family();
Family granite_family();
Family olmo2_family();
Family smollm3_family();
Family deepseek_v2_family();
Family deepseek_v3_family();
Family gpt_oss_family();
/// The same with experts in MXFP4, as published.
Family gpt_oss_mxfp4_family();

}  // namespace tfserve
