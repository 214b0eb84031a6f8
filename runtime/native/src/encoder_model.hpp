// A loaded artifact of a classifier, tagger or embedder: text in, labels, spans or vectors out.
//
// Knows nothing about buffers, or how an adapter is found; it joins tokenizer, sessions and scores.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapter_set.hpp"
#include "callers.hpp"
#include "encoder_session.hpp"
#include "loaded_model.hpp"
#include "scores.hpp"
#include "spans.hpp"

namespace edgelora {

// What one call is asked for beside its texts.
struct EncoderOptions {
    std::optional<std::string> adapter;                // SPEC for every text; none: the one that is set
    std::optional<std::vector<std::string>> adapters;  // one for each, instead
    const Cancel* cancel = nullptr;
};

// Pixels as the model's own processor makes them, one image after the other, each (channels, height, width).
struct Pixels {
    const float* numbers = nullptr;
    std::size_t count = 0;  // of numbers
};

// The vectors of texts, each as long as the hidden size, and which texts were cut at their end.
struct Embeddings {
    std::vector<float> numbers;
    std::vector<bool> truncated;
};

// Answers one call at a time: calls of other threads wait until it has returned. Texts are computed in groups that are
// about as long, and answered in the order given.
class EncoderModel : public LoadedModel {
  public:
    static std::unique_ptr<EncoderModel> load(const Artifact& artifact);

    std::vector<std::string> adapters() const override { return adapters_.names(); }
    std::string adapter() const override;
    void set_adapter(const std::string& spec) override;
    void load_adapter(const std::string& name, const std::filesystem::path& folder, bool trust,
                      const std::optional<Labels>& labels) override;
    void unload_adapter(const std::string& name) override;
    Json probe(const std::string& name) override;

    // What the head of a SPEC, or of the one that is set, means; nothing where the model has no head.
    std::optional<HeadInfo> labels(const std::optional<std::string>& spec);

    std::vector<Classification> classify(const std::vector<std::string>& texts, const EncoderOptions& options);
    std::vector<Classification> classify(const Pixels& pixels, const EncoderOptions& options);
    // What each of these adapters says of one text, or image; all that are loaded where none are given. A short text
    // goes through the graph once for all of them, unless its rows must share an adapter.
    std::vector<std::pair<std::string, Classification>> classify_each(const std::string& text,
                                                                      const EncoderOptions& options);
    std::vector<std::pair<std::string, Classification>> classify_each(const Pixels& pixels,
                                                                      const EncoderOptions& options);
    std::vector<Tagging> tag(const std::vector<std::string>& texts, const EncoderOptions& options);
    Embeddings embed(const std::vector<std::string>& texts, const EncoderOptions& options);
    // The graph's output for each row of token ids, special tokens included, or of pixels: logits, for tags those of
    // every token, or a vector.
    std::vector<std::vector<float>> outputs(const std::vector<Ids>& rows, const EncoderOptions& options);
    std::vector<std::vector<float>> outputs(const Pixels& pixels, const EncoderOptions& options);

  private:
    // What goes through the graph: token ids, or pixels.
    struct Rows {
        std::vector<Ids> ids;
        Pixels pixels;
        std::size_t count = 0;
        std::vector<bool> truncated;
    };
    using Outputs = std::vector<std::vector<float>>;

    explicit EncoderModel(const Artifact& artifact);

    std::vector<Classification> classify_rows(const Rows& rows, const EncoderOptions& options);
    std::vector<std::pair<std::string, Classification>> classify_row(const Rows& row, const EncoderOptions& options);
    Outputs output_rows(const Rows& rows, const EncoderOptions& options, const char* what);
    // Outputs in the order of `rows`, each without the padding of tokens and labels.
    Outputs compute(const Rows& rows, const std::vector<std::string>& specs, const std::vector<HeadInfo>& heads,
                    const Cancel* cancel);
    EncoderInputs inputs_of(const Rows& rows, const std::vector<std::size_t>& call) const;
    std::vector<HeadInfo> heads_of(const std::vector<std::string>& specs);
    std::vector<std::string> specs_of(const EncoderOptions& options, std::size_t n_rows, const char* what) const;

    Rows rows_of(const std::vector<std::string>& texts) const;
    Rows rows_of(const Pixels& pixels) const;
    std::vector<EncodedText> encode(const std::vector<std::string>& texts, bool with_offsets) const;
    // Tokens of a text that are read at once.
    std::size_t room_of(const EncodedText& text) const;
    std::size_t limit() const { return static_cast<std::size_t>(manifest().model.context_length); }
    void check_task(const char* method, std::string_view task, std::string_view other = "") const;

    EncoderSession session_;
    AdapterSet adapters_;
    Callers callers_;
    mutable std::mutex setting_;
    std::string spec_ = "none";  // under `setting_`
};

}  // namespace edgelora
