// How an engine's thread hands over what a step brought.
#pragma once

#include <exception>
#include <functional>

namespace tfserve {

/// Calls `publish`, which makes the state after a step visible and says whether a reader has to be woken, then `wake` (may be empty).
/// Neither's failure ends the thread: what is undelivered stays in the core until the next step, what is published in the mailbox until
/// the next take().
template <class Publish>
void publish_and_wake(const Publish& publish, const std::function<void()>& wake) noexcept {
    try {
        if (publish() && wake) wake();
    } catch (const std::exception&) {
        return;  // no memory, or nobody to wake
    }
}

}  // namespace tfserve
