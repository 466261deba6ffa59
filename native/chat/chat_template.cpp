#include "chat/chat_template.h"

#include "jinja/lexer.h"
#include "jinja/parser.h"
#include "jinja/runtime.h"
#include "jinja/utils.h"
#include "jinja/value.h"
#include "json.h"

#include <string_view>

namespace tfserve {

namespace {

constexpr std::size_t kLargestSource = 1024 * 1024;

// The engine quotes the template's source around an error. What the template itself raised is meant for whoever wrote
// the messages; everything else is the engine's own text and stays here.
std::string reason_of(const std::string& what) {
    constexpr std::string_view kRaised = "Jinja Exception: ";
    constexpr std::size_t kLongest = 300;
    const std::size_t at = what.rfind(kRaised);
    if (at == std::string::npos) return "an expression in it cannot be evaluated with them.";
    return what.substr(at + kRaised.size(), kLongest);
}

}  // namespace

std::string render_chat_template(const std::string& source, const std::string& context_json, std::int64_t now) {
    if (source.size() > kLargestSource) throw ChatTemplateError("the template is larger than 1 MiB.");
    try {
        const jinja::render_limits_scope limits;
        jinja::lexer lexer;
        auto tokens = lexer.tokenize(source);
        auto program = jinja::parse_from_tokens(tokens);
        jinja::context context(source);
        if (now != 0) context.current_time = static_cast<std::time_t>(now);
        jinja::global_from_json(context, common_json::parse(context_json), false);
        jinja::runtime runtime(context);
        auto result = runtime.execute(program);
        const auto text = jinja::runtime::gather_string_parts(result);
        if (text->val_str.length() > jinja::render_limits::max_string) throw ChatTemplateError("it makes too much text.");
        return text->as_string().str();
    } catch (const ChatTemplateError&) {
        throw;
    } catch (const jinja::limit_exception& error) {
        throw ChatTemplateError(error.what());
    } catch (const std::exception& error) {
        throw ChatTemplateError(reason_of(error.what()));
    }
}

}  // namespace tfserve
