#include "engine/sample_pool.h"

namespace tfserve {

SamplePool::~SamplePool() {
    if (!helper_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_one();
    helper_.join();
}

void SamplePool::run(std::size_t n, const std::function<void(std::size_t)>& job) {
    begin(n, job);
    finish();
}

void SamplePool::begin(std::size_t n, const std::function<void(std::size_t)>& job) {
    if (!helper_.joinable()) helper_ = std::thread([this] { work(); });
    {
        const std::lock_guard lock(mutex_);
        next_ = 0;
        job_ = &job;
        n_ = n;
    }
    begun_ = &job;
    wake_.notify_one();
}

void SamplePool::finish() {
    drain(*begun_, n_);  // n_ changes in begin() only
    std::unique_lock lock(mutex_);
    job_ = nullptr;  // a helper that wakes only now finds nothing
    idle_.wait(lock, [this] { return !busy_; });
}

void SamplePool::drain(const std::function<void(std::size_t)>& job, std::size_t n) {
    for (std::size_t i = next_++; i < n; i = next_++) job(i);
}

void SamplePool::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return stop_ || job_ != nullptr; });
        if (stop_) return;
        const auto& job = *job_;
        const std::size_t n = n_;
        job_ = nullptr;
        busy_ = true;
        lock.unlock();
        drain(job, n);
        lock.lock();
        busy_ = false;
        idle_.notify_one();
    }
}

}  // namespace tfserve
