#include "tokenizer.hpp"

#include <algorithm>
#include <utility>

#include "../characters.hpp"
#include "../errors.hpp"
#include "../parse_json.hpp"
#include "added_tokens.hpp"
#include "decoders.hpp"
#include "fields.hpp"
#include "model.hpp"
#include "normalizers.hpp"
#include "post_processor.hpp"
#include "pre_tokenizers.hpp"

namespace edgelora {

using namespace tokenizer;

struct Tokenizer::Parts {
    explicit Parts(const Fields& fields);

    // `spans`, where it is given, gets what each id stands for of the whole text, in which this one begins at `start`.
    void encode_text(std::string_view text, std::size_t start, std::vector<std::int32_t>& ids, std::vector<Span>* spans,
                     Scratch& scratch, WorkSpace* space) const;
    std::vector<std::int32_t> encode(std::string_view text, std::vector<Span>* spans) const;
    std::optional<std::string_view> token(std::int32_t id) const;

    std::unique_ptr<const Model> model;
    std::unique_ptr<const Normalizer> normalizer;
    std::unique_ptr<const PreTokenizer> pre_tokenizer;
    PostProcessor post_processor;
    std::unique_ptr<const Decoder> decoder;
    std::optional<AddedTokens> added;
};

Tokenizer::Parts::Parts(const Fields& fields) : model(read_model(fields.object("model"))) {
    if (const Json* value = fields.find("normalizer")) normalizer = read_normalizer(*value);
    if (const Json* value = fields.find("pre_tokenizer")) pre_tokenizer = read_pre_tokenizer(*value);
    if (const Json* value = fields.find("post_processor")) post_processor = PostProcessor::read(*value);
    if (const Json* value = fields.find("decoder")) decoder = read_decoder(*value);
    added.emplace(fields.find("added_tokens"), *model, normalizer.get());
}

// Text in which no added token stands that is found before normalizing.
void Tokenizer::Parts::encode_text(std::string_view text, std::size_t start, std::vector<std::int32_t>& ids,
                                   std::vector<Span>* spans, Scratch& scratch, WorkSpace* space) const {
    AlignedText aligned;
    std::string normalized(text);
    if (spans != nullptr) {
        aligned = AlignedText::of(text, start);
        if (normalizer) normalizer->apply(aligned, scratch);
        normalized = aligned.text;
    } else if (normalizer) {
        normalizer->apply(normalized, scratch);
    }
    for (const AddedTokens::Part& part : added->split(normalized, true, scratch)) {
        if (part.id) {
            ids.push_back(*part.id);
            if (spans != nullptr) spans->push_back(aligned.origin_of(part.span));
            continue;
        }
        const std::size_t size = part.span.end - part.span.begin;
        Pieces pieces{normalized.substr(part.span.begin, size), {{0, size}}, start == 0 && part.span.begin == 0};
        if (spans != nullptr) pieces.origin = aligned.part(part.span).origin;
        if (pre_tokenizer) pre_tokenizer->apply(pieces, scratch);
        for (const Span& piece : pieces.spans) {
            const std::size_t before = ids.size();
            model->encode(pieces.view(piece), ids, space);
            if (spans == nullptr) continue;
            std::vector<Span> places;
            model->place(pieces.view(piece), {ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end()}, places);
            for (const Span& place : places) {
                const Span whole{piece.begin + place.begin, piece.begin + place.end};
                const Span end{pieces.origin[piece.end - 1].end, pieces.origin[piece.end - 1].end};
                spans->push_back(place.begin == place.end ? end : Span{pieces.origin[whole.begin].begin, pieces.origin[whole.end - 1].end});
            }
        }
    }
}

std::vector<std::int32_t> Tokenizer::Parts::encode(std::string_view text, std::vector<Span>* spans) const {
    if (const auto bad = find_bad_utf8(text)) {
        throw Error(Code::invalid_input, "the tokenizer cannot encode this text (not UTF-8 at byte " +
                                             std::to_string(*bad) + "); give text without halves of characters");
    }
    Scratch scratch;
    const auto space = model->make_work_space(text.size());
    std::vector<std::int32_t> ids;
    for (const AddedTokens::Part& part : added->split(text, false, scratch)) {
        if (part.id) {
            ids.push_back(*part.id);
            if (spans != nullptr) spans->push_back(part.span);
        } else {
            const std::string_view piece = text.substr(part.span.begin, part.span.end - part.span.begin);
            encode_text(piece, part.span.begin, ids, spans, scratch, space.get());
        }
    }
    return ids;
}

std::optional<std::string_view> Tokenizer::Parts::token(std::int32_t id) const {
    const auto found = added->token(id);
    return found ? found : model->vocabulary().token(id);
}

Tokenizer Tokenizer::from_json(std::string_view bytes, const std::string& where) {
    const Json value = parse_json(bytes, where, Code::artifact, "export the artifact again");
    const Json* model = find_key(value, "model");
    if (model == nullptr || find_key(*model, "vocab") == nullptr) {
        throw Error(Code::artifact, where + " has no model with a vocab; expected a file of the tokenizers library");
    }
    Tokenizer read;
    try {
        read.parts_ = std::make_shared<const Parts>(Fields(value, "the file"));
    } catch (const Error& error) {
        if (error.code == Code::unsupported) {
            throw Error(error.code, where + " asks for what the native runtime does not have: " + error.what() +
                                        "; run it with the Python or the JavaScript runtime");
        }
        throw Error(Code::artifact, where + " is no tokenizer that this runtime can read (" + error.what() +
                                        "); copy or export it again");
    }
    return read;
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
    return parts_->post_processor.apply(parts_->encode(text, nullptr), add_special_tokens);
}

EncodedText Tokenizer::take_apart(std::string_view text, bool with_offsets) const {
    EncodedText found;
    std::vector<Span> spans;
    found.ids = parts_->encode(text, with_offsets ? &spans : nullptr);
    parts_->post_processor.around(found.before, found.after);
    std::vector<std::size_t> points(text.size() + 1);  // how many characters begin before each byte
    for (std::size_t at = 0; at < text.size(); at++) {
        points[at + 1] = points[at] + ((static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80 ? 0 : 1);
    }
    for (const Span& span : spans) found.offsets.emplace_back(points[span.begin], points[span.end]);
    return found;
}

std::vector<std::int32_t> EncodedText::cut(std::size_t start, std::size_t end) const {
    std::vector<std::int32_t> row = before;
    const auto place = [&](std::size_t at) { return ids.begin() + static_cast<std::ptrdiff_t>(std::min(at, ids.size())); };
    row.insert(row.end(), place(start), place(end));
    row.insert(row.end(), after.begin(), after.end());
    return row;
}

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens) const {
    std::vector<std::string> tokens;
    for (const std::int32_t id : ids) {
        if (id < 0) {
            throw Error(Code::invalid_input, "the tokenizer cannot decode these ids (" + std::to_string(id) +
                                                 " is negative); give token ids of this model");
        }
        const auto token = parts_->token(id);
        if (!token || (skip_special_tokens && parts_->added->is_special(*token))) continue;
        tokens.emplace_back(*token);
    }
    const char* between = parts_->decoder ? "" : " ";
    if (parts_->decoder) {
        Scratch scratch;
        parts_->decoder->apply(tokens, scratch);
    }
    std::string text;
    for (std::size_t index = 0; index < tokens.size(); index++) {
        if (index > 0) text += between;
        text += tokens[index];
    }
    return text;
}

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const {
    const auto found = parts_->added->find(token);
    return found ? found : parts_->model->vocabulary().find(token);
}

std::optional<std::string> Tokenizer::id_to_token(std::int32_t id) const {
    const auto found = parts_->token(id);
    return found ? std::optional<std::string>(*found) : std::nullopt;
}

bool Tokenizer::is_special(std::int32_t id) const { return parts_->added->is_special(id); }

std::size_t Tokenizer::vocab_size() const {
    return parts_->model->size() + parts_->added->count_beside(parts_->model->vocabulary());
}

}  // namespace edgelora
