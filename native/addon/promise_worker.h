// Runs a C++ function off the JavaScript thread and settles a promise with what it gave.
#pragma once

#include <napi.h>

#include <functional>
#include <optional>
#include <utility>

namespace tfserve::addon {

/// Runs what settles a promise. In an environment that is being torn down nothing can be called any more, and nobody waits.
template <class Function>
void settle(const Function& function) noexcept {
    try {
        function();
    } catch (const Napi::Error&) {
        return;
    }
}

/// `work` runs on libuv's pool and may throw std::exception (the promise rejects with its text);
/// `convert` makes the JavaScript value, on the JavaScript thread.
template <class Result>
class PromiseWorker final : public Napi::AsyncWorker {
   public:
    using Work = std::function<Result()>;
    using Convert = std::function<Napi::Value(Napi::Env, Result&)>;

    static Napi::Promise run(Napi::Env env, Work work, Convert convert) {
        // the worker deletes itself when it has settled, as every Napi::AsyncWorker does
        auto* worker = new PromiseWorker(env, std::move(work), std::move(convert));
        worker->Queue();
        return worker->deferred_.Promise();
    }

   private:
    PromiseWorker(Napi::Env env, Work work, Convert convert)
        : AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)), convert_(std::move(convert)) {}

    void Execute() override {
        try {
            result_.emplace(work_());
        } catch (const std::exception& error) {
            SetError(error.what());
        } catch (...) {
            SetError("The native engine failed.");
        }
        work_ = nullptr;
    }
    void OnOK() override {
        settle([this] { deferred_.Resolve(convert_(Env(), *result_)); });
    }
    void OnError(const Napi::Error& error) override {
        settle([&] { deferred_.Reject(error.Value()); });
    }

    Napi::Promise::Deferred deferred_;
    Work work_;
    Convert convert_;
    std::optional<Result> result_;
};

}  // namespace tfserve::addon
