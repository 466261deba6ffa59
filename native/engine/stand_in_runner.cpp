#include "engine/stand_in_runner.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace tfserve {

namespace {

/// A bijective mix of 64 bits (splitmix64's finaliser).
std::uint64_t mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

[[noreturn]] void contradict(const PlanRow& row, const std::string& what) {
    throw RunnerError("sequence " + std::to_string(row.sequence) + ": " + what);
}

}  // namespace

StandInRunner::StandInRunner(StandInOptions options) : options_(std::move(options)) {
    const RunnerCapabilities& c = options_.capabilities;
    if (c.block_size < 1 || c.groups.empty() || c.vocab_size < 1 || c.max_num_seqs < 1 || options_.first_token < 0 ||
        options_.first_token >= c.vocab_size) {
        throw std::invalid_argument("the stand-in runner's options are incomplete");
    }
    if (c.paged) {
        for (const KvGroupSpec& group : c.groups) {
            pools_.emplace_back(static_cast<std::size_t>(group.num_blocks) * static_cast<std::size_t>(c.block_size));
        }
    } else {
        slots_.resize(static_cast<std::size_t>(c.max_num_seqs));
    }
    for (std::int32_t i = 0; i < c.vocab_size; ++i) {
        noise_.push_back(static_cast<float>(mix(static_cast<std::uint64_t>(i)) >> 40) / static_cast<float>(1 << 24) * 4.0F);
    }
}

void StandInRunner::execute(const StepPlan& plan) {
    const auto delay = options_.base_delay + options_.per_token_delay * plan.n_tokens();
    if (delay.count() > 0) std::this_thread::sleep_for(delay);
    copy_pages(plan);
    if (!options_.capabilities.paged) {
        for (SlotId slot : plan.released_slots) slots_.at(static_cast<std::size_t>(slot)).clear();
    }
    for (const PlanRow& row : plan.rows) write_row(plan, row);
    for (const PlanRow& row : plan.rows) check_row(row);
    logits_.clear();
    first_logits_row_.clear();
    const auto vocab = static_cast<std::size_t>(options_.capabilities.vocab_size);
    for (const PlanRow& row : plan.rows) {
        first_logits_row_.push_back(logits_.size() / vocab);
        compute_logits(plan, row);
    }
}

std::span<float> StandInRunner::logits(std::size_t row, std::size_t index) {
    const auto vocab = static_cast<std::size_t>(options_.capabilities.vocab_size);
    return std::span(logits_).subspan((first_logits_row_.at(row) + index) * vocab, vocab);
}

void StandInRunner::copy_pages(const StepPlan& plan) {
    if (!plan.copies.empty() && !options_.capabilities.paged) throw RunnerError("a runner without pages cannot copy them");
    for (const BlockCopy& copy : plan.copies) {
        std::vector<Cell>& pool = pools_.at(static_cast<std::size_t>(copy.group));
        const auto begin = [&](BlockId block) {
            return pool.begin() + static_cast<std::ptrdiff_t>(block) * options_.capabilities.block_size;
        };
        std::copy_n(begin(copy.src), copy.n_cells, begin(copy.dst));
        // what lies behind is somebody's past: make it useless
        std::fill_n(begin(copy.dst) + copy.n_cells, options_.capabilities.block_size - copy.n_cells, Cell{});
    }
}

const StandInRunner::Cell& StandInRunner::cell(const PlanRow& row, std::size_t group, std::int32_t position) const {
    if (!options_.capabilities.paged) return slots_.at(static_cast<std::size_t>(row.slot)).at(static_cast<std::size_t>(position));
    const std::int32_t block_size = options_.capabilities.block_size;
    const std::vector<BlockId>& table = *row.tables.at(group);
    const auto page = static_cast<std::size_t>(position / block_size);
    if (page >= table.size()) contradict(row, "its block table ends before position " + std::to_string(position));
    const BlockId block = table[page];
    if (block < 0 || block >= options_.capabilities.groups[group].num_blocks) {
        contradict(row, "there is no page for position " + std::to_string(position));
    }
    return pools_[group]
                 [static_cast<std::size_t>(block) * static_cast<std::size_t>(block_size) + static_cast<std::size_t>(position % block_size)];
}

StandInRunner::Cell& StandInRunner::cell(const PlanRow& row, std::size_t group, std::int32_t position) {
    return const_cast<Cell&>(std::as_const(*this).cell(row, group, position));
}

void StandInRunner::write_row(const StepPlan& plan, const PlanRow& row) {
    if (!options_.capabilities.paged) {
        std::vector<Cell>& history = slots_.at(static_cast<std::size_t>(row.slot));
        if (std::cmp_not_equal(history.size(), row.position)) {
            contradict(row, "it goes on at position " + std::to_string(row.position) + ", but its slot holds " +
                                std::to_string(history.size()) + " tokens");
        }
        history.resize(history.size() + static_cast<std::size_t>(row.n_tokens));
    }
    const std::size_t n_groups = options_.capabilities.paged ? pools_.size() : 1;
    for (std::int32_t i = 0; i < row.n_tokens; ++i) {
        const Cell written{plan.tokens.at(static_cast<std::size_t>(row.token_offset + i)), row.position + i};
        if (written.token < 0 || written.token >= options_.capabilities.vocab_size) contradict(row, "a token is outside the vocabulary");
        for (std::size_t group = 0; group < n_groups; ++group) cell(row, group, written.position) = written;
    }
}

std::int32_t StandInRunner::first_visible(std::size_t group, std::int32_t position) const {
    const std::int32_t window = options_.capabilities.groups[group].window;
    return window == 0 ? 0 : std::max(0, position - window + 1);
}

void StandInRunner::check_row(const PlanRow& row) const {
    if (!options_.expected_tokens) return;
    const std::span<const TokenId> expected = options_.expected_tokens(row.sequence);
    const std::size_t n_groups = options_.capabilities.paged ? pools_.size() : 1;
    for (std::size_t group = 0; group < n_groups; ++group) {
        for (std::int32_t position = first_visible(group, row.position); position < row.position + row.n_tokens; ++position) {
            const Cell& found = cell(row, group, position);
            if (std::cmp_greater_equal(position, expected.size())) contradict(row, "it computes tokens that it does not have");
            if (found == Cell{expected[static_cast<std::size_t>(position)], position}) continue;
            contradict(row, "position " + std::to_string(position) + " of group " + std::to_string(group) + " holds token " +
                                std::to_string(found.token) + " of position " + std::to_string(found.position) + " instead of token " +
                                std::to_string(expected[static_cast<std::size_t>(position)]));
        }
    }
}

std::uint64_t StandInRunner::digest(const PlanRow& row, std::int32_t position, TokenId token) const {
    if (!options_.read_history) return mix(static_cast<std::uint64_t>(token) << 32 | static_cast<std::uint32_t>(position));
    std::uint64_t h = 0;
    const std::size_t n_groups = options_.capabilities.paged ? pools_.size() : 1;
    for (std::size_t group = 0; group < n_groups; ++group) {
        for (std::int32_t p = first_visible(group, position); p <= position; ++p) {
            const Cell& c = cell(row, group, p);
            h = mix(h ^ (static_cast<std::uint64_t>(c.token) << 32 | static_cast<std::uint32_t>(c.position)));
        }
    }
    return h;
}

void StandInRunner::compute_logits(const StepPlan& plan, const PlanRow& row) {
    const std::int32_t vocab = options_.capabilities.vocab_size;
    for (std::int32_t i = row.n_tokens - row.n_logits; i < row.n_tokens; ++i) {
        const std::uint64_t h = digest(row, row.position + i, plan.tokens[static_cast<std::size_t>(row.token_offset + i)]);
        const auto shift = static_cast<std::ptrdiff_t>(h % static_cast<std::uint64_t>(vocab));
        const std::size_t begin = logits_.size();
        logits_.insert(logits_.end(), noise_.begin() + shift, noise_.end());
        logits_.insert(logits_.end(), noise_.begin(), noise_.begin() + shift);
        // a clear best token and two that a sampler may take instead
        std::uint64_t pick = h;
        for (float peak : {10.0F, 9.0F, 8.0F}) {
            pick = mix(pick);
            const std::uint64_t token =
                static_cast<std::uint64_t>(options_.first_token) + pick % static_cast<std::uint64_t>(vocab - options_.first_token);
            float& logit = logits_[begin + static_cast<std::size_t>(token)];
            logit = std::max(logit, peak);
        }
    }
}

}  // namespace tfserve
