// What the walk through a schema may cost, and how the places of a schema are called.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tfserve {

/// Counts what is done for one schema. Every method throws a GrammarError when it becomes too much.
class SchemaBudget {
   public:
    /// A schema is looked at; the same subschema counts once, but for its parts in allOf, anyOf and oneOf.
    void visit(const std::string& place, int depth);
    /// That many more looks, without a place of their own.
    void visits(std::size_t count);
    /// Work in units of some ten nanoseconds: small schemas with many references to large parts would take minutes.
    void spend(std::size_t work);

   private:
    std::size_t visits_ = 0;
    std::size_t work_ = 0;
};

inline constexpr std::size_t kWorkOfCopy = 32, kWorkOfKeyByte = 4;

/// The JSON pointer of what a keyword holds, and of the i-th element of that.
std::string at(const std::string& place, std::string_view keyword);
std::string at(const std::string& place, std::string_view keyword, std::size_t i);

}  // namespace tfserve
