#include "grammar/schema_budget.h"

#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

constexpr int kMaxDepth = 128;
constexpr std::size_t kMaxVisits = 50000;
constexpr std::size_t kMaxWork = std::size_t{1} << 26;

std::string escaped(std::string_view name) {
    std::string result;
    for (const char c : name.substr(0, 64)) result += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    return result;
}

}  // namespace

void SchemaBudget::visit(const std::string& place, int depth) {
    if (depth > kMaxDepth) {
        throw GrammarError("the schema is nested more than " + std::to_string(kMaxDepth) + " levels deep at '" + place.substr(0, 200) +
                           "'");
    }
    visits(1);
}

void SchemaBudget::visits(std::size_t count) {
    visits_ += count;
    if (visits_ > kMaxVisits) throw GrammarError("the schema is too large");
}

void SchemaBudget::spend(std::size_t work) {
    work_ += work;
    if (work_ > kMaxWork) throw GrammarError("the schema is too large, with all that it refers to");
}

std::string at(const std::string& place, std::string_view keyword) { return place + "/" + escaped(keyword); }
std::string at(const std::string& place, std::string_view keyword, std::size_t i) { return at(place, keyword) + "/" + std::to_string(i); }

}  // namespace tfserve
