#include "paged_plan.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <type_traits>

namespace tfserve::paged {
namespace {

// A split costs a partial result and a merge: ranges are not cut finer than this. Cuts lie at multiples of a kernel tile.
constexpr std::int32_t kMinSplitCells = 256;
constexpr std::int32_t kCutCells = 64;
// Work items a thread that let the last ones to finish be level enough.
constexpr int kItemsPerThread = 4;

template <class T>
constexpr std::size_t words_of(std::size_t n) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % sizeof(std::int32_t) == 0);
    return n * (sizeof(T) / sizeof(std::int32_t));
}

/// Hands out the plan's words from front to back.
class Writer {
   public:
    explicit Writer(std::span<std::int32_t> dst) : dst_(dst) {}

    template <class T>
    std::int32_t put(const T* values, std::size_t n) {
        const std::size_t offset = used_;
        const std::size_t words = words_of<T>(n);
        if (words > dst_.size() - used_) {
            throw std::length_error("paged attention: the plan does not fit its tensor");
        }
        if (n > 0) {
            std::memcpy(dst_.data() + offset, values, words * sizeof(std::int32_t));
        }
        used_ += words;
        return static_cast<std::int32_t>(offset);
    }

    std::size_t used() const { return used_; }

   private:
    std::span<std::int32_t> dst_;
    std::size_t used_ = 0;
};

void check_shape(const PlanShape& shape, int page_shift) {
    if (shape.n_head < 1 || shape.n_head_kv < 1 || shape.n_head % shape.n_head_kv != 0) {
        throw std::invalid_argument("paged attention: the number of heads must be a multiple of the number of KV heads");
    }
    if (page_shift < 0 || page_shift > 30) {
        throw std::invalid_argument("paged attention: bad page size");
    }
}

void check_sequence(const PlanSequence& sequence, int page_shift) {
    const std::size_t n = sequence.token_row.size();
    if (sequence.first_cell.size() != n || sequence.end_cell.size() != n) {
        throw std::invalid_argument("paged attention: a token lacks its cell range");
    }
    const std::int64_t n_cells = static_cast<std::int64_t>(sequence.table.size()) << page_shift;
    for (std::size_t t = 0; t < n; ++t) {
        const std::int64_t first = sequence.first_cell[t];
        const std::int64_t end = sequence.end_cell[t];
        if (sequence.token_row[t] < 0 || first < 0 || first > end || end > n_cells) {
            throw std::invalid_argument("paged attention: a token's cell range leaves the block table");
        }
    }
}

/// Cost of a unit for one KV head, in cells x rows. The constant stands for reading the cells.
std::int64_t cost_of(const PlanUnit& unit, int group) {
    return static_cast<std::int64_t>(unit.cell1 - unit.cell0) * (static_cast<std::int64_t>(unit.n_tokens) * group + 4);
}

void sort_longest_first(std::vector<PlanUnit>& units, int group) {
    std::stable_sort(units.begin(), units.end(),
                     [group](const PlanUnit& a, const PlanUnit& b) { return cost_of(a, group) > cost_of(b, group); });
}

/// The cells that at least one of the tokens [t0, t0 + n) sees; empty when none does.
void set_cells(PlanUnit& unit, const PlanSequence& sequence) {
    bool any = false;
    for (std::int32_t t = unit.t0; t < unit.t0 + unit.n_tokens; ++t) {
        const std::int32_t first = sequence.first_cell[static_cast<std::size_t>(t)];
        const std::int32_t end = sequence.end_cell[static_cast<std::size_t>(t)];
        if (first == end) {
            continue;
        }
        unit.cell0 = any ? std::min(unit.cell0, first) : first;
        unit.cell1 = any ? std::max(unit.cell1, end) : end;
        any = true;
    }
}

struct Split {
    std::vector<PlanGroup> groups;
    std::int32_t partial_rows = 0;
};

/// Cuts the ranges of units that would keep one thread busy while the others have nothing left to do. `units` is sorted.
Split split_long_units(std::vector<PlanUnit>& units, const PlanShape& shape, int group) {
    Split split;
    std::int64_t total = 0;
    for (const PlanUnit& unit : units) {
        total += cost_of(unit, group);
    }
    const int heads = heads_per_item(units.size(), shape.n_head_kv, shape.n_threads);
    // what an item may cost: items are (unit, `heads` KV heads), `total` is of one KV head
    const std::int64_t n_items = static_cast<std::int64_t>(kItemsPerThread) * shape.n_threads;
    const std::int64_t target = std::max<std::int64_t>(1, total * shape.n_head_kv / n_items);
    std::int64_t rows_left = static_cast<std::int64_t>(max_partial_rows(shape));
    std::int64_t units_left = static_cast<std::int64_t>(max_groups(shape.n_threads));

    const std::size_t n_whole = units.size();
    for (std::size_t u = 0; u < n_whole && units_left > 0; ++u) {
        const PlanUnit whole = units[u];
        const std::int32_t cells = whole.cell1 - whole.cell0;
        const std::int64_t wanted = (cost_of(whole, group) * heads + target - 1) / target;
        const std::int64_t allowed =
            std::min({static_cast<std::int64_t>(cells / kMinSplitCells), units_left + 1, rows_left / std::max(1, whole.n_tokens)});
        std::int64_t n_split = std::min(wanted, allowed);
        if (n_split < 2) {
            continue;
        }
        const std::int64_t even = (cells + n_split - 1) / n_split;
        const std::int32_t step = static_cast<std::int32_t>((even + kCutCells - 1) / kCutCells * kCutCells);
        n_split = (cells + step - 1) / step;
        if (n_split < 2) {
            continue;
        }
        const auto index = static_cast<std::int32_t>(split.groups.size());
        split.groups.push_back({whole.run, whole.t0, whole.n_tokens, static_cast<std::int32_t>(n_split), split.partial_rows, 0, 0, 0});
        for (std::int32_t s = 0; s < n_split; ++s) {
            PlanUnit part = whole;
            part.cell0 = whole.cell0 + s * step;
            part.cell1 = std::min(whole.cell1, part.cell0 + step);
            part.group = index;
            part.partial_row = split.partial_rows;
            split.partial_rows += whole.n_tokens;
            if (s == 0) {
                units[u] = part;
            } else {
                units.push_back(part);
            }
        }
        units_left -= n_split - 1;
        rows_left -= n_split * whole.n_tokens;
    }
    return split;
}

}  // namespace

std::size_t fill_plan(std::span<std::int32_t> dst, int page_shift, std::span<const PlanSequence> sequences, const PlanShape& shape) {
    check_shape(shape, page_shift);
    std::size_t n_tokens = 0;
    std::size_t n_table = 0;
    for (const PlanSequence& sequence : sequences) {
        check_sequence(sequence, page_shift);
        n_tokens += sequence.token_row.size();
        n_table += sequence.table.size();
    }
    constexpr std::size_t max_words = std::numeric_limits<std::int32_t>::max();
    if (plan_words(n_tokens, sequences.size(), n_table, shape.n_threads) > max_words) {
        throw std::length_error("paged attention: the step is too large for a plan");
    }

    const int group = shape.n_head / shape.n_head_kv;
    const std::int32_t unit_tokens = std::max(1, kUnitRows / group);
    std::vector<PlanRun> runs;
    runs.reserve(sequences.size());
    std::vector<PlanUnit> units;
    units.reserve(n_tokens / static_cast<std::size_t>(unit_tokens) + sequences.size() + max_groups(shape.n_threads));
    std::int32_t token0 = 0;
    std::int32_t table0 = 0;
    for (const PlanSequence& sequence : sequences) {
        const auto n = static_cast<std::int32_t>(sequence.token_row.size());
        const auto pages = static_cast<std::int32_t>(sequence.table.size());
        const auto run = static_cast<std::int32_t>(runs.size());
        runs.push_back({token0, n, table0, pages});
        for (std::int32_t t0 = 0; t0 < n; t0 += unit_tokens) {
            PlanUnit unit{run, t0, std::min(unit_tokens, n - t0), 0, 0, -1, 0, 0};
            set_cells(unit, sequence);
            units.push_back(unit);
        }
        token0 += n;
        table0 += pages;
    }

    sort_longest_first(units, group);
    Split split;
    if (shape.n_threads > 1) {
        split = split_long_units(units, shape, group);
        sort_longest_first(units, group);
    }

    std::int32_t header[kPlanHeader] = {};
    Writer writer(dst);
    writer.put(header, kPlanHeader);
    const auto put_all = [&](auto member) {
        const auto offset = static_cast<std::int32_t>(writer.used());
        for (const PlanSequence& sequence : sequences) {
            const auto& values = sequence.*member;
            writer.put(values.data(), values.size());
        }
        return offset;
    };
    header[kPlanTokenRow] = put_all(&PlanSequence::token_row);
    header[kPlanFirstCell] = put_all(&PlanSequence::first_cell);
    header[kPlanEndCell] = put_all(&PlanSequence::end_cell);
    header[kPlanRunOffset] = writer.put(runs.data(), runs.size());
    header[kPlanUnitOffset] = writer.put(units.data(), units.size());
    header[kPlanGroupOffset] = writer.put(split.groups.data(), split.groups.size());
    header[kPlanTableOffset] = put_all(&PlanSequence::table);

    header[kPlanMagic] = kPlanMagicValue;
    header[kPlanWords] = static_cast<std::int32_t>(writer.used());
    header[kPlanTokens] = static_cast<std::int32_t>(n_tokens);
    header[kPlanRuns] = static_cast<std::int32_t>(runs.size());
    header[kPlanUnits] = static_cast<std::int32_t>(units.size());
    header[kPlanGroups] = static_cast<std::int32_t>(split.groups.size());
    header[kPlanPageShift] = page_shift;
    header[kPlanPartialRows] = split.partial_rows;
    std::memcpy(dst.data(), header, sizeof(header));
    return writer.used();
}

}  // namespace tfserve::paged
