// tokenize TOKENIZER [--time TEXT]: answer each line of stdin with one line of JSON.
//
// A line is a JSON string, answered by its ids with and without special tokens, the characters that those of the second
// stand for (null where the text stands not once between special tokens), and both decodings of the first, or a list of
// ids, answered by its decodings. With --time: how many megabytes of the file TEXT it encodes in a second.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "errors.hpp"
#include "parse_json.hpp"
#include "tokenizer/tokenizer.hpp"

namespace {

using namespace edgelora;

std::string content_of(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw Error(Code::invalid_input, std::string(path) + " cannot be read; give a file");
    return {std::istreambuf_iterator<char>(file), {}};
}

Json offsets_of(const Tokenizer& tokenizer, const std::string& text, const Json& plain) {
    try {
        const EncodedText found = tokenizer.take_apart(text, true);
        if (found.ids != plain.get<std::vector<std::int32_t>>()) throw Error(Code::internal, "the ids differ");
        return found.offsets;
    } catch (const Error& error) {
        if (error.code == Code::unsupported) return nullptr;
        throw;
    }
}

Json answer(const Tokenizer& tokenizer, const std::string& line) {
    try {
        const Json asked = parse_json(line, "the line");
        Json answer = Json::object();
        std::vector<std::int32_t> ids;
        if (asked.is_string()) {
            const auto& text = asked.get_ref<const std::string&>();
            ids = tokenizer.encode(text, true);
            answer["ids"] = ids;
            answer["plain"] = tokenizer.encode(text, false);
            answer["offsets"] = offsets_of(tokenizer, text, answer["plain"]);
        } else {
            ids = asked.get<std::vector<std::int32_t>>();
        }
        answer["skipped"] = tokenizer.decode(ids, true);
        answer["whole"] = tokenizer.decode(ids, false);
        return answer;
    } catch (const Error& error) {
        return Json{{"error", error.what()}, {"code", static_cast<int>(error.code)}};
    }
}

void print_speed(const Tokenizer& tokenizer, const std::string& text) {
    double best = 0.0;
    std::size_t count = 0;
    for (int round = 0; round < 5; round++) {
        const std::clock_t start = std::clock();
        count = tokenizer.encode(text, false).size();
        const double taken = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
        best = std::max(best, static_cast<double>(text.size()) / 1e6 / taken);
    }
    std::printf("%.2f MB in a second of one core, %zu ids\n", best, count);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc != 2 && argc != 4) throw Error(Code::invalid_input, "give TOKENIZER, or TOKENIZER --time TEXT");
        const Tokenizer tokenizer = Tokenizer::from_json(content_of(argv[1]));
        if (argc == 4) {
            print_speed(tokenizer, content_of(argv[3]));
            return 0;
        }
        std::cout << Json{{"vocab_size", tokenizer.vocab_size()}}.dump() << '\n';
        for (std::string line; std::getline(std::cin, line);) std::cout << answer(tokenizer, line).dump() << '\n';
        return 0;
    } catch (const Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
}
