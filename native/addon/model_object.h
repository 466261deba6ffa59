// The JavaScript object of one loaded model. Logic lives in runtime/model_host and engine/; this only translates.
#pragma once

#include <napi.h>

#include <memory>

#include "runtime/model_host.h"

namespace tfserve::addon {

/// Calls a JavaScript function from the engine's thread; outlives neither the environment nor its own close().
class WakeFunction {
   public:
    WakeFunction(Napi::Env env, const Napi::Function& function);
    ~WakeFunction();
    WakeFunction(const WakeFunction&) = delete;
    WakeFunction& operator=(const WakeFunction&) = delete;

    /// From any thread; never blocks.
    void call();
    /// Whether the function keeps the process alive. JavaScript thread only.
    void set_referenced(bool referenced);
    /// No call arrives afterwards. JavaScript thread only.
    void close();

   private:
    Napi::Env env_;
    Napi::ThreadSafeFunction function_;
    bool referenced_ = false;
    bool closed_ = false;
};

class ModelObject : public Napi::ObjectWrap<ModelObject> {
   public:
    static Napi::Function define(Napi::Env env);
    /// loadModel(options, onWake, onProgress): Promise<NativeModel>
    static Napi::Value load(const Napi::CallbackInfo& info);
    explicit ModelObject(const Napi::CallbackInfo& info);
    ~ModelObject() override;

   private:
    struct Handle;  // the model and its wake function; shared with work that is still under way

    Napi::Value info(const Napi::CallbackInfo& info);
    Napi::Value submit(const Napi::CallbackInfo& info);
    Napi::Value abort(const Napi::CallbackInfo& info);
    Napi::Value take(const Napi::CallbackInfo& info);
    Napi::Value stats(const Napi::CallbackInfo& info);
    Napi::Value tokenize(const Napi::CallbackInfo& info);
    Napi::Value token_bytes(const Napi::CallbackInfo& info);
    Napi::Value compile_constraint(const Napi::CallbackInfo& info);
    Napi::Value set_busy(const Napi::CallbackInfo& info);
    Napi::Value close(const Napi::CallbackInfo& info);
    /// Throws a JavaScript error when the model has been closed.
    Handle& open_handle(Napi::Env env);

    friend class LoadWorker;
    std::shared_ptr<Handle> handle_;
};

}  // namespace tfserve::addon
