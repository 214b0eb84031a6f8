// Lines of a manifest that each hold one entry, of an adapter or of one of its files: unread until it is asked for.
//
// A manifest as the compiler writes it is made of such lines nearly to the whole where it has many adapters. One that
// was written otherwise has none that can be told apart, and is read whole.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parse_json.hpp"

namespace edgelora {

// The lines of adapters and those of their files.
class EntryLines {
  public:
    // Those of a manifest; nothing where they cannot be told apart, or there are none.
    static std::optional<EntryLines> find(std::string_view content);

    const std::string& text() const { return text_; }
    const std::vector<std::string>& names() const { return names_; }  // of the adapters, as their lines have them

    // The text with one line in the place of all of these, twice.
    std::string without() const;

    // Take what `without` put there out of its value; false where it stood elsewhere than these lines must.
    static bool take_out(Json& data);

    // The entry of one adapter; throws Error{artifact} where its line holds anything else.
    Json read_adapter(std::size_t index, const std::string& where) const;

    // Whether a line begins with this name.
    bool has_file(const std::string& name) const { return find_file(name) != std::string_view::npos; }

    // The entry of a file that there is; throws Error{artifact} where its line holds anything else.
    Json read_file(const std::string& name, const std::string& where) const;

    // Names of files that begin with `folder`, that of an adapter with a slash behind it.
    std::vector<std::string> files_below(const std::string& folder) const;

  private:
    // Where lines stand: from the line break before the first one on to the end of the last.
    struct Place {
        std::size_t start = 0, end = 0;
    };

    std::string_view lines(const Place& place) const;
    std::size_t find_file(const std::string& name) const;

    std::string text_;
    Place adapters_, files_;
    std::vector<std::size_t> starts_;  // of the lines of adapters, behind `adapters_.start`
    std::vector<std::string> names_;
};

}  // namespace edgelora
