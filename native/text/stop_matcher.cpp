#include "text/stop_matcher.h"

namespace tfserve {

StopMatcher::StopMatcher(const std::vector<std::string>& stop) : nodes_(1) {
    for (std::size_t i = 0; i < stop.size(); ++i) {
        if (!stop[i].empty()) add(stop[i], static_cast<std::int32_t>(i));
    }
    link();
}

std::uint32_t StopMatcher::child(std::uint32_t node, unsigned char byte) const {
    std::uint32_t next = nodes_[node].first_child;
    while (next != kNone && nodes_[next].byte != byte) next = nodes_[next].next_sibling;
    return next;
}

std::uint32_t StopMatcher::step(std::uint32_t node, unsigned char byte) const {
    for (;;) {
        const std::uint32_t next = child(node, byte);
        if (next != kNone) return next;
        if (node == kRoot) return kRoot;
        node = nodes_[node].fallback;
    }
}

void StopMatcher::add(const std::string& word, std::int32_t index) {
    std::uint32_t node = kRoot;
    for (const char letter : word) {
        const auto byte = static_cast<unsigned char>(letter);
        std::uint32_t next = child(node, byte);
        if (next == kNone) {
            next = static_cast<std::uint32_t>(nodes_.size());
            Node made;
            made.byte = byte;
            made.depth = nodes_[node].depth + 1;
            made.next_sibling = nodes_[node].first_child;
            nodes_.push_back(made);
            nodes_[node].first_child = next;
        }
        node = next;
    }
    if (nodes_[node].stop < 0) {
        nodes_[node].stop = index;
        nodes_[node].stop_length = nodes_[node].depth;
    }
}

void StopMatcher::link() {
    std::vector<std::uint32_t> queue = {kRoot};  // breadth first: shorter suffixes are linked before they are needed
    for (std::size_t head = 0; head < queue.size(); ++head) {
        const std::uint32_t parent = queue[head];
        for (std::uint32_t node = nodes_[parent].first_child; node != kNone; node = nodes_[node].next_sibling) {
            queue.push_back(node);
            if (parent != kRoot) nodes_[node].fallback = step(nodes_[parent].fallback, nodes_[node].byte);
            const Node& suffix = nodes_[nodes_[node].fallback];
            if (nodes_[node].stop < 0) {
                nodes_[node].stop = suffix.stop;
                nodes_[node].stop_length = suffix.stop_length;
            }
        }
    }
}

std::int32_t StopMatcher::end_at_match(std::string& sent) {
    sent.append(held_, 0, match_begin_);
    held_.clear();
    done_ = true;
    return match_;
}

std::int32_t StopMatcher::push(std::string_view text, std::string& sent) {
    if (done_) return match_;
    if (nodes_.size() == 1) {
        sent += text;
        return -1;
    }
    for (const char letter : text) {
        held_.push_back(letter);
        node_ = step(node_, static_cast<unsigned char>(letter));
        const Node& node = nodes_[node_];
        if (node.stop >= 0) {
            const std::size_t begin = held_.size() - node.stop_length;
            if (match_ < 0 || begin < match_begin_) {
                match_ = node.stop;
                match_begin_ = begin;
            }
        }
        if (match_ >= 0 && held_.size() - node.depth >= match_begin_) return end_at_match(sent);
    }
    const std::size_t decided = held_.size() - nodes_[node_].depth;
    sent.append(held_, 0, decided);
    held_.erase(0, decided);
    if (match_ >= 0) match_begin_ -= decided;
    return -1;
}

std::int32_t StopMatcher::finish(std::string& sent) {
    if (done_) return match_;
    if (match_ >= 0) return end_at_match(sent);
    sent += held_;
    held_.clear();
    done_ = true;
    return -1;
}

}  // namespace tfserve
