#include "engine/engine.h"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <utility>

#include "engine/delivery.h"
#include "engine/engine_core.h"

namespace tfserve {

namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

/// What the engine's thread is told at a step border: a request to take, or one to abort.
struct Command {
    SequenceId id = 0;
    std::unique_ptr<EngineRequest> submit;  // null: abort
};

}  // namespace

/// The thread and what it shares with its callers. `core_` belongs to the thread alone, but for what says otherwise.
struct Engine::Impl {
    Impl(std::unique_ptr<ModelRunner> runner, std::shared_ptr<const TokenTable> tokens, const EngineConfig& config, Wake wake)
        : core_(std::move(runner), std::move(tokens), config),
          max_waiting_(config.max_waiting),
          max_waiting_tokens_(config.max_waiting_tokens),
          wake_(std::move(wake)) {
        publish();
        thread_ = std::thread([this] { run(); });
    }

    ~Impl() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        changed_.notify_one();
        thread_.join();
    }

    SubmitResult submit(EngineRequest request) {
        if (SubmitResult refused = core_.validate(request); refused.error != SubmitError::none) return refused;
        const SequenceId id = request.id;
        const auto prompt_tokens = std::ssize(request.prompt);
        auto owned = std::make_unique<EngineRequest>(std::move(request));
        {
            const std::lock_guard lock(mutex_);
            if (stop_) return {SubmitError::shutting_down, "the engine is shutting down"};
            if (live_.contains(id)) return {SubmitError::invalid, "a request with this id is live already"};
            // who finds a free slot does not wait
            if (num_unadmitted_ >= std::int64_t{max_waiting_} + num_free_slots_) {
                return {SubmitError::queue_full, "too many requests are waiting (" + std::to_string(num_unadmitted_) + ")"};
            }
            if (num_unadmitted_ >= num_free_slots_ && num_unadmitted_tokens_ + prompt_tokens > max_waiting_tokens_) {
                return {SubmitError::queue_full, "too many prompt tokens are waiting (" + std::to_string(num_unadmitted_tokens_) + ")"};
            }
            commands_.push_back({id, std::move(owned)});
            try {
                live_.insert(id);
            } catch (...) {
                commands_.pop_back();
                throw;
            }
            ++num_unadmitted_;
            num_unadmitted_tokens_ += prompt_tokens;
        }
        changed_.notify_one();
        return {};
    }

    void abort(SequenceId id) {
        {
            const std::lock_guard lock(mutex_);
            if (!live_.contains(id)) return;
            commands_.push_back({id, nullptr});
        }
        changed_.notify_one();
    }

    std::vector<Delta> take() {
        const std::lock_guard lock(mutex_);
        wake_pending_ = false;
        return std::exchange(mailbox_, {});
    }

    EngineStats stats() const {
        const std::lock_guard lock(mutex_);
        EngineStats stats = stats_;
        for (const Command& command : commands_) stats.waiting += command.submit != nullptr ? 1 : 0;
        return stats;
    }

    void run() noexcept {
        std::vector<Command> commands;
        for (;;) {
            {
                std::unique_lock lock(mutex_);
                changed_.wait(lock, [this] { return stop_ || !commands_.empty() || core_.has_work(); });
                if (stop_) return;
                commands.swap(commands_);
            }
            try {
                for (Command& command : commands) {
                    if (command.submit != nullptr) {
                        core_.submit(std::move(*command.submit));
                    } else {
                        core_.abort(command.id);
                    }
                }
                // a step may take long: say before it what the commands did
                if (!commands.empty()) deliver();
                if (core_.has_work()) step();
            } catch (const std::exception& failure) {
                fail_all(failure.what());
            }
            commands.clear();
            deliver();
        }
    }

    void step() {
        const Clock::time_point begin = Clock::now();
        core_.step();
        const Clock::time_point end = Clock::now();
        last_step_ms_ = 1000 * seconds(end - begin);
        last_step_end_s_ = seconds(end.time_since_epoch());
    }

    void fail_all(const char* what) noexcept {
        try {
            core_.fail_all(what);
        } catch (const std::exception&) {
            return;  // no memory to tell everybody; the next round goes on with the rest
        }
    }

    /// Makes the state after a step visible, then wakes whoever reads deltas.
    void deliver() noexcept {
        publish_and_wake([this] { return publish(); }, wake_);
    }

    bool publish() {
        const std::lock_guard lock(mutex_);
        for (SequenceId id : core_.ended()) live_.erase(id);
        core_.ended().clear();
        stats_ = core_.stats();
        stats_.last_step_ms = last_step_ms_;
        stats_.last_step_end_s = last_step_end_s_;
        num_unadmitted_ = core_.num_unadmitted();
        num_unadmitted_tokens_ = core_.num_unadmitted_tokens();
        for (const Command& command : commands_) {
            if (command.submit == nullptr) continue;
            ++num_unadmitted_;
            num_unadmitted_tokens_ += std::ssize(command.submit->prompt);
        }
        num_free_slots_ = core_.num_free_slots();
        std::vector<Delta>& deltas = core_.deltas();
        if (deltas.empty()) return false;
        if (mailbox_.empty()) {
            mailbox_.swap(deltas);
        } else {
            const std::size_t needed = mailbox_.size() + deltas.size();
            if (mailbox_.capacity() < needed) mailbox_.reserve(2 * needed);  // either all go over or none
            for (Delta& delta : deltas) mailbox_.push_back(std::move(delta));
            deltas.clear();
        }
        return !std::exchange(wake_pending_, true);
    }

    EngineCore core_;
    const std::int32_t max_waiting_;
    const std::int64_t max_waiting_tokens_;
    const Wake wake_;
    double last_step_ms_ = 0;  // the thread's
    double last_step_end_s_ = 0;

    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<Command> commands_;
    std::unordered_set<SequenceId> live_;
    std::vector<Delta> mailbox_;
    bool wake_pending_ = false;
    bool stop_ = false;
    std::int64_t num_unadmitted_ = 0;         // requests that were never admitted, commands included
    std::int64_t num_unadmitted_tokens_ = 0;  // of their prompts
    std::int64_t num_free_slots_ = 0;
    EngineStats stats_;

    std::thread thread_;  // last: it uses all of the above
};

Engine::Engine(std::unique_ptr<ModelRunner> runner, std::shared_ptr<const TokenTable> tokens, EngineConfig config, Wake wake)
    : impl_(std::make_unique<Impl>(std::move(runner), std::move(tokens), config, std::move(wake))) {}

Engine::~Engine() = default;

SubmitResult Engine::submit(EngineRequest request) { return impl_->submit(std::move(request)); }

void Engine::abort(SequenceId id) { impl_->abort(id); }

std::vector<Delta> Engine::take() { return impl_->take(); }

EngineStats Engine::stats() const { return impl_->stats(); }

const RunnerCapabilities& Engine::capabilities() const { return impl_->core_.capabilities(); }

}  // namespace tfserve
