#include "addon/wake_function.h"

namespace tfserve::addon {

WakeFunction::WakeFunction(Napi::Env env, const Napi::Function& function)
    : env_(env), function_(Napi::ThreadSafeFunction::New(env, function, "tfserve.wake", 0, 1)) {
    function_.Unref(env_);  // an idle model does not keep the process alive
}

WakeFunction::~WakeFunction() { close(); }

void WakeFunction::call() { function_.NonBlockingCall(); }

void WakeFunction::set_referenced(bool referenced) {
    if (closed_ || referenced == referenced_) return;
    referenced_ = referenced;
    if (referenced) {
        function_.Ref(env_);
    } else {
        function_.Unref(env_);
    }
}

void WakeFunction::close() {
    if (closed_) return;
    closed_ = true;
    function_.Abort();
}

}  // namespace tfserve::addon
