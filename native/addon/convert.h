// JavaScript values <-> the engine's structs. Everything that comes in is checked here once more.
#pragma once

#include <napi.h>

#include <memory>

#include "engine/engine.h"
#include "runtime/model_host.h"
#include "text/token_table.h"

namespace tfserve::addon {

/// Throw Napi::TypeError / Napi::RangeError naming the field at fault.
ModelHostOptions to_host_options(const Napi::Object& from);
EngineRequest to_request(const Napi::Object& from);

using ConstraintHandle = std::shared_ptr<const ConstraintSource>;
/// A compiled constraint for to_request(); it lives as long as the value does.
Napi::Value to_js(Napi::Env env, ConstraintHandle constraint);

Napi::Object to_js(Napi::Env env, const ModelHostInfo& info);
Napi::Object to_js(Napi::Env env, const EngineStats& stats);
Napi::Array to_js(Napi::Env env, const std::vector<Delta>& deltas, const TokenTable& tokens);
Napi::Value to_js(Napi::Env env, const SubmitResult& result);

/// Bytes as a Uint8Array of their own.
Napi::Value to_bytes(Napi::Env env, std::string_view bytes);

}  // namespace tfserve::addon
