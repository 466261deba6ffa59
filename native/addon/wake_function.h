// How an engine's thread tells JavaScript that there is something to take.
#pragma once

#include <napi.h>

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

}  // namespace tfserve::addon
