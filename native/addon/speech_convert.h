// JavaScript values <-> the speech engine's structs. Everything that comes in is checked here once more.
#pragma once

#include <napi.h>

#include <vector>

#include "speech/speech_engine.h"
#include "speech/whisper_model.h"

namespace tfserve::addon {

/// Throw Napi::TypeError / Napi::RangeError naming the field at fault.
speech::WhisperModelOptions to_speech_options(const Napi::Object& from);
speech::EncodeOp to_encode(const Napi::Value& mel);
speech::DecodeOp to_decode(const Napi::Object& from);
speech::ScoreOp to_score(const Napi::Object& from);
speech::AlignOp to_align(const Napi::Object& from);
/// A slot or an operation's id: a whole number of at least 0.
std::int64_t to_id(const Napi::Value& value, const char* name);

Napi::Object to_js(Napi::Env env, const speech::WhisperModelInfo& info);
Napi::Object to_js(Napi::Env env, const speech::SpeechStats& stats);
Napi::Array to_js(Napi::Env env, const std::vector<speech::SpeechResult>& results);

}  // namespace tfserve::addon
