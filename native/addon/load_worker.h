// Loads a model off the JavaScript thread and settles a promise with its object.
#pragma once

#include <napi.h>

#include <cstddef>
#include <functional>
#include <string>
#include <utility>

#include "addon/promise_worker.h"
#include "loader/load_error.h"

namespace tfserve::addon {

/// Loads on libuv's pool and reports tensors on the JavaScript thread as they come: each step is queued, so that a load that is over
/// before JavaScript has its turn is told step by step, too.
class LoadWorker : public Napi::AsyncProgressQueueWorker<std::pair<double, double>> {
   public:
    using Step = std::pair<double, double>;
    /// Tensors done and in all.
    using Progress = std::function<void(std::size_t done, std::size_t total)>;

    LoadWorker(Napi::Env env, const Napi::Function& on_progress)
        : AsyncProgressQueueWorker(env), deferred_(Napi::Promise::Deferred::New(env)), on_progress_(Napi::Persistent(on_progress)) {}

    Napi::Promise promise() const { return deferred_.Promise(); }

   protected:
    /// On libuv's pool. May throw std::exception; the promise rejects with its text.
    virtual void load(const Progress& progress) = 0;
    /// On the JavaScript thread, after load(): what the promise resolves with.
    virtual Napi::Object loaded() = 0;

   private:
    /// How often the progress is told at most, but for the last time.
    static constexpr std::size_t kMaxSteps = 512;

    void Execute(const ExecutionProgress& progress) override {
        try {
            load([&, told = std::size_t{0}](std::size_t done, std::size_t total) mutable {
                if (done < total && done - told < total / kMaxSteps) return;
                told = done;
                const Step step(static_cast<double>(done), static_cast<double>(total));
                progress.Send(&step, 1);
            });
        } catch (const LoadError& error) {
            unsupported_ = error.kind() == LoadError::Kind::unsupported;
            SetError(error.what());
        } catch (const std::exception& error) {
            SetError(error.what());
        } catch (...) {
            SetError("The model could not be loaded.");
        }
    }
    void OnProgress(const Step* steps, std::size_t count) override {
        if (count == 0 || steps == nullptr) return;
        Napi::HandleScope scope(Env());
        const Step& last = steps[count - 1];
        try {
            on_progress_.Call({Napi::Number::New(Env(), last.first), Napi::Number::New(Env(), last.second)});
        } catch (const Napi::Error& error) {
            if (progress_error_.empty()) progress_error_ = error.Message();  // the load's promise tells it
        }
    }
    void OnOK() override {
        settle([this] {
            if (progress_error_.empty()) {
                deferred_.Resolve(loaded());
            } else {
                deferred_.Reject(Napi::Error::New(Env(), progress_error_).Value());
            }
        });
    }
    void OnError(const Napi::Error& error) override {
        settle([&] {
            // sound files that nothing here can run are told apart from broken ones
            if (unsupported_) error.Value().Set("code", "unsupported");
            deferred_.Reject(error.Value());
        });
    }

    Napi::Promise::Deferred deferred_;
    Napi::FunctionReference on_progress_;
    std::string progress_error_;
    bool unsupported_ = false;
};

}  // namespace tfserve::addon
