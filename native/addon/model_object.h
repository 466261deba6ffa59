// The JavaScript object of one loaded model. Logic lives in runtime/model_host and engine/; this only translates.
#pragma once

#include <napi.h>

#include <memory>

#include "addon/wake_function.h"
#include "runtime/model_host.h"

namespace tfserve::addon {

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

    friend class ModelLoadWorker;
    std::shared_ptr<Handle> handle_;
};

}  // namespace tfserve::addon
