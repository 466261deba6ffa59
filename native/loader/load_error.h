// What the loader throws. Knows nothing of ggml or llama.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace tfserve {

/// A model could not be loaded. what() is one sentence for the user: it names files by their base name only.
class LoadError : public std::runtime_error {
   public:
    enum class Kind {
        not_found,      ///< no such file or directory, or a file of the checkpoint is missing
        invalid,        ///< damaged, truncated or contradictory
        unsupported,    ///< sound, but something this server cannot run
        out_of_memory,  ///< does not fit
        cancelled,      ///< the caller asked to stop
    };

    LoadError(Kind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
    Kind kind() const { return kind_; }

   private:
    Kind kind_;
};

/// A name that came from a file, for messages: quoted, at most 80 bytes (whole characters), control characters masked.
inline std::string in_quotes(std::string_view text) {
    std::size_t size = text.size() < 80 ? text.size() : 80;
    while (size > 0 && size < text.size() && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
    std::string out = "\"";
    for (char c : text.substr(0, size)) out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    return out + (size < text.size() ? "...\"" : "\"");
}

}  // namespace tfserve
