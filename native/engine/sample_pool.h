// A helper thread that shares the sampling of a step.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>

namespace tfserve {

/// Runs independent jobs on the caller's thread and one helper, which is started when it is first needed and sleeps otherwise.
/// For one caller at a time.
class SamplePool {
   public:
    SamplePool() = default;
    ~SamplePool();
    SamplePool(const SamplePool&) = delete;
    SamplePool& operator=(const SamplePool&) = delete;

    /// Calls job(0) ... job(n - 1), in any order, and returns when all are done. `job` must not throw.
    void run(std::size_t n, const std::function<void(std::size_t)>& job);

    /// Begins with the calls on the helper alone; `job` stays the caller's and must live until finish() has returned.
    void begin(std::size_t n, const std::function<void(std::size_t)>& job);
    /// Makes the calls that the helper has not begun, and returns when all are done.
    void finish();

   private:
    void work();
    void drain(const std::function<void(std::size_t)>& job, std::size_t n);

    std::thread helper_;
    std::mutex mutex_;
    std::condition_variable wake_, idle_;
    const std::function<void(std::size_t)>* job_ = nullptr;  // guarded by mutex_, as are the next three
    std::size_t n_ = 0;
    const std::function<void(std::size_t)>* begun_ = nullptr;  // the caller's own
    bool busy_ = false;
    bool stop_ = false;
    std::atomic<std::size_t> next_{0};
};

}  // namespace tfserve
