#include "grammar/pattern_languages.h"

#include <string>

#include "grammar/grammar_error.h"

namespace tfserve {

namespace {

/// Behind the group whose inside begins at `position`. Throws GrammarError when it has no end.
std::size_t end_of_group(std::string_view pattern, std::size_t position) {
    bool in_class = false;
    for (int open = 1; position < pattern.size(); ++position) {
        const char c = pattern[position];
        if (c == '\\') {
            ++position;
        } else if (in_class) {
            in_class = c != ']';
        } else if (c == '[') {
            in_class = true;
        } else if (c == '(') {
            ++open;
        } else if (c == ')' && --open == 0) {
            return position + 1;
        }
    }
    throw GrammarError("the regular expression has a group without an end");
}

RegularLanguage language(std::string pattern, RegexMatch match, const CharWriterFor& chars, bool excluded) {
    return {[pattern = std::move(pattern), match, chars](GrammarBuilder& builder) {
                return regex_expression(builder, pattern, match, chars(builder));
            },
            excluded};
}

}  // namespace

std::vector<RegularLanguage> pattern_languages(std::string_view pattern, RegexMatch match, const CharWriterFor& chars) {
    std::vector<RegularLanguage> languages;
    const bool anchored = pattern.starts_with('^');
    std::size_t position = anchored ? 1 : 0;
    // in a search that may begin anywhere, so may what it looks at
    while ((anchored || match == RegexMatch::whole) &&
           (pattern.substr(position).starts_with("(?=") || pattern.substr(position).starts_with("(?!"))) {
        const std::size_t end = end_of_group(pattern, position + 3);
        const std::string_view inside = pattern.substr(position + 3, end - position - 4);
        const bool plain = inside.find('|') == std::string_view::npos;
        std::string ahead = plain ? "^" + std::string(inside) : "^(?:" + std::string(inside) + ")";
        languages.push_back(language(std::move(ahead), RegexMatch::search, chars, pattern[position + 2] == '!'));
        position = end;
    }
    if (languages.empty()) return {language(std::string(pattern), match, chars, false)};
    const std::string_view rest = pattern.substr(position);
    if (rest.find('|') != std::string_view::npos) {
        // the first of several alternatives would be all that looks ahead
        const std::size_t group = rest.starts_with('(') ? end_of_group(rest, 1) : 0;
        if (rest.substr(group).find('|') != std::string_view::npos) {
            throw GrammarError("the regular expression looks ahead in one of several alternatives, which is not supported");
        }
    }
    languages.push_back(language((anchored ? "^" : "") + std::string(rest), match, chars, false));
    return languages;
}

ExprId languages_expression(GrammarBuilder& builder, const std::vector<RegularLanguage>& languages) {
    return languages.size() == 1 ? languages.front().make(builder) : in_all_of(builder, languages);
}

}  // namespace tfserve
