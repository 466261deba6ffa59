// What the binary exports: see src/engine/native.ts.
#include <napi.h>

#include <string_view>
#include <utility>

#include "addon/audio_functions.h"
#include "addon/classes.h"
#include "addon/model_object.h"
#include "addon/promise_worker.h"
#include "addon/speech_object.h"
#include "chat/chat_template.h"
#include "llama.h"
#include "runtime/log.h"

namespace tfserve::addon {

namespace {

constexpr std::pair<std::string_view, LogLevel> kLogLevels[] = {
    {"debug", LogLevel::debug}, {"info", LogLevel::info}, {"warning", LogLevel::warn}, {"error", LogLevel::error}};

Napi::Value system_info(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), llama_print_system_info()); }

Napi::Value set_log_level(const Napi::CallbackInfo& info) {
    if (info.Length() < 1 || !info[0].IsString()) throw Napi::TypeError::New(info.Env(), "Expected setLogLevel(level).");
    const std::string name = info[0].As<Napi::String>().Utf8Value();
    for (const auto& [level_name, level] : kLogLevels) {
        if (name != level_name) continue;
        tfserve::set_log_level(level);
        return info.Env().Undefined();
    }
    throw Napi::RangeError::New(info.Env(), "Expected debug, info, warning or error.");
}

Napi::Value render_template(const Napi::CallbackInfo& info) {
    if (info.Length() < 3 || !info[0].IsString() || !info[1].IsString() || !info[2].IsNumber()) {
        throw Napi::TypeError::New(info.Env(), "Expected renderTemplate(template, contextJson, nowSeconds).");
    }
    return PromiseWorker<std::string>::run(
        info.Env(),
        [source = info[0].As<Napi::String>().Utf8Value(), context = info[1].As<Napi::String>().Utf8Value(),
         now = info[2].As<Napi::Number>().Int64Value()] { return render_chat_template(source, context, now); },
        [](Napi::Env env, std::string& text) -> Napi::Value { return Napi::String::New(env, text); });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
    // owned by the environment
    auto* classes = new AddonClasses{Napi::Persistent(ModelObject::define(env)), Napi::Persistent(SpeechObject::define(env))};
    env.SetInstanceData(classes);
    exports.Set("systemInfo", Napi::Function::New<system_info>(env));
    exports.Set("setLogLevel", Napi::Function::New<set_log_level>(env));
    exports.Set("renderTemplate", Napi::Function::New<render_template>(env));
    export_audio_functions(env, exports);
    exports.Set("loadModel", Napi::Function::New<&ModelObject::load>(env));
    exports.Set("loadSpeechModel", Napi::Function::New<&SpeechObject::load>(env));
    return exports;
}

}  // namespace

}  // namespace tfserve::addon

static Napi::Object init_addon(Napi::Env env, Napi::Object exports) { return tfserve::addon::init(env, exports); }

NODE_API_MODULE(tfserve, init_addon)
