#include "post_processor.hpp"

#include <utility>

#include "fields.hpp"
#include "patterns.hpp"

namespace edgelora::tokenizer {
namespace {

// The id of ["[CLS]", 101].
std::int32_t read_pair(const Fields& fields, std::string_view key) {
    const Json& pair = fields.list(key);
    if (pair.size() != 2) refuse_broken(fields.place() + "." + std::string(key) + " is no token with its id");
    return read_id(pair[1], fields.place() + "." + std::string(key));
}

}  // namespace

PostProcessor PostProcessor::read(const Json& value) {
    PostProcessor read;
    read.read_part(value, 0);
    return read;
}

void PostProcessor::read_part(const Json& value, int depth) {
    const Fields fields(value, "post_processor");
    const std::string type = fields.type();
    if (type == "Sequence") {
        if (depth >= kDeepestSequence) refuse_unsupported("post-processors nested too deep");
        for (const Json& part : fields.list("processors")) read_part(part, depth + 1);
        return;
    }
    if (type == "ByteLevel") return;  // it moves the places of tokens, which are not kept here
    if (!parts_.empty()) refuse_unsupported("two post-processors that put special tokens around a text");
    if (type == "TemplateProcessing") return read_template(value);
    if (type == "BertProcessing" || type == "RobertaProcessing") {
        parts_ = {{false, {read_pair(fields, "cls")}}, {true, {}}, {false, {read_pair(fields, "sep")}}};
        return;
    }
    refuse_unsupported("the post-processor " + show(type));
}

void PostProcessor::read_template(const Json& value) {
    const Fields fields(value, "post_processor");
    for (const Json& part : fields.list("single")) {
        const Fields piece(part, "a part of post_processor.single");
        if (piece.find("Sequence") != nullptr) {
            if (piece.object("Sequence").text("id") != "A") refuse_broken("post_processor.single needs a second text");
            parts_.push_back({true, {}});
            continue;
        }
        const std::string name = piece.object("SpecialToken").text("id");
        const Json* known = fields.find("special_tokens");
        const Json* token = known == nullptr ? nullptr : find_key(*known, name);
        if (token == nullptr) refuse_broken("post_processor.special_tokens lacks " + show(name));
        Part special{false, {}};
        for (const Json& id : Fields(*token, "the special token " + show(name)).list("ids")) {
            special.ids.push_back(read_id(id, "the special token " + show(name)));
        }
        parts_.push_back(std::move(special));
    }
    if (parts_.empty()) parts_.push_back({false, {}});  // a template without the text drops it
}

void PostProcessor::around(std::vector<std::int32_t>& before, std::vector<std::int32_t>& after) const {
    bool is_behind = false;
    for (const Part& part : parts_) {
        if (part.is_text && is_behind) refuse_unsupported("a post-processor that writes a text twice");
        is_behind = is_behind || part.is_text;
        std::vector<std::int32_t>& ids = is_behind ? after : before;
        ids.insert(ids.end(), part.ids.begin(), part.ids.end());
    }
    if (!is_behind && !parts_.empty()) refuse_unsupported("a post-processor that leaves the text out");
}

std::vector<std::int32_t> PostProcessor::apply(std::vector<std::int32_t> ids, bool has_special) const {
    if (parts_.empty()) return ids;
    std::vector<std::int32_t> out;
    for (const Part& part : parts_) {
        if (part.is_text) {
            out.insert(out.end(), ids.begin(), ids.end());
        } else if (has_special) {
            out.insert(out.end(), part.ids.begin(), part.ids.end());
        }
        check_length(out.size() * sizeof(std::int32_t));
    }
    return out;
}

}  // namespace edgelora::tokenizer
