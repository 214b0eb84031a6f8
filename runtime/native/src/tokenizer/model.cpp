#include "model.hpp"

#include <cstdio>

#include "../errors.hpp"

namespace edgelora::tokenizer {

void refuse_text(const std::string& why) {
    throw Error(Code::invalid_input, "the tokenizer cannot encode this text (" + why +
                                         "); give text that its vocabulary covers");
}

void read_vocabulary(const Fields& fields, Vocabulary& vocabulary) {
    const Json* found = fields.find("vocab");
    if (found == nullptr || !found->is_object()) refuse_broken(fields.place() + " has no object vocab");
    for (const auto& [token, id] : found->items()) vocabulary.add(token, read_id(id, "the token " + show(token)));
}

std::vector<std::int32_t> find_byte_tokens(const Vocabulary& vocabulary) {
    std::vector<std::int32_t> ids;
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        std::snprintf(name, sizeof name, "<0x%02X>", byte);
        ids.push_back(vocabulary.find(name).value_or(-1));
    }
    return ids;
}

std::unique_ptr<const Model> read_model(const Fields& fields) {
    std::string type = fields.text("type", "");
    if (type.empty()) {  // files older than the field
        const Json* vocabulary = fields.find("vocab");
        if (fields.find("merges") != nullptr) {
            type = "BPE";
        } else if (vocabulary != nullptr && vocabulary->is_array()) {
            type = "Unigram";
        } else {
            type = fields.find("continuing_subword_prefix") != nullptr ? "WordPiece" : "WordLevel";
        }
    }
    if (type == "BPE") return read_bpe(fields);
    if (type == "Unigram") return read_unigram(fields);
    if (type == "WordPiece") return read_word_piece(fields);
    if (type == "WordLevel") return read_word_level(fields);
    refuse_unsupported("the model " + show(type));
}

}  // namespace edgelora::tokenizer
