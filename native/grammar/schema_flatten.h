// Schemas without anything that combines others: references, alternatives, conditions and negations multiplied out.
#pragma once

#include <string>
#include <vector>

#include "grammar/schema_budget.h"
#include "grammar/schema_merge.h"

namespace tfserve {

/// Schemas of plain keywords (see plain_part()), any one of which is to be satisfied.
using SchemaAlternatives = std::vector<SchemaJson>;

class SchemaFlattener {
   public:
    /// `root`: what references start from. Both must outlive this.
    SchemaFlattener(const SchemaJson& root, SchemaBudget& budget) : root_(root), budget_(budget) {}

    /// A schema as alternatives. Throws GrammarError naming keyword and place.
    SchemaAlternatives flatten(const SchemaJson& schema, const std::string& place, int depth);
    /// What does not satisfy a schema, as far as that can be said; a value that does satisfy it is never among it.
    SchemaAlternatives negate(const SchemaJson& schema, const std::string& place, int depth);
    /// What a `$ref` leads to, and its place. Throws GrammarError.
    const SchemaJson& resolve(const std::string& reference, const std::string& place, std::string& target_place) const;

   private:
    /// What satisfies one of `result` and one of `by`.
    void narrow(SchemaAlternatives& result, const SchemaAlternatives& by, const std::string& place);
    std::vector<SchemaAlternatives> options_of(const SchemaJson& list, const std::string& place, int depth);
    SchemaAlternatives exclusive_options(const SchemaJson& list, const std::string& place, int depth);
    SchemaAlternatives conditional(const SchemaJson& schema, const std::string& place, int depth);
    /// Members without one, or with it and all that it needs.
    SchemaAlternatives dependency(const std::string& name, const SchemaJson& needs, const std::string& place, int depth);
    SchemaAlternatives negated_keyword(const SchemaJson& schema, const std::string& name, const std::string& place, int depth);

    const SchemaJson& root_;
    SchemaBudget& budget_;
};

}  // namespace tfserve
