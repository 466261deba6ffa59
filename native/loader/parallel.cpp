#include "loader/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace tfserve {

void in_parallel(std::int64_t parts, std::int32_t threads, const std::function<void(std::int64_t part)>& work) {
    std::atomic<std::int64_t> next = 0;
    std::mutex mutex;
    std::exception_ptr failure;
    auto run = [&] {
        try {
            for (std::int64_t part = next++; part < parts; part = next++) work(part);
        } catch (...) {
            next = parts;
            const std::lock_guard lock(mutex);
            if (!failure) failure = std::current_exception();
        }
    };
    std::vector<std::jthread> helpers;
    try {
        for (std::int64_t i = 1; i < std::min<std::int64_t>(parts, threads); ++i) helpers.emplace_back(run);
    } catch (const std::system_error&) {
        // the system gives no more threads: those that there are do the work
    }
    run();
    helpers.clear();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace tfserve
