#include "addon/model_object.h"

#include <utility>

#include "addon/classes.h"
#include "addon/convert.h"
#include "addon/load_worker.h"
#include "addon/promise_worker.h"

namespace tfserve::addon {

// The engine's thread calls `wake`, so the host goes first. Work under way on libuv's pool holds the handle.
struct ModelObject::Handle {
    std::unique_ptr<WakeFunction> wake;
    std::shared_ptr<ModelHost> host;  // shared with calls that are under way on libuv's pool
    Napi::Env env;
    bool closing = false;

    explicit Handle(Napi::Env env) : env(env) { napi_add_env_cleanup_hook(env, &Handle::on_teardown, this); }
    ~Handle() {
        napi_remove_env_cleanup_hook(env, &Handle::on_teardown, this);
        host.reset();
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    // process.exit() with a model still open: stop its thread while its functions still exist
    static void on_teardown(void* self) {
        auto* handle = static_cast<Handle*>(self);
        if (handle->host && !handle->closing) handle->host->stop_engine();
        handle->host.reset();
        handle->wake.reset();
    }
};

class ModelLoadWorker final : public LoadWorker {
   public:
    ModelLoadWorker(Napi::Env env, ModelHostOptions options, std::shared_ptr<ModelObject::Handle> handle, const Napi::Function& on_progress)
        : LoadWorker(env, on_progress), options_(std::move(options)), handle_(std::move(handle)) {}

   private:
    void load(const Progress& progress) override {
        WakeFunction* wake = handle_->wake.get();
        handle_->host = ModelHost::load(options_, progress, [wake] { wake->call(); });
    }
    Napi::Object loaded() override {
        Napi::Object object = Env().GetInstanceData<AddonClasses>()->model.New({});
        ModelObject::Unwrap(object)->handle_ = std::move(handle_);
        return object;
    }

    ModelHostOptions options_;
    std::shared_ptr<ModelObject::Handle> handle_;
};

Napi::Function ModelObject::define(Napi::Env env) {
    return DefineClass(env, "NativeModel",
                       {
                           InstanceAccessor<&ModelObject::info>("info"),
                           InstanceMethod<&ModelObject::submit>("submit"),
                           InstanceMethod<&ModelObject::abort>("abort"),
                           InstanceMethod<&ModelObject::take>("take"),
                           InstanceMethod<&ModelObject::stats>("stats"),
                           InstanceMethod<&ModelObject::tokenize>("tokenize"),
                           InstanceMethod<&ModelObject::token_bytes>("tokenBytes"),
                           InstanceMethod<&ModelObject::compile_constraint>("compileConstraint"),
                           InstanceMethod<&ModelObject::set_busy>("setBusy"),
                           InstanceMethod<&ModelObject::close>("close"),
                       });
}

ModelObject::ModelObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {}
ModelObject::~ModelObject() = default;

Napi::Value ModelObject::load(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (info.Length() < 3 || !info[0].IsObject() || !info[1].IsFunction() || !info[2].IsFunction()) {
        throw Napi::TypeError::New(env, "Expected loadModel(options, onWake, onProgress).");
    }
    auto handle = std::make_shared<Handle>(env);
    handle->wake = std::make_unique<WakeFunction>(env, info[1].As<Napi::Function>());
    auto* worker = new ModelLoadWorker(env, to_host_options(info[0].As<Napi::Object>()), std::move(handle), info[2].As<Napi::Function>());
    const Napi::Promise promise = worker->promise();
    worker->Queue();  // deletes itself when it has settled
    return promise;
}

ModelObject::Handle& ModelObject::open_handle(Napi::Env env) {
    if (!handle_ || !handle_->host || handle_->closing) throw Napi::Error::New(env, "The model has been closed.");
    return *handle_;
}

Napi::Value ModelObject::info(const Napi::CallbackInfo& info) { return to_js(info.Env(), open_handle(info.Env()).host->info()); }

Napi::Value ModelObject::submit(const Napi::CallbackInfo& info) {
    if (info.Length() < 1 || !info[0].IsObject()) throw Napi::TypeError::New(info.Env(), "Expected submit(request).");
    Handle& handle = open_handle(info.Env());
    return to_js(info.Env(), handle.host->engine().submit(to_request(info[0].As<Napi::Object>())));
}

Napi::Value ModelObject::abort(const Napi::CallbackInfo& info) {
    if (info.Length() < 1 || !info[0].IsNumber()) throw Napi::TypeError::New(info.Env(), "Expected abort(id).");
    const std::int64_t id = info[0].As<Napi::Number>().Int64Value();
    // closing aborts everything: an abort that comes later has nothing left to do
    const bool open = handle_ && handle_->host && !handle_->closing;
    if (open && id > 0) handle_->host->engine().abort(static_cast<SequenceId>(id));
    return info.Env().Undefined();
}

Napi::Value ModelObject::take(const Napi::CallbackInfo& info) {
    if (!handle_ || !handle_->host || handle_->closing) return Napi::Array::New(info.Env());
    return to_js(info.Env(), handle_->host->engine().take(), handle_->host->tokens());
}

Napi::Value ModelObject::stats(const Napi::CallbackInfo& info) { return to_js(info.Env(), open_handle(info.Env()).host->engine().stats()); }

Napi::Value ModelObject::tokenize(const Napi::CallbackInfo& info) {
    if (info.Length() < 2 || !info[0].IsString() || !info[1].IsBoolean()) {
        throw Napi::TypeError::New(info.Env(), "Expected tokenize(text, addSpecialTokens).");
    }
    return PromiseWorker<std::vector<TokenId>>::run(
        info.Env(),
        [host = open_handle(info.Env()).host, text = info[0].As<Napi::String>().Utf8Value(), add = info[1].As<Napi::Boolean>().Value()] {
            return host->tokenize(text, add);
        },
        [](Napi::Env env, std::vector<TokenId>& ids) -> Napi::Value {
            Napi::Int32Array array = Napi::Int32Array::New(env, ids.size());
            std::copy(ids.begin(), ids.end(), array.Data());
            return array;
        });
}

Napi::Value ModelObject::token_bytes(const Napi::CallbackInfo& info) {
    if (info.Length() < 1 || !info[0].IsNumber()) throw Napi::TypeError::New(info.Env(), "Expected tokenBytes(id).");
    return to_bytes(info.Env(), open_handle(info.Env()).host->tokens().bytes(info[0].As<Napi::Number>().Int32Value()));
}

Napi::Value ModelObject::compile_constraint(const Napi::CallbackInfo& info) {
    if (info.Length() < 1 || !info[0].IsString()) throw Napi::TypeError::New(info.Env(), "Expected compileConstraint(json).");
    return PromiseWorker<ConstraintHandle>::run(
        info.Env(),
        [host = open_handle(info.Env()).host, json = info[0].As<Napi::String>().Utf8Value()] { return host->constraints().compile(json); },
        [](Napi::Env env, ConstraintHandle& constraint) { return to_js(env, std::move(constraint)); });
}

Napi::Value ModelObject::set_busy(const Napi::CallbackInfo& info) {
    if (info.Length() < 1 || !info[0].IsBoolean()) throw Napi::TypeError::New(info.Env(), "Expected setBusy(boolean).");
    if (handle_ && handle_->wake) handle_->wake->set_referenced(info[0].As<Napi::Boolean>().Value());
    return info.Env().Undefined();
}

Napi::Value ModelObject::close(const Napi::CallbackInfo& info) {
    open_handle(info.Env()).closing = true;
    // freeing a model joins its engine's thread: not on this thread
    return PromiseWorker<bool>::run(
        info.Env(),
        [handle = handle_] {
            // a call that is under way may hold the host for a while; its engine must be still before the wake function goes
            handle->host->stop_engine();
            handle->host.reset();
            return true;
        },
        [handle = handle_](Napi::Env env, bool&) -> Napi::Value {
            handle->wake->close();
            return env.Undefined();
        });
}

}  // namespace tfserve::addon
