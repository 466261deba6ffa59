// What is wrong with a constraint, in a sentence for whoever wrote it.
#pragma once

#include <stdexcept>

namespace tfserve {

/// A constraint that cannot be compiled or followed. The message names the place and says what is not possible there.
struct GrammarError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace tfserve
