// The JavaScript object of one loaded speech model. Logic lives in speech/; this only translates.
#pragma once

#include <napi.h>

#include <memory>

#include "speech/speech_engine.h"

namespace tfserve::addon {

class SpeechObject : public Napi::ObjectWrap<SpeechObject> {
   public:
    static Napi::Function define(Napi::Env env);
    /// loadSpeechModel(options, onWake, onProgress): Promise<NativeSpeechModel>
    static Napi::Value load(const Napi::CallbackInfo& info);
    explicit SpeechObject(const Napi::CallbackInfo& info);
    ~SpeechObject() override;

   private:
    struct Handle;  // the engine and its wake function; shared with work that is still under way

    Napi::Value info(const Napi::CallbackInfo& info);
    Napi::Value open(const Napi::CallbackInfo& info);
    Napi::Value close_slot(const Napi::CallbackInfo& info);
    Napi::Value encode(const Napi::CallbackInfo& info);
    Napi::Value decode(const Napi::CallbackInfo& info);
    Napi::Value score(const Napi::CallbackInfo& info);
    Napi::Value align(const Napi::CallbackInfo& info);
    Napi::Value abort(const Napi::CallbackInfo& info);
    Napi::Value take(const Napi::CallbackInfo& info);
    Napi::Value stats(const Napi::CallbackInfo& info);
    Napi::Value set_busy(const Napi::CallbackInfo& info);
    Napi::Value close(const Napi::CallbackInfo& info);
    /// Throws a JavaScript error when the model has been closed.
    Handle& open_handle(Napi::Env env);
    /// Throws a JavaScript error when the engine does not take it.
    void submit(const Napi::CallbackInfo& info, std::int64_t op, speech::SpeechOp work);

    friend class SpeechLoadWorker;
    std::shared_ptr<Handle> handle_;
};

}  // namespace tfserve::addon
