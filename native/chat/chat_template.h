// Renders the Jinja chat templates of checkpoints with upstream's engine (common/jinja).
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace tfserve {

/// The template refused its input or is not understood; the text is fit for a client.
struct ChatTemplateError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The text of `source` for the variables in `context_json` (a JSON object; 1.0 stays a float). `now` is what
/// strftime_now sees in Unix seconds, 0 = the clock. Thread safe: nothing is shared between calls.
/// Throws ChatTemplateError.
std::string render_chat_template(const std::string& source, const std::string& context_json, std::int64_t now);

}  // namespace tfserve
