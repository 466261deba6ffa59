#include "text/tokenizer_json.h"

#include <stdexcept>
#include <utility>

namespace tfserve {

namespace {

using json = nlohmann::json;

[[noreturn]] void refuse(const std::string& why) { throw std::runtime_error("tokenizer.json " + why); }

TokenId checked_id(std::int64_t id) {
    if (id < 0 || id >= kMaxVocabulary) refuse("has a token id that is negative or beyond " + std::to_string(kMaxVocabulary - 1));
    return static_cast<TokenId>(id);
}

/// Follows the parser through the file. Only `decoder` and `added_tokens` become trees.
class Handler final : public nlohmann::json_sax<json> {
   public:
    explicit Handler(TokenizerJson& result) : result_(result) {}

    bool null() override { return scalar(json(nullptr)); }
    bool boolean(bool value) override { return scalar(json(value)); }
    bool number_integer(number_integer_t value) override { return number(value, json(value)); }
    bool number_unsigned(number_unsigned_t value) override {
        return number(value < static_cast<number_unsigned_t>(kMaxVocabulary) ? static_cast<std::int64_t>(value) : kMaxVocabulary,
                      json(value));
    }
    bool number_float(number_float_t value, const string_t&) override { return scalar(json(value)); }
    bool binary(binary_t&) override { return true; }

    bool string(string_t& value) override {
        switch (place()) {
            case Place::model:
                if (key_ != "type") return scalar(json(std::move(value)));
                result_.model_type = value;
                return true;
            case Place::vocab_pair:
                if (pair_index_++ == 0) add_piece(value, static_cast<std::int64_t>(result_.pieces.size()));
                return true;
            case Place::skipped: return true;
            default: return scalar(json(std::move(value)));
        }
    }

    bool start_object(std::size_t) override { return open(json::object(), true); }
    bool start_array(std::size_t) override { return open(json::array(), false); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool key(string_t& name) override {
        if (place() != Place::skipped) key_ = std::move(name);
        return true;
    }

    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
        refuse("is not valid JSON in UTF-8 (at byte " + std::to_string(position) + ")");
    }

    json added_tokens;

   private:
    enum class Place : std::uint8_t { outside, root, model, vocab_object, vocab_array, vocab_pair, captured, skipped };

    Place place() const { return places_.empty() ? Place::outside : places_.back(); }

    void add_piece(std::string_view piece, std::int64_t id) {
        if (result_.pieces.size() >= static_cast<std::size_t>(kMaxVocabulary)) refuse("has too many tokens");
        result_.pieces.push_back({result_.bytes.size(), piece.size(), checked_id(id)});
        result_.bytes += piece;
    }

    bool number(std::int64_t value, json&& tree) {
        if (place() != Place::vocab_object) return scalar(std::move(tree));
        add_piece(key_, value);
        return true;
    }

    /// Any value but an object or an array, where nothing special is expected.
    bool scalar(json&& value) {
        switch (place()) {
            case Place::outside: refuse("is not a JSON object");
            case Place::root:
                if (key_ == "decoder" || key_ == "added_tokens") tree_at_key() = std::move(value);
                if (key_ == "model") refuse("has a model that is not an object");
                return true;
            case Place::model:
                if (key_ == "vocab") refuse("has a vocabulary that is neither an object nor a list");
                return true;
            case Place::vocab_object: refuse("has a token id that is not a whole number");
            case Place::vocab_array: refuse("has a vocabulary entry that is not a list of a piece and its score");
            case Place::vocab_pair:
                if (pair_index_++ == 0) refuse("has a piece that is not a string");
                return true;
            case Place::captured: insert(std::move(value)); return true;
            case Place::skipped: return true;
        }
        return true;
    }

    bool open(json&& empty, bool is_object) {
        places_.push_back(place_inside(std::move(empty), is_object));
        return true;
    }

    Place place_inside(json&& empty, bool is_object) {
        switch (place()) {
            case Place::outside:
                if (!is_object) refuse("is not a JSON object");
                return Place::root;
            case Place::root:
                if (key_ == "model") {
                    if (!is_object) refuse("has a model that is not an object");
                    return Place::model;
                }
                if (key_ != "decoder" && key_ != "added_tokens") return Place::skipped;
                tree_at_key() = std::move(empty);
                open_trees_ = {&tree_at_key()};
                return Place::captured;
            case Place::model:
                if (key_ != "vocab") return Place::skipped;
                return is_object ? Place::vocab_object : Place::vocab_array;
            case Place::vocab_object: refuse("has a token id that is not a whole number");
            case Place::vocab_array:
                if (is_object) refuse("has a vocabulary entry that is not a list of a piece and its score");
                pair_index_ = 0;
                return Place::vocab_pair;
            case Place::vocab_pair:
                if (pair_index_++ == 0) refuse("has a piece that is not a string");
                return Place::skipped;
            case Place::captured:
                if (open_trees_.size() >= kMaxDepth) refuse("is nested too deeply");
                open_trees_.push_back(&insert(std::move(empty)));
                return Place::captured;
            case Place::skipped: return Place::skipped;
        }
        return Place::skipped;
    }

    bool close() {
        if (place() == Place::captured) open_trees_.pop_back();
        if (place() == Place::vocab_pair && pair_index_ == 0) refuse("has an empty vocabulary entry");
        places_.pop_back();
        return true;
    }

    json& tree_at_key() { return key_ == "decoder" ? result_.decoder : added_tokens; }

    json& insert(json&& value) {
        json& parent = *open_trees_.back();
        if (parent.is_object()) return parent[key_] = std::move(value);
        parent.push_back(std::move(value));
        return parent.back();
    }

    static constexpr std::size_t kMaxDepth = 32;

    TokenizerJson& result_;
    std::vector<Place> places_;
    std::vector<json*> open_trees_;
    std::string key_;
    int pair_index_ = 0;
};

void read_added_tokens(const json& list, TokenizerJson& result) {
    if (list.is_null()) return;
    if (!list.is_array()) refuse("has added_tokens that are not a list");
    for (const json& token : list) {
        if (!token.is_object()) refuse("has an added token that is not an object");
        const auto id = token.find("id");
        const auto content = token.find("content");
        const auto special = token.find("special");
        if (id == token.end() || !id->is_number_integer()) refuse("has an added token without a whole number for its id");
        if (content == token.end() || !content->is_string()) refuse("has an added token without content");
        if (special != token.end() && !special->is_boolean()) refuse("has an added token whose \"special\" is neither true nor false");
        if (id->is_number_unsigned() && id->get<std::uint64_t>() >= static_cast<std::uint64_t>(kMaxVocabulary)) checked_id(kMaxVocabulary);
        result.added.push_back(
            {content->get<std::string>(), checked_id(id->get<std::int64_t>()), special != token.end() && special->get<bool>()});
    }
}

}  // namespace

TokenizerJson read_tokenizer_json(std::string_view text) {
    TokenizerJson result;
    Handler handler(result);
    json::sax_parse(text.begin(), text.end(), &handler);
    read_added_tokens(handler.added_tokens, result);
    return result;
}

}  // namespace tfserve
