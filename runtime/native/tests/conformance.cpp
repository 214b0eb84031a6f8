// conformance FOLDER [--kinds a,b]: run the cases of `runtime/conformance`, in order, and print those that fail.
//
// Ends with 1 where a case failed and with 2 where it cannot run. Kinds that no file beside it brings are counted.
#include <cstdio>
#include <exception>
#include <set>
#include <string>
#include <vector>

#include "conformance/kinds.hpp"

namespace {

using namespace edgelora;
using namespace edgelora::conformance;

std::set<std::string> split(const std::string& text) {
    std::set<std::string> words;
    std::size_t start = 0;
    for (std::size_t comma = text.find(','); comma != text.npos; comma = text.find(',', start)) {
        words.insert(text.substr(start, comma - start));
        start = comma + 1;
    }
    words.insert(text.substr(start));
    return words;
}

Suite read_suite(const std::filesystem::path& folder) {
    const auto read = [&](const char* name) { return parse_json(content_of(folder / name), name); };
    return {folder, read("cases.json"), read("refuse.json"), read("encoders.json")};
}

Kinds all_kinds(const Suite& suite) {
    Kinds kinds;
    kinds.merge(sampling_kinds());
    kinds.merge(refuse_kinds(suite));
    kinds.merge(model_kinds(suite));
    kinds.merge(text_kinds(suite));
    kinds.merge(encoder_kinds(suite));
    return kinds;
}

class Run {
  public:
    Run(Kinds kinds, std::set<std::string> wanted) : kinds_(std::move(kinds)), wanted_(std::move(wanted)) {
        for (const std::string& kind : wanted_) {
            if (kinds_.count(kind) == 0) throw Failure("there is no kind " + show(kind) + " in this program");
        }
    }

    // `instead` is the kind of cases that name none.
    void run(const Json& cases, const std::string& instead = "") {
        for (const Json& test : cases) {
            const auto kind = test.value("kind", instead);
            const auto check = kinds_.find(kind);
            if (check == kinds_.end() || (!wanted_.empty() && wanted_.count(kind) == 0)) {
                n_left_++;
                continue;
            }
            n_run_++;
            try {
                check->second(test);
            } catch (const std::exception& error) {
                n_failed_++;
                std::printf("%s: %s: %s\n", kind.c_str(), test.at("name").get<std::string>().c_str(), error.what());
            }
        }
    }

    int end() const {
        std::printf("%d cases run, %d failed, %d of other kinds\n", n_run_, n_failed_, n_left_);
        return n_failed_ > 0 || n_run_ == 0 ? 1 : 0;
    }

  private:
    Kinds kinds_;
    std::set<std::string> wanted_;
    int n_run_ = 0;
    int n_failed_ = 0;
    int n_left_ = 0;
};

int run(const std::vector<std::string>& arguments) {
    const bool has_kinds = arguments.size() == 3 && arguments[1] == "--kinds";
    if (arguments.size() != 1 && !has_kinds) {
        std::fputs("usage: conformance FOLDER [--kinds a,b]\n", stderr);
        return 2;
    }
    const Suite suite = read_suite(std::filesystem::u8path(arguments[0]));
    Run run(all_kinds(suite), has_kinds ? split(arguments[2]) : std::set<std::string>());
    run.run(suite.refuse.at("cases"));
    run.run(suite.refuse.value("lines", Json::array()), "lines");
    run.run(suite.cases.at("cases"));
    run.run(suite.encoders.at("cases"));
    run.run(suite.encoders.at("refuse"), "encoder_manifest");
    return run.end();
}

}  // namespace

int main(int count, char** words) {
    try {
        return run({words + 1, words + count});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "conformance: %s\n", error.what());
        return 2;
    }
}
