#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "grammar/grammar_error.h"
#include "grammar/schema_containers.h"
#include "grammar/schema_scalars.h"

namespace tfserve {

namespace {

/// Members that are not declared are told apart by which of the patterns match: 2^n kinds.
constexpr std::size_t kMostPatterns = 4;

/// Strings, as the languages that they are all in.
using NameLanguages = std::vector<RegularLanguage>;

/// Tells whether names are in all of some languages.
class NameTest {
   public:
    NameTest(GrammarBuilder& builder, const NameLanguages& languages) {
        for (const RegularLanguage& language : languages) automata_.emplace_back(automaton_of(builder, language), language.excluded);
    }

    bool takes(const std::string& name) {
        const std::string quoted = SchemaJson(name).dump();
        return std::ranges::all_of(automata_, [&](auto& one) {
            auto& [automaton, excluded] = one;
            Automaton::State state = automaton.start();
            for (std::size_t i = 1; i + 1 < quoted.size() && state != Automaton::kDead; ++i)
                state = automaton.next(state, static_cast<unsigned char>(quoted[i]));
            return (state != Automaton::kDead && automaton.may_end(state)) != excluded;
        });
    }

   private:
    std::vector<std::pair<Automaton, bool>> automata_;
};

/// The members that an object may have: those with a name of their own, and others.
class Members {
   public:
    Members(const SchemaPieces& pieces, const SchemaJson& schema, const std::string& place, int depth)
        : pieces_(pieces), schema_(schema), place_(place), depth_(depth) {
        read_patterns();
        read_names();
        // where members are listed and nothing is said of others, there are no others
        const bool open = !schema.contains("properties") && !schema.contains("patternProperties");
        others_ = schema.contains("additionalProperties") ? schema["additionalProperties"] : SchemaJson(open);
        for (const SchemaJson& name : schema.value("required", SchemaJson::array())) required_.insert(name.get<std::string>());
        for (const SchemaJson& name : schema.value("absent", SchemaJson::array())) declared_[name.get<std::string>()] = false;
        const SchemaJson own = schema.value("properties", SchemaJson::object());
        for (const auto& [name, value] : own.items()) declare(name, value, true);
        // a member that is asked for may be anything where nothing is said of others
        for (const std::string& name : required_in_order())
            declare(name, schema.contains("additionalProperties") ? others_ : SchemaJson(true), false);
        for (const std::string& name : listed_) declare(name, others_, false);
    }

    ExprId run() {
        struct Property {
            ExprId member;
            bool required;
        };
        GrammarBuilder& builder = pieces_.builder;
        std::vector<Property> properties;
        for (const auto& [key, value] : declared_.items()) {
            const bool required = required_.contains(key);
            if (value == false && !required) continue;
            const ExprId written = pieces_.compile(value, at(place_ + "/properties", key), depth_ + 1);
            const ExprId member = pieces_.json.member(builder.bytes(SchemaJson(key).dump()), written);
            properties.push_back({builder.shared(member), required});
        }
        const std::vector<ExprId> others = other_members();
        check_counts(required_.size(), properties.size(), !others.empty());
        // what may follow when something, or nothing, has been written before
        ExprId behind = builder.empty(), first = builder.never();
        if (!others.empty()) {
            const ExprId other = builder.shared(builder.any_of(others));
            behind = builder.shared(builder.repeat(builder.sequence({pieces_.json.comma(), other}), 0));
            first = builder.sequence({other, behind});
        }
        for (std::size_t i = properties.size(); i-- > 0;) {
            const auto& [member, required] = properties[i];
            const ExprId begins = builder.sequence({member, behind});
            first = builder.shared(required ? begins : builder.any_of({begins, first}));
            const ExprId goes_on = builder.sequence({pieces_.json.comma(), member});
            behind = builder.shared(builder.sequence({required ? goes_on : builder.optional(goes_on), behind}));
        }
        return pieces_.json.braced("{}", first, required_.empty());
    }

   private:
    struct Pattern {
        NameLanguages languages;
        NameTest test;
        const SchemaJson* schema;
    };

    void read_patterns() {
        const auto given = schema_.find("patternProperties");
        if (given == schema_.end()) return;
        if (given->size() > kMostPatterns) {
            throw GrammarError("the keyword 'patternProperties' at '" + place_ + "' is supported for up to " +
                               std::to_string(kMostPatterns) + " patterns");
        }
        for (const auto& [pattern, value] : given->items()) {
            NameLanguages languages = matching_strings(pattern, at(at(place_, "patternProperties"), pattern));
            if (languages.size() > 1)
                throw GrammarError("a pattern that looks ahead is not supported in 'patternProperties' at '" + place_ + "'");
            NameTest test(pieces_.builder, languages);
            patterns_.push_back({std::move(languages), std::move(test), &value});
        }
    }

    void read_names() {
        if (!schema_.contains("propertyNames")) return;
        const std::string place = at(place_, "propertyNames");
        const SchemaAlternatives options = pieces_.flattener.flatten(schema_["propertyNames"], place, depth_ + 1);
        if (options.size() > 1)
            throw GrammarError("alternatives in 'propertyNames' at '" + place_ + "' are not supported: use one pattern or an enum");
        const SchemaJson only = options.empty() ? SchemaJson(false) : options.front();
        if (only == true) return;
        if (only == false || !takes_type(only, "string")) {
            has_list_ = true;
        } else if (only.contains("enum")) {
            has_list_ = true;
            NameTest test(pieces_.builder, string_languages(only, place));
            for (const SchemaJson& value : only["enum"]) {
                if (value.is_string() && test.takes(value.get<std::string>())) listed_.push_back(value.get<std::string>());
            }
        } else {
            names_ = string_languages(only, place);
            names_test_.emplace(pieces_.builder, names_);
        }
    }

    std::vector<std::string> required_in_order() const {
        std::vector<std::string> names;
        for (const SchemaJson& name : schema_.value("required", SchemaJson::array())) names.push_back(name.get<std::string>());
        return names;
    }

    bool may_be_named(const std::string& name) {
        if (has_list_) return std::ranges::find(listed_, name) != listed_.end();
        return !names_test_ || names_test_->takes(name);
    }

    /// `value`: what is said of the name; unless it is its `own`, only where no pattern matches.
    void declare(const std::string& name, const SchemaJson& value, bool own) {
        if (declared_.contains(name)) return;
        SchemaJson all = value;
        bool matched = own;
        for (Pattern& pattern : patterns_) {
            if (!pattern.test.takes(name)) continue;
            all = matched ? both_of(all, *pattern.schema) : *pattern.schema;
            matched = true;
        }
        declared_[name] = may_be_named(name) ? std::move(all) : SchemaJson(false);
    }

    /// Members of any other name, a kind for each set of patterns that match.
    std::vector<ExprId> other_members() {
        std::vector<std::string> keys;
        for (const auto& [key, value] : declared_.items()) keys.push_back(key);
        std::vector<ExprId> members;
        if (has_list_) return members;
        if (patterns_.empty() && names_.empty()) {
            if (others_ == false) return members;
            const ExprId value = pieces_.compile(others_, at(place_, "additionalProperties"), depth_ + 1);
            members.push_back(pieces_.json.member(keys.empty() ? pieces_.json.string() : pieces_.json.other_key(keys), value));
            return members;
        }
        for (std::size_t kind = 0; kind < std::size_t{1} << patterns_.size(); ++kind) {
            SchemaJson value = kind == 0 ? others_ : SchemaJson(true);
            NameLanguages languages = names_;
            languages.push_back(any_string());
            if (!keys.empty()) {
                languages.push_back(listed_strings(keys));
                languages.back().excluded = true;
            }
            for (std::size_t i = 0; i < patterns_.size(); ++i) {
                languages.push_back(patterns_[i].languages.front());
                languages.back().excluded = (kind >> i & 1) == 0;
                if ((kind >> i & 1) != 0) value = both_of(value, *patterns_[i].schema);
            }
            if (value == false || !have_common_text(pieces_.builder, languages)) continue;
            GrammarBuilder& builder = pieces_.builder;
            const ExprId name = builder.sequence({builder.bytes("\""), in_all_of(builder, languages), builder.bytes("\"")});
            const std::string from = kind == 0 ? "additionalProperties" : "patternProperties";
            members.push_back(pieces_.json.member(name, pieces_.compile(value, at(place_, from), depth_ + 1)));
        }
        return members;
    }

    void check_counts(std::size_t required, std::size_t declared, bool open) const {
        if (count_or(schema_, "minProperties", 0) > required) {
            throw GrammarError("the keyword 'minProperties' at '" + place_ + "' is not supported beyond the number of required properties");
        }
        if (schema_.contains("maxProperties") && (open || count_or(schema_, "maxProperties", 0) < declared)) {
            throw GrammarError("the keyword 'maxProperties' at '" + place_ + "' is not supported below the number of properties");
        }
    }

    const SchemaPieces& pieces_;
    const SchemaJson& schema_;
    const std::string& place_;
    const int depth_;
    SchemaJson others_;
    SchemaJson declared_ = SchemaJson::object();  ///< false: must not be there
    std::set<std::string> required_;
    std::vector<Pattern> patterns_;
    bool has_list_ = false;  ///< propertyNames lists all names
    std::vector<std::string> listed_;
    NameLanguages names_;
    std::optional<NameTest> names_test_;
};

}  // namespace

ExprId object_expression(const SchemaPieces& pieces, const SchemaJson& schema, const std::string& place, int depth) {
    return Members(pieces, schema, place, depth).run();
}

}  // namespace tfserve
