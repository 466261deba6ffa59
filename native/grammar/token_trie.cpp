#include "grammar/token_trie.h"

#include <algorithm>
#include <string_view>

#include "grammar/grammar.h"

namespace tfserve {

std::uint8_t TokenTrie::group_of(std::uint8_t byte) {
    if (byte >= 0x80) return 1;
    if (byte < 0x20) return 2;
    if (byte == ' ') return 4;
    if (byte == '"' || byte == '\\') return 8;
    if (byte >= '0' && byte <= '9') return 16;
    if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z')) return 32;
    return byte == '<' || byte == '>' ? 64 : 128;
}

TokenTrie::TokenTrie(const TokenTable& table, std::int32_t vocab_size) : vocab_size_(vocab_size), leading_space_(table.leading_space()) {
    const TokenId count = std::min(vocab_size, table.size());
    for (TokenId id = 0; id < count; ++id) {
        const std::string_view bytes = table.bytes(id);
        if (!table.is_known(id)) continue;
        if (table.is_special(id)) {
            special_.push_back(id);
        } else if (bytes.size() > kAlikeBytes) {
            long_tokens_.push_back(id);
        } else if (!bytes.empty()) {
            tokens_.push_back(id);
            longest_ = std::max(longest_, bytes.size());
        }
    }
    std::ranges::sort(tokens_, [&](TokenId a, TokenId b) { return table.bytes(a) < table.bytes(b); });

    std::vector<std::uint32_t> path;  // nodes from the root to the last token's
    const auto close_to = [&](std::size_t depth) {
        while (path.size() > depth) {
            Node& node = nodes_[path.back()];
            node.end = static_cast<std::uint32_t>(nodes_.size());
            path.pop_back();
            if (path.empty()) continue;
            Node& parent = nodes_[path.back()];
            parent.groups = static_cast<std::uint8_t>(parent.groups | node.groups | group_of(node.byte));
            parent.height = std::max<std::uint16_t>(parent.height, static_cast<std::uint16_t>(node.height + 1));
        }
    };
    std::string_view last;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
        const std::string_view bytes = table.bytes(tokens_[i]);
        const auto common = static_cast<std::size_t>(std::ranges::mismatch(last, bytes).in1 - last.begin());
        close_to(common);
        for (std::size_t depth = common; depth < bytes.size(); ++depth) {
            path.push_back(static_cast<std::uint32_t>(nodes_.size()));
            const auto first = static_cast<std::uint32_t>(i);
            nodes_.push_back({0, first, static_cast<std::uint16_t>(depth + 1), 0, static_cast<std::uint8_t>(bytes[depth]), 0});
        }
        last = bytes;
    }
    close_to(0);
    const auto end = static_cast<std::uint32_t>(nodes_.size());
    nodes_.push_back({end + 1, static_cast<std::uint32_t>(tokens_.size()), 0, 0, 0, 0});
}

}  // namespace tfserve
