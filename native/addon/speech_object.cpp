#include "addon/speech_object.h"

#include <limits>
#include <utility>

#include "addon/classes.h"
#include "addon/load_worker.h"
#include "addon/promise_worker.h"
#include "addon/speech_convert.h"
#include "addon/wake_function.h"
#include "runtime/log.h"

namespace tfserve::addon {

// The engine's thread calls `wake`, so the engine goes first. Work under way on libuv's pool holds the handle.
struct SpeechObject::Handle {
    std::unique_ptr<WakeFunction> wake;
    std::unique_ptr<speech::SpeechEngine> engine;
    Napi::Env env;
    bool closing = false;

    explicit Handle(Napi::Env env) : env(env) { napi_add_env_cleanup_hook(env, &Handle::on_teardown, this); }
    ~Handle() {
        napi_remove_env_cleanup_hook(env, &Handle::on_teardown, this);
        engine.reset();
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    // process.exit() with a model still open: stop its thread while its functions still exist
    static void on_teardown(void* self) {
        auto* handle = static_cast<Handle*>(self);
        if (!handle->closing) handle->engine.reset();
        handle->wake.reset();
    }
};

class SpeechLoadWorker final : public LoadWorker {
   public:
    SpeechLoadWorker(Napi::Env env, speech::WhisperModelOptions options, std::shared_ptr<SpeechObject::Handle> handle,
                     const Napi::Function& on_progress)
        : LoadWorker(env, on_progress), options_(std::move(options)), handle_(std::move(handle)) {}

   private:
    void load(const Progress& progress) override {
        WakeFunction* wake = handle_->wake.get();
        handle_->engine = std::make_unique<speech::SpeechEngine>(
            speech::WhisperModel::load(options_, progress), [wake] { wake->call(); },
            [](std::string_view line) { log(LogLevel::error, line); });
    }
    Napi::Object loaded() override {
        Napi::Object object = Env().GetInstanceData<AddonClasses>()->speech_model.New({});
        SpeechObject::Unwrap(object)->handle_ = std::move(handle_);
        return object;
    }

    speech::WhisperModelOptions options_;
    std::shared_ptr<SpeechObject::Handle> handle_;
};

Napi::Function SpeechObject::define(Napi::Env env) {
    return DefineClass(env, "NativeSpeechModel",
                       {
                           InstanceAccessor<&SpeechObject::info>("info"),
                           InstanceMethod<&SpeechObject::open>("open"),
                           InstanceMethod<&SpeechObject::close_slot>("closeSlot"),
                           InstanceMethod<&SpeechObject::encode>("encode"),
                           InstanceMethod<&SpeechObject::decode>("decode"),
                           InstanceMethod<&SpeechObject::score>("score"),
                           InstanceMethod<&SpeechObject::align>("align"),
                           InstanceMethod<&SpeechObject::abort>("abort"),
                           InstanceMethod<&SpeechObject::take>("take"),
                           InstanceMethod<&SpeechObject::stats>("stats"),
                           InstanceMethod<&SpeechObject::set_busy>("setBusy"),
                           InstanceMethod<&SpeechObject::close>("close"),
                       });
}

SpeechObject::SpeechObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {}
SpeechObject::~SpeechObject() = default;

Napi::Value SpeechObject::load(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 3 || !info[0].IsObject() || !info[1].IsFunction() || !info[2].IsFunction()) {
        throw Napi::TypeError::New(env, "Expected loadSpeechModel(options, onWake, onProgress).");
    }
    auto handle = std::make_shared<Handle>(env);
    handle->wake = std::make_unique<WakeFunction>(env, info[1].As<Napi::Function>());
    auto* worker =
        new SpeechLoadWorker(env, to_speech_options(info[0].As<Napi::Object>()), std::move(handle), info[2].As<Napi::Function>());
    const Napi::Promise promise = worker->promise();
    worker->Queue();  // deletes itself when it has settled
    return promise;
}

SpeechObject::Handle& SpeechObject::open_handle(Napi::Env env) {
    if (!handle_ || !handle_->engine || handle_->closing) throw Napi::Error::New(env, "The model has been closed.");
    return *handle_;
}

Napi::Value SpeechObject::info(const Napi::CallbackInfo& info) { return to_js(info.Env(), open_handle(info.Env()).engine->info()); }

Napi::Value SpeechObject::open(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), open_handle(info.Env()).engine->open());
}

static std::int32_t slot_of(const Napi::CallbackInfo& info) {
    const std::int64_t slot = to_id(info[0], "slot");
    if (slot > std::numeric_limits<std::int32_t>::max()) throw Napi::RangeError::New(info.Env(), "'slot' is out of range.");
    return static_cast<std::int32_t>(slot);
}

Napi::Value SpeechObject::close_slot(const Napi::CallbackInfo& info) {
    const std::int32_t slot = slot_of(info);
    // closing the model closes its slots: what comes later has nothing left to do
    if (handle_ && handle_->engine && !handle_->closing) handle_->engine->close(slot);
    return info.Env().Undefined();
}

Napi::Value SpeechObject::abort(const Napi::CallbackInfo& info) {
    const std::int32_t slot = slot_of(info);
    if (handle_ && handle_->engine && !handle_->closing) handle_->engine->abort(slot);
    return info.Env().Undefined();
}

void SpeechObject::submit(const Napi::CallbackInfo& info, std::int64_t op, speech::SpeechOp work) {
    const auto problem = open_handle(info.Env()).engine->submit(slot_of(info), op, std::move(work));
    if (problem) throw Napi::RangeError::New(info.Env(), *problem);
}

Napi::Value SpeechObject::encode(const Napi::CallbackInfo& info) {
    submit(info, to_id(info[2], "op"), to_encode(info[1]));
    return info.Env().Undefined();
}

static Napi::Object request_of(const Napi::CallbackInfo& info) {
    if (!info[1].IsObject()) throw Napi::TypeError::New(info.Env(), "Expected a slot and a request.");
    return info[1].As<Napi::Object>();
}

Napi::Value SpeechObject::decode(const Napi::CallbackInfo& info) {
    const Napi::Object request = request_of(info);
    submit(info, to_id(request.Get("op"), "op"), to_decode(request));
    return info.Env().Undefined();
}

Napi::Value SpeechObject::score(const Napi::CallbackInfo& info) {
    const Napi::Object request = request_of(info);
    submit(info, to_id(request.Get("op"), "op"), to_score(request));
    return info.Env().Undefined();
}

Napi::Value SpeechObject::align(const Napi::CallbackInfo& info) {
    const Napi::Object request = request_of(info);
    submit(info, to_id(request.Get("op"), "op"), to_align(request));
    return info.Env().Undefined();
}

Napi::Value SpeechObject::take(const Napi::CallbackInfo& info) {
    if (!handle_ || !handle_->engine || handle_->closing) return Napi::Array::New(info.Env());
    return to_js(info.Env(), handle_->engine->take());
}

Napi::Value SpeechObject::stats(const Napi::CallbackInfo& info) { return to_js(info.Env(), open_handle(info.Env()).engine->stats()); }

Napi::Value SpeechObject::set_busy(const Napi::CallbackInfo& info) {
    if (info.Length() < 1 || !info[0].IsBoolean()) throw Napi::TypeError::New(info.Env(), "Expected setBusy(boolean).");
    if (handle_ && handle_->wake) handle_->wake->set_referenced(info[0].As<Napi::Boolean>().Value());
    return info.Env().Undefined();
}

Napi::Value SpeechObject::close(const Napi::CallbackInfo& info) {
    open_handle(info.Env()).closing = true;
    // freeing a model joins its engine's thread: not on this thread
    return PromiseWorker<bool>::run(
        info.Env(),
        [handle = handle_] {
            handle->engine.reset();
            return true;
        },
        [handle = handle_](Napi::Env env, bool&) -> Napi::Value {
            handle->wake->close();
            return env.Undefined();
        });
}

}  // namespace tfserve::addon
