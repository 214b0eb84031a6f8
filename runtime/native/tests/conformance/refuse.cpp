// Kinds of refuse.json: content that a reader must refuse in one line, or must read, and patterns for names.
#include <algorithm>
#include <memory>

#include "adapter_config.hpp"
#include "kinds.hpp"
#include "manifest.hpp"
#include "patterns.hpp"
#include "receipt.hpp"
#include "safetensors.hpp"

namespace edgelora::conformance {
namespace {

using Reader = std::function<void(std::string_view)>;

std::string decode_base64(const std::string& text) {
    constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string bytes;
    std::uint32_t bits = 0;
    int n_bits = 0;
    for (const char letter : text) {
        if (letter == '=') break;
        bits = bits << 6 | static_cast<std::uint32_t>(letters.find(letter));
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        bytes.push_back(static_cast<char>(bits >> n_bits & 0xff));
    }
    return bytes;
}

// What stands at a place of a document; an object gets the last key where it lacks it.
Json& place_in(Json& document, const Json& path) {
    Json* place = &document;
    for (const Json& key : path) {
        place = key.is_string() ? &(*place)[key.get<std::string>()] : &(*place)[key.get<std::size_t>()];
    }
    return *place;
}

void drop_from(Json& document, const Json& path) {
    Json above = path;
    above.erase(above.size() - 1);
    Json& place = place_in(document, above);
    const Json& key = path.back();
    if (key.is_string()) {
        place.erase(key.get<std::string>());
    } else {
        place.erase(key.get<std::size_t>());
    }
}

std::string with_length(const std::string& header, std::size_t data_bytes) {
    std::string file;
    for (int shift = 0; shift < 64; shift += 8) file.push_back(static_cast<char>(header.size() >> shift & 0xff));
    return file + header + std::string(data_bytes, '\0');
}

// The file of a case; `runtime/conformance/README.md` says how it is told.
std::string content_of_case(const Json& test, const Json& base) {
    if (test.contains("text")) return test.at("text");
    if (test.contains("base64")) return decode_base64(test.at("base64"));
    if (test.contains("header")) return with_length(test.at("header"), test.at("data_bytes"));
    if (test.contains("pieces")) {
        std::string content;
        for (const Json& piece : test.at("pieces")) {
            for (auto times = piece.at(1).get<std::size_t>(); times > 0; times--) content += piece.at(0);
        }
        return content;
    }
    Json document = base;
    for (const Json& change : test.value("changes", Json::array())) {
        if (change.value("drop", false)) {
            drop_from(document, change.at("at"));
        } else if (change.contains("copy")) {
            const Json copied = place_in(document, change.at("copy"));
            place_in(document, change.at("at")) = copied;
        } else {
            place_in(document, change.at("at")) = change.at("put");
        }
    }
    const std::string mark = test.value("mark", false) ? "\xef\xbb\xbf" : "";
    return mark + "{" + test.value("insert", std::string()) + document.dump().substr(1);
}

Check reader_check(Json base, Code code, Reader read) {
    return [base = std::move(base), code, read = std::move(read)](const Json& test) {
        const std::string content = content_of_case(test, base);
        // Memory of its own and of this size: a reader that looks further is seen by the sanitizer.
        const std::unique_ptr<char[]> bytes(new char[content.size()]);
        std::copy(content.begin(), content.end(), bytes.get());
        const auto call = [&] { read({bytes.get(), content.size()}); };
        if (test.value("accepted", false)) return call();
        const Error error = expect_refused(call, test.at("message_has"));
        if (error.code != code) throw Failure("the error has another code: " + std::string(error.what()));
    };
}

// Every entry of a manifest, asked for one by one.
void read_opened(std::string_view content) {
    const Manifest manifest = open_manifest(content);
    for (std::size_t index = 0; index < manifest.adapters.size(); index++) (void)manifest.adapters.at(index);
    (void)manifest.files.all();
}

Check manifest_check(const Json& base) {
    const Check whole = reader_check(base, Code::artifact, [](std::string_view content) { parse_manifest(content); });
    const Check opened = reader_check(base, Code::artifact, read_opened);
    return [whole, opened](const Json& test) {
        whole(test);
        opened(test);
    };
}

// A manifest with another text in the place of a line: it opens, and what concerns one adapter is refused, or read,
// when that is asked for.
Check lines_check(std::string text) {
    return [text = std::move(text)](const Json& test) {
        const auto old = test.at("old").get<std::string>();
        std::string content = text;
        content.replace(content.find(old), old.size(), test.at("new").get<std::string>());
        const Manifest manifest = open_manifest(content);
        const auto read = [&](std::size_t index) {
            const AdapterInfo info = manifest.adapters.at(index);
            expect_same(info.name, manifest.adapters.names().at(index), "the name");
            for (const std::string& file : files_of_adapter(manifest, index)) (void)manifest.files.at(file);
        };
        expect_same(manifest.adapters.names(), {"one", "four", "eight"}, "the names");
        read(0);
        read(2);
        if (test.value("accepted", false)) {
            read(1);
            expect_same(manifest.files.all().size(), parse_manifest(content).files.all().size(), "the number of files");
            return;
        }
        expect_refused([&] { read(1); }, test.at("message_has"));
        expect_refused([&] { parse_manifest(content); }, "");
    };
}

void check_pattern(const Json& test) {
    const Pattern pattern = Pattern::parse(test.at("pattern").get<std::string>());
    const auto module = test.at("module").get<std::string>();
    const bool is_whole = test.at("field") == "target_modules";
    const bool found = is_whole ? pattern.matches_whole(module) : pattern.matches_ending(module);
    expect_same(found, test.at("expected"), "whether it matches");
}

}  // namespace

Kinds refuse_kinds(const Suite& suite) {
    const auto document = [&](const char* name) {
        const std::filesystem::path path = suite.folder / name;
        return parse_json(content_of(path), path.u8string());
    };
    return {
        {"manifest", manifest_check(document("tiny-float/manifest.json"))},
        {"encoder_manifest", manifest_check(document("encoder-topics/manifest.json"))},
        {"lines", lines_check(content_of(suite.folder / "tiny-float/manifest.json"))},
        {"receipt", reader_check(suite.refuse.at("receipt"), Code::adapter,
                                 [](std::string_view content) { parse_receipt(content); })},
        {"adapter_config", reader_check(document("tiny-float/adapters/one/adapter_config.json"), Code::adapter,
                                        [](std::string_view content) { parse_config(content); })},
        {"safetensors", reader_check({}, Code::artifact,
                                     [](std::string_view content) { parse_safetensors(content, "file"); })},
        {"pattern", check_pattern},
    };
}

}  // namespace edgelora::conformance
