#include "entry_lines.hpp"

#include <algorithm>

#include "characters.hpp"

namespace edgelora {
namespace {

constexpr std::string_view kList = "\"adapters\": [";
constexpr std::string_view kListEnd = "\n ]";
constexpr std::string_view kObject = "\n  {\"";
constexpr std::string_view kFile = "\n  \"adapters/";
constexpr std::string_view kNoFile = "adapters/";  // stands for all lines of files: a name that no file has
constexpr std::string_view kEnd = "},";
constexpr std::string_view kName = "\"name\"";
constexpr std::string_view kNamed = ": \"";
constexpr std::string_view kAdvice = "; export the artifact again";
constexpr std::size_t kNone = std::string_view::npos;

bool stands_at(std::string_view text, std::size_t place, std::string_view part) {
    return text.substr(place, part.size()) == part;
}

bool ends_with(std::string_view text, std::string_view end) {
    return text.size() >= end.size() && stands_at(text, text.size() - end.size(), end);
}

// The line behind a line break, without the comma at its end.
std::string_view line_at(std::string_view lines, std::size_t place) {
    std::string_view line = lines.substr(place + 1);
    line = line.substr(0, line.find('\n'));
    if (ends_with(line, ",")) line.remove_suffix(1);
    return line;
}

// Whether every line begins with `begin`, and all but the last end with a whole entry.
bool are_alike(std::string_view lines, std::string_view begin) {
    for (std::size_t place = 0; place != kNone; place = lines.find('\n', place + 1)) {
        if (!stands_at(lines, place, begin) || (place > 0 && !ends_with(lines.substr(0, place), kEnd))) return false;
    }
    return true;
}

std::vector<std::size_t> starts_of(std::string_view lines) {
    std::vector<std::size_t> starts;
    for (std::size_t place = 0; place != kNone; place = lines.find('\n', place + 1)) starts.push_back(place);
    return starts;
}

// The one name in each line; no names where a line has none, or more.
std::vector<std::string> names_in(std::string_view lines, const std::vector<std::size_t>& starts) {
    std::vector<std::string> names;
    for (const std::size_t place : starts) {
        const std::string_view line = line_at(lines, place);
        const std::size_t found = line.find(kName);
        if (found == kNone || line.find(kName, found + 1) != kNone) return {};
        const std::string_view rest = line.substr(found + kName.size());
        if (!stands_at(rest, 0, kNamed)) return {};
        names.emplace_back(rest.substr(kNamed.size(), rest.find('"', kNamed.size()) - kNamed.size()));
    }
    return names;
}

std::string key_of(std::string_view name) { return "\n  \"" + std::string(name) + "\""; }

Json parse_line(const std::string& line, const std::string& told) {
    return parse_json(line, told, Code::artifact, "export the artifact again");
}

}  // namespace

std::optional<EntryLines> EntryLines::find(std::string_view content) {
    if (find_bad_utf8(content)) return std::nullopt;
    EntryLines found;
    const std::size_t list = content.find(kList);
    if (list == kNone) return std::nullopt;
    found.adapters_.start = list + kList.size();
    found.adapters_.end = content.find(kListEnd, found.adapters_.start);
    found.files_.start = content.find(kFile, found.adapters_.end);
    if (found.adapters_.end == kNone || found.files_.start == kNone) return std::nullopt;
    found.files_.end = content.find('\n', content.rfind(kFile) + 1);
    if (found.files_.end == kNone) return std::nullopt;
    found.text_ = content;
    const std::string_view adapters = found.lines(found.adapters_), files = found.lines(found.files_);
    if (!ends_with(adapters, "}") || !ends_with(files, kEnd) || files.find('\\') != kNone) return std::nullopt;
    if (!are_alike(adapters, kObject) || !are_alike(files, kFile)) return std::nullopt;
    found.starts_ = starts_of(adapters);
    found.names_ = names_in(adapters, found.starts_);
    if (found.names_.empty()) return std::nullopt;
    return found;
}

std::string EntryLines::without() const {
    const std::string_view text = text_;
    std::string found(text.substr(0, adapters_.start));
    found += "\n  null";
    found += text.substr(adapters_.end, files_.start - adapters_.end);
    found += std::string(kFile) + "\": null,";
    return found + std::string(text.substr(files_.end));
}

bool EntryLines::take_out(Json& data) {
    const Json* adapters = find_key(data, "adapters");
    const Json* files = find_key(data, "files");
    if (adapters == nullptr || !adapters->is_array() || adapters->size() != 1 || !adapters->front().is_null()) return false;
    const Json* mark = files == nullptr ? nullptr : find_key(*files, kNoFile);
    if (mark == nullptr || !mark->is_null()) return false;
    data["adapters"].clear();
    data["files"].erase(std::string(kNoFile));
    return true;
}

Json EntryLines::read_adapter(std::size_t index, const std::string& where) const {
    const std::string told = where + ": adapters[" + std::to_string(index) + "]";
    Json found = parse_line(std::string(line_at(lines(adapters_), starts_.at(index))), told);
    const Json* name = find_key(found, "name");
    if (name != nullptr && name->is_string() && *name != names_[index]) {
        throw Error(Code::artifact, told + ": name is " + show(*name) + ", expected " + show(names_[index]) +
                                        std::string(kAdvice));
    }
    return found;
}

Json EntryLines::read_file(const std::string& name, const std::string& where) const {
    const std::string_view all = lines(files_);
    const std::size_t place = find_file(name);
    const std::string told = where + ": files: " + show(name);
    if (all.rfind(key_of(name)) != place) throw Error(Code::artifact, told + " stands twice" + std::string(kAdvice));
    Json found = parse_line("{" + std::string(line_at(all, place)) + "}", told);
    if (found.size() != 1) {
        throw Error(Code::artifact, told + ": " + std::to_string(found.size()) + " entries in its line, expected one" +
                                        std::string(kAdvice));
    }
    return std::move(found.front());
}

std::vector<std::string> EntryLines::files_below(const std::string& folder) const {
    const std::string_view all = lines(files_);
    const std::string start = "\n  \"" + folder;
    std::vector<std::string> found;
    for (std::size_t place = all.find(start); place != kNone; place = all.find(start, place + 1)) {
        const std::string_view name = all.substr(place + start.size() - folder.size());
        found.emplace_back(name.substr(0, name.find('"')));
    }
    return found;
}

std::string_view EntryLines::lines(const Place& place) const {
    return std::string_view(text_).substr(place.start, place.end - place.start);
}

std::size_t EntryLines::find_file(const std::string& name) const {
    const bool is_plain = name.compare(0, kNoFile.size(), kNoFile) == 0 && name.find_first_of("\"\\\n") == name.npos;
    return is_plain ? lines(files_).find(key_of(name)) : kNone;
}

}  // namespace edgelora
