#include "speech/speech_engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "engine/delivery.h"
#include "speech/speech_core.h"

namespace tfserve::speech {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int32_t kMaxSlotOps = 16;  // queued in one slot; its spectrograms take memory

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

/// What the engine's thread is told between two steps.
struct Command {
    enum class Kind : std::uint8_t { submit, abort, close };
    Kind kind = Kind::submit;
    std::int32_t slot = 0;
    std::int64_t id = 0;
    SpeechOp op;
};

enum class SlotState : std::uint8_t { free, open, closing };

}  // namespace

/// The thread and what it shares with its callers. `core_` belongs to the thread alone, but for info().
struct SpeechEngine::Impl {
    Impl(std::unique_ptr<WhisperModel> model, Wake wake, Log log)
        : core_(std::move(model)),
          wake_(std::move(wake)),
          log_(std::move(log)),
          states_(static_cast<std::size_t>(core_.info().slots), SlotState::free),
          queued_(states_.size(), 0) {
        thread_ = std::thread([this] { run(); });
    }

    ~Impl() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
            end_step_ = true;
        }
        changed_.notify_one();
        thread_.join();
    }

    std::int32_t open() {
        const std::lock_guard lock(mutex_);
        const auto found = std::ranges::find(states_, SlotState::free);
        if (found == states_.end() || stop_) return -1;
        *found = SlotState::open;
        return static_cast<std::int32_t>(found - states_.begin());
    }

    bool is_open(std::int32_t slot) const {
        return slot >= 0 && static_cast<std::size_t>(slot) < states_.size() && states_[static_cast<std::size_t>(slot)] == SlotState::open;
    }

    std::optional<std::string> submit(std::int32_t slot, std::int64_t id, SpeechOp op) {
        if (auto problem = objection(op, core_.info().config)) return problem;
        {
            const std::lock_guard lock(mutex_);
            if (stop_) return "The engine is shutting down.";
            if (!is_open(slot)) return "The slot is not open.";
            std::int32_t& queued = queued_[static_cast<std::size_t>(slot)];
            if (queued >= kMaxSlotOps) return "Too many operations wait in this slot.";
            commands_.push_back({Command::Kind::submit, slot, id, std::move(op)});
            ++queued;
        }
        changed_.notify_one();
        return std::nullopt;
    }

    void end(std::int32_t slot, Command::Kind kind) {
        {
            const std::lock_guard lock(mutex_);
            if (!is_open(slot)) return;
            commands_.push_back({kind, slot, 0, {}});
            if (kind == Command::Kind::close) states_[static_cast<std::size_t>(slot)] = SlotState::closing;
            if (running_slot_ == slot) end_step_ = true;
        }
        changed_.notify_one();
    }

    std::vector<SpeechResult> take() {
        const std::lock_guard lock(mutex_);
        wake_pending_ = false;
        return std::exchange(mailbox_, {});
    }

    SpeechStats stats() const {
        const std::lock_guard lock(mutex_);
        SpeechStats stats = stats_;
        stats.progress = progress_.load(std::memory_order_relaxed);
        for (SlotState state : states_) stats.open_slots += state == SlotState::free ? 0 : 1;
        for (const Command& command : commands_) stats.waiting += command.kind == Command::Kind::submit ? 1 : 0;
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
                for (Command& command : commands) obey(command);
                if (!commands.empty()) deliver();
                if (core_.has_work()) step();
            } catch (const std::bad_alloc&) {
                fail_all("There was not enough memory to go on.");
            } catch (const std::exception& failure) {
                if (log_) log_(failure.what());
                fail_all("The speech engine failed.");
            }
            commands.clear();
            deliver();
        }
    }

    void obey(Command& command) {
        if (command.kind == Command::Kind::submit) return core_.submit(command.slot, command.id, std::move(command.op));
        core_.abort(command.slot, command.kind == Command::Kind::close);
        if (command.kind != Command::Kind::close) return;
        const std::lock_guard lock(mutex_);
        states_[static_cast<std::size_t>(command.slot)] = SlotState::free;
    }

    void step() {
        {
            const std::lock_guard lock(mutex_);
            running_slot_ = core_.next_long_slot();
            const bool told = std::ranges::any_of(
                commands_, [&](const Command& command) { return command.kind != Command::Kind::submit && command.slot == running_slot_; });
            end_step_ = stop_ || told;
        }
        const Clock::time_point begin = Clock::now();
        core_.step([this] {
            progress_.fetch_add(1, std::memory_order_relaxed);
            return end_step_.load(std::memory_order_relaxed);
        });
        const Clock::time_point end = Clock::now();
        last_step_ms_ = 1000 * seconds(end - begin);
        last_step_end_s_ = seconds(end.time_since_epoch());
        const std::lock_guard lock(mutex_);
        running_slot_ = -1;
    }

    void fail_all(const char* what) noexcept {
        try {
            core_.fail_all(what);
        } catch (const std::exception&) {
            return;  // no memory to tell everybody; the next round goes on with the rest
        }
    }

    /// Makes the state after a step visible, then wakes whoever reads results.
    void deliver() noexcept {
        publish_and_wake([this] { return publish(); }, wake_);
    }

    bool publish() {
        const std::lock_guard lock(mutex_);
        stats_ = core_.stats();
        stats_.last_step_ms = last_step_ms_;
        stats_.last_step_end_s = last_step_end_s_;
        std::vector<SpeechResult>& results = core_.results();
        if (results.empty()) return false;
        const std::size_t needed = mailbox_.size() + results.size();
        if (mailbox_.capacity() < needed) mailbox_.reserve(2 * needed);  // either all go over or none
        for (SpeechResult& result : results) {
            if (result.finish != SpeechFinish::none) --queued_[static_cast<std::size_t>(result.slot)];
            mailbox_.push_back(std::move(result));
        }
        results.clear();
        return !std::exchange(wake_pending_, true);
    }

    SpeechCore core_;
    const Wake wake_;
    const Log log_;
    double last_step_ms_ = 0;  // the thread's
    double last_step_end_s_ = 0;
    std::atomic<bool> end_step_ = false;  ///< asked for inside a long operation
    std::atomic<std::uint64_t> progress_ = 0;

    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<SlotState> states_;
    std::vector<std::int32_t> queued_;  ///< operations of a slot whose end has not been delivered
    std::vector<Command> commands_;
    std::vector<SpeechResult> mailbox_;
    std::int32_t running_slot_ = -1;  ///< whose long operation runs
    bool wake_pending_ = false;
    bool stop_ = false;
    SpeechStats stats_;

    std::thread thread_;  // last: it uses all of the above
};

SpeechEngine::SpeechEngine(std::unique_ptr<WhisperModel> model, Wake wake, Log log)
    : impl_(std::make_unique<Impl>(std::move(model), std::move(wake), std::move(log))) {}

SpeechEngine::~SpeechEngine() = default;

const WhisperModelInfo& SpeechEngine::info() const { return impl_->core_.info(); }

std::int32_t SpeechEngine::open() { return impl_->open(); }

void SpeechEngine::close(std::int32_t slot) { impl_->end(slot, Command::Kind::close); }

std::optional<std::string> SpeechEngine::submit(std::int32_t slot, std::int64_t id, SpeechOp op) {
    return impl_->submit(slot, id, std::move(op));
}

void SpeechEngine::abort(std::int32_t slot) { impl_->end(slot, Command::Kind::abort); }

std::vector<SpeechResult> SpeechEngine::take() { return impl_->take(); }

SpeechStats SpeechEngine::stats() const { return impl_->stats(); }

}  // namespace tfserve::speech
