#include "patterns.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "characters.hpp"
#include "parse_json.hpp"
#include "pattern_node.hpp"

namespace edgelora {
namespace {

constexpr std::size_t kLongest = 8192;  // characters of a pattern
constexpr double kDearest = 4000;       // steps for each place of a name, a repetition counted as 32 of its body
constexpr int kDeepest = 32;            // groups inside one another
constexpr std::size_t kMostDigits = 4;  // of a number in a quantifier
constexpr std::u32string_view kMeta = U"\\^$.|?*+()[]{}";
constexpr std::u32string_view kPunctuation = U"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

bool is_one_of(std::u32string_view set, char32_t point) { return set.find(point) != set.npos; }

std::string shown(std::u32string_view points) { return show(encode_utf8(points)); }

struct Quantifier {
    std::u32string text;
    std::optional<int> low;
    bool has_comma;
    std::optional<int> high;
};

// A member of a [ ]: a character, or a test such as that of \d.
struct Member {
    std::optional<char32_t> character;
    CharacterTest test;
};

// Reads a pattern from left to right.
class Parser {
  public:
    explicit Parser(std::u32string_view text) : text_(text) {}

    NodePointer parse() {
        NodePointer node = alternatives();
        if (!is_over()) throw PatternError("a ')' closes no group");
        return node;
    }

  private:
    bool is_over() const { return at_ >= text_.size(); }
    bool peek(std::u32string_view start) const { return text_.substr(at_, start.size()) == start; }
    bool has_next() const { return at_ + 1 < text_.size(); }

    NodePointer alternatives() {
        std::vector<NodePointer> branches = {sequence()};
        while (peek(U"|")) {
            at_++;
            branches.push_back(sequence());
        }
        return alternatives_node(std::move(branches));
    }

    NodePointer sequence() {
        std::vector<NodePointer> nodes;
        std::u32string run;
        const auto end_run = [&] {
            if (!run.empty()) nodes.push_back(literal_node(std::exchange(run, {})));
        };
        while (!is_over() && !peek(U"|") && !peek(U")")) {
            const std::optional<char32_t> character = literal();
            if (character && !quantifier()) {
                run.push_back(*character);
                continue;
            }
            end_run();
            nodes.push_back(quantified(character ? literal_node({*character}) : atom()));
        }
        end_run();
        return sequence_node(std::move(nodes));
    }

    // A character that stands for itself, or nothing where something else begins.
    std::optional<char32_t> literal() {
        const char32_t character = text_[at_];
        if (!is_one_of(kMeta, character)) {
            at_++;
            return character;
        }
        if (character != U'\\' || !has_next() || !is_one_of(kPunctuation, text_[at_ + 1])) return std::nullopt;
        at_ += 2;
        return text_[at_ - 1];
    }

    NodePointer atom() {
        const char32_t character = text_[at_];
        if (character == U'(') return group();
        if (character == U'[') return character_class();
        if (character == U'\\') {
            if (!peek(U"\\b")) return one_of(escaped_class());
            at_ += 2;
            return boundary_node();
        }
        at_++;
        if (character == U'.') return one_of([](char32_t) { return true; });
        if (character == U'^') return begin_node();
        if (character == U'$') return end_node();
        const std::u32string_view one = text_.substr(at_ - 1, 1);
        if (is_one_of(U"*+?", character)) throw PatternError(shown(one) + " repeats nothing");
        throw PatternError(shown(one) + " stands alone; write it as \\" + encode_utf8(one));
    }

    CharacterTest escaped_class() {
        if (!has_next()) throw PatternError("a '\\' at the end is not read; write the names of the modules");
        const char32_t letter = text_[at_ + 1];
        if (letter != U'd' && letter != U'w') {
            throw PatternError(shown(text_.substr(at_, 2)) + " is not read; write the names of the modules");
        }
        at_ += 2;
        if (letter == U'w') return is_word_character;
        return [](char32_t point) { return point >= U'0' && point <= U'9'; };
    }

    NodePointer group() {
        for (const bool is_wanted : {true, false}) {
            if (!peek(is_wanted ? U"(?=" : U"(?!")) continue;
            at_ += 3;
            return looking_node(inside(), is_wanted);
        }
        if (peek(U"(?") && !peek(U"(?:")) {
            throw PatternError(shown(text_.substr(at_, 4)) +
                               " is not read; groups are (…), (?:…), (?=…), (?!…)");
        }
        at_ += peek(U"(?:") ? 3 : 1;
        return group_node(inside());
    }

    NodePointer inside() {
        if (++depth_ > kDeepest) {
            throw PatternError("groups are nested more than " + std::to_string(kDeepest) + " deep");
        }
        NodePointer body = alternatives();
        if (!peek(U")")) throw PatternError("a '(' is not closed");
        at_++;
        depth_--;
        return body;
    }

    NodePointer character_class() {
        at_++;
        const bool is_negated = peek(U"^");
        at_ += is_negated ? 1 : 0;
        const std::size_t first = at_;
        std::vector<CharacterTest> tests;
        while (!peek(U"]") || at_ == first) {
            if (is_over()) throw PatternError("a '[' is not closed");
            tests.push_back(member_or_range(first));
        }
        at_++;
        return one_of([tests = std::move(tests), is_negated](char32_t point) {
            return std::any_of(tests.begin(), tests.end(), [&](const auto& test) { return test(point); }) !=
                   is_negated;
        });
    }

    CharacterTest member_or_range(std::size_t first) {
        const Member low = class_member(first);
        if (!low.character) return low.test;
        char32_t high = *low.character;
        if (peek(U"-") && !peek(U"-]")) {
            at_++;
            const Member end = class_member(first);
            if (!end.character || *end.character < *low.character) {
                throw PatternError("the range after " + shown({&*low.character, 1}) + " in a [ ] goes nowhere");
            }
            high = *end.character;
        }
        return [low = *low.character, high](char32_t point) { return low <= point && point <= high; };
    }

    Member class_member(std::size_t first) {
        if (peek(U"\\")) {
            const std::optional<char32_t> character = literal();
            if (character) return {character, {}};
            return {std::nullopt, escaped_class()};
        }
        const std::u32string_view one = text_.substr(at_, 1);
        const bool is_edge = one == U"-" && (at_ == first || peek(U"-]"));
        if (one.empty() || (is_one_of(U"[]^-&~|", one[0]) && !is_edge)) {
            throw PatternError(shown(one) + " stands alone in a [ ]; write it as \\" + encode_utf8(one));
        }
        at_++;
        return {one[0], {}};
    }

    NodePointer quantified(const NodePointer& atom) {
        const std::optional<Quantifier> found = quantifier();
        if (!found) {
            if (peek(U"{")) throw PatternError("'{' stands alone; write it as \\{");
            return atom;
        }
        if (atom->is_place()) throw PatternError(shown(found->text) + " repeats what takes no character");
        const auto [least, most] = bounds(*found);
        at_ += found->text.size();
        if (peek(U"+")) throw PatternError(shown(found->text + U"+") + " is possessive, which is not read");
        at_ += peek(U"?") ? 1 : 0;  // lazy or not, the names that match are the same
        if (quantifier()) throw PatternError(shown(found->text) + " is repeated itself");
        return repeat_node(atom, least, most);
    }

    // What repeats the item that was read, where something does.
    std::optional<Quantifier> quantifier() const {
        if (is_over()) return std::nullopt;
        if (is_one_of(U"*+?", text_[at_])) return Quantifier{{text_[at_]}, {}, false, {}};
        if (text_[at_] != U'{') return std::nullopt;
        std::size_t end = at_ + 1;
        const auto number = [&]() -> std::optional<int> {
            const std::size_t start = end;
            int value = 0;
            while (end < text_.size() && end - start < kMostDigits && text_[end] >= U'0' && text_[end] <= U'9') {
                value = value * 10 + static_cast<int>(text_[end++] - U'0');
            }
            return end == start ? std::nullopt : std::optional<int>(value);
        };
        const std::optional<int> low = number();
        const bool has_comma = end < text_.size() && text_[end] == U',';
        end += has_comma ? 1 : 0;
        const std::optional<int> high = number();
        if (end >= text_.size() || text_[end] != U'}') return std::nullopt;
        return Quantifier{std::u32string(text_.substr(at_, end + 1 - at_)), low, has_comma, high};
    }

    static std::pair<int, int> bounds(const Quantifier& found) {
        if (found.text == U"*") return {0, -1};
        if (found.text == U"+") return {1, -1};
        if (found.text == U"?") return {0, 1};
        if (!found.low && !found.high) {
            throw PatternError(shown(found.text) + " has no number; write it as \\" + encode_utf8(found.text));
        }
        const int least = found.low.value_or(0);
        const int most = found.has_comma ? found.high.value_or(-1) : least;
        if (most >= 0 && most < least) throw PatternError(shown(found.text) + " ends before it begins");
        return {least, most};
    }

    std::u32string_view text_;
    std::size_t at_ = 0;
    int depth_ = 0;
};

bool reaches_end(const PatternNode& node, const Name& name, const Ends& starts) {
    const Ends reached = node.step(name, starts);
    return !reached.empty() && reached.back() == name.size();
}

}  // namespace

Pattern Pattern::parse(std::string_view text) {
    const std::u32string points = decode_utf8(text);
    if (points.size() > kLongest) {
        throw PatternError("it has " + std::to_string(points.size()) + " characters, at most " +
                           std::to_string(kLongest) + " are read");
    }
    Pattern pattern(Parser(points).parse());
    if (pattern.node_->cost() > kDearest) throw PatternError("it repeats too much; write the names of the modules");
    const bool is_plain = std::none_of(points.begin(), points.end(), [](char32_t point) {
        return point != U'.' && is_one_of(kMeta, point);
    });
    if (is_plain) pattern.plain_ = points;
    return pattern;
}

bool Pattern::matches_whole(std::string_view name) const { return reaches_end(*node_, decode_utf8(name), {0}); }

bool Pattern::matches_ending(std::string_view name) const {
    const Name points = decode_utf8(name);
    if (!plain_.empty()) {  // the name of a module, of which an adapter may have hundreds
        if (plain_.size() > points.size()) return false;
        const std::size_t start = points.size() - plain_.size();
        if (start > 0 && points[start - 1] != U'.') return false;
        return std::equal(plain_.begin(), plain_.end(), points.begin() + static_cast<std::ptrdiff_t>(start),
                          [](char32_t wanted, char32_t found) { return wanted == U'.' || wanted == found; });
    }
    Ends starts = {0};
    for (std::size_t place = 0; place < points.size(); place++) {
        if (points[place] == U'.') starts.push_back(static_cast<std::uint32_t>(place + 1));
    }
    return reaches_end(*node_, points, starts);
}

}  // namespace edgelora
