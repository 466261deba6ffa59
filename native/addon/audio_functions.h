// The addon's functions on sound, as src/engine/native-audio.ts declares them. Logic lives in speech/; this only translates.
#pragma once

#include <napi.h>

namespace tfserve::addon {

/// Puts Resampler, resample, logMel and speechStretches among the addon's exports.
void export_audio_functions(Napi::Env env, Napi::Object exports);

}  // namespace tfserve::addon
