#include "loader/json_file.h"

#include <set>
#include <vector>

#include "loader/load_error.h"
#include "loader/mapped_file.h"

namespace tfserve {

nlohmann::json parse_json(std::string_view text, const std::string& name) {
    constexpr int kMaxDepth = 32;
    std::vector<std::set<std::string>> open_objects;
    auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
        using Event = nlohmann::json::parse_event_t;
        if (depth > kMaxDepth) throw LoadError(LoadError::Kind::invalid, name + " is nested too deeply.");
        if (event == Event::object_start) open_objects.emplace_back();
        if (event == Event::object_end) open_objects.pop_back();
        if (event == Event::key && !open_objects.back().insert(value.get<std::string>()).second) {
            throw LoadError(LoadError::Kind::invalid, name + " has the key " + in_quotes(value.get<std::string>()) + " twice.");
        }
        return true;
    };
    try {
        return nlohmann::json::parse(text, check);
    } catch (const nlohmann::json::parse_error& error) {
        throw LoadError(LoadError::Kind::invalid, name + " is not valid JSON (near byte " + std::to_string(error.byte) + ").");
    } catch (const nlohmann::json::exception&) {
        throw LoadError(LoadError::Kind::invalid, name + " is not valid JSON.");
    }
}

nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t max_bytes) {
    const MappedFile file(path);
    if (file.bytes().size() > max_bytes) {
        throw LoadError(LoadError::Kind::invalid, file.name() + " is larger than " + std::to_string(max_bytes >> 20) + " MiB.");
    }
    return parse_json({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, file.name());
}

}  // namespace tfserve
