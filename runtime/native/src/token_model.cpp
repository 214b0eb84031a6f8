#include "token_model.hpp"

#include <algorithm>
#include <utility>

#include "errors.hpp"
#include "groups.hpp"
#include "invocation.hpp"

namespace edgelora {

std::unique_ptr<TokenModel> TokenModel::load(const std::filesystem::path& folder, const LoadOptions& options) {
    return load(open_artifact(folder, options));
}

std::unique_ptr<TokenModel> TokenModel::load(Artifact artifact) {
    const std::string& task = artifact.manifest->task;
    if (task != kTextGeneration) {
        throw Error(Code::artifact, artifact.folder.u8string() + " is for " + task + ", expected " +
                                        std::string(kTextGeneration) + "; load another artifact");
    }
    const bool probe = artifact.options.probe;
    std::unique_ptr<TokenModel> model(new TokenModel(std::move(artifact)));
    for (const std::string& name : probe ? model->adapters() : std::vector<std::string>()) {
        model->probe(name);
    }
    return model;
}

TokenModel::TokenModel(Artifact artifact)
    : ort_(std::move(artifact.ort)),
      folder_(std::move(artifact.folder)),
      manifest_(std::move(artifact.manifest)),
      session_(ort_, folder_, manifest_,
               {artifact.options.threads, artifact.options.twin, artifact.options.operator_library,
                artifact.options.cache, artifact.options.hashes}),
      adapters_(folder_, manifest_, ort_, session_.packer(), artifact.options.adapter_bytes) {}

void TokenModel::close() {
    if (!callers_.is_closed()) {
        const auto turn = callers_.enter();
        callers_.close(manifest_->model.name + " was closed; load the artifact again");
        adapters_.clear();
        session_.close();
    }
}

std::string TokenModel::adapter() const {
    const std::lock_guard<std::mutex> lock(reading_);
    return spec_;
}

std::size_t TokenModel::adapter_bytes() {
    const auto turn = callers_.enter();
    return adapters_.n_bytes();
}

std::size_t TokenModel::cache_bytes() {
    const auto turn = callers_.enter();
    return session_.rows() * session_.capacity() * session_.bytes_per_token();
}

void TokenModel::set_adapter(const std::string& spec) {
    const auto turn = callers_.enter();
    session_.change(adapters_.find(spec));
    const std::lock_guard<std::mutex> lock(reading_);
    spec_ = spec;
}

void TokenModel::load_adapter(const std::string& name, const std::filesystem::path& folder, bool trust) {
    const auto turn = callers_.enter();
    adapters_.load(name, folder, trust);
}

void TokenModel::unload_adapter(const std::string& name) {
    const auto turn = callers_.enter();
    const std::string set = adapter();
    for (const SpecTerm& term : parse_spec(set)) {
        if (term.name == name) {
            throw Error(Code::adapter, "adapter " + show(name) + " is in use (" + show(set) +
                                           " is set); set another one first");
        }
    }
    adapters_.unload(name);
    if (session_.adapter() != nullptr && !adapters_.holds(session_.adapter())) {
        session_.change(adapters_.find("none"));
    }
}

std::optional<ProbeResult> TokenModel::probe(const std::string& name, const Cancel* cancel) {
    const auto turn = callers_.enter(cancel);
    adapters_.find(name);
    const auto answer = [this, cancel](const Ids& ids, const std::string& spec) {
        const Logits found = logits(ids, {spec}, {ids.size() - 1}, cancel);
        return log_softmax(found.row(0), found.vocab_size());
    };
    return check_adapter(answer, *manifest_, name, adapters_.folder(name));
}

std::vector<IdsAnswer> TokenModel::generate_ids(const std::vector<Ids>& prompts, const Specs& adapters,
                                                const Request& request, const Cancel* cancel,
                                                const OnToken& on_token) {
    check_request(request);
    for (const Ids& ids : prompts) {
        check_ids(ids, manifest_->model);
    }
    std::vector<IdsAnswer> answers(prompts.size());
    const auto turn = callers_.enter(cancel);
    decode_groups(prompts, adapters, request, cancel, [&](const std::vector<std::size_t>& group, Decoding& decoding) {
        while (const auto found = decoding.next()) {
            answers[group[found->row]].ids.push_back(found->token);
            if (on_token && !on_token(group[found->row], found->token)) {
                decoding.finish(found->row);
            }
        }
        for (std::size_t row = 0; row < group.size(); ++row) {
            answers[group[row]].reason = decoding.reasons()[row];
        }
    });
    return answers;
}

Logits TokenModel::logits(const Ids& ids, const Specs& adapter, std::vector<std::size_t> positions,
                          const Cancel* cancel) {
    check_ids(ids, manifest_->model);
    for (std::size_t index = 0; positions.empty() && index < ids.size(); ++index) {
        positions.push_back(index);
    }
    for (const std::size_t position : positions) {
        if (position >= ids.size()) {
            throw Error(Code::invalid_input, "position " + std::to_string(position) +
                                                 ": expected indices from 0 to " + std::to_string(ids.size() - 1));
        }
    }
    const auto turn = callers_.enter(cancel);
    const std::string spec = check_specs(adapter, 1).front();
    return logits_at(session_, adapters_.find(spec), start_in(ids, spec), ids, positions, cancel);
}

std::vector<double> TokenModel::score(const Ids& prompt, const Ids& completion, const Specs& adapter,
                                      const Cancel* cancel) {
    if (prompt.empty()) {
        throw Error(Code::invalid_input,
                    "prompt_ids is empty; the first token of a text has no probability, give at least one");
    }
    Ids all = prompt;
    all.insert(all.end(), completion.begin(), completion.end());
    check_ids(all, manifest_->model);
    const auto turn = callers_.enter(cancel);
    const std::string spec = check_specs(adapter, 1).front();
    return score_tokens(session_, adapters_.find(spec), start_in(prompt, spec), prompt, completion, cancel);
}

std::vector<double> TokenModel::score_choices(const Ids& prompt, const std::vector<Ids>& choices,
                                              const Specs& adapter, const Cancel* cancel) {
    check_ids(prompt, manifest_->model);
    std::size_t longest = 0;
    for (const Ids& choice : choices) {
        if (!choice.empty()) {
            check_ids(choice, manifest_->model);
        }
        longest = std::max(longest, choice.size());
    }
    if (prompt.size() + longest > session_.context_length()) {
        throw Error(Code::invalid_input, "prompt and longest choice are " + std::to_string(prompt.size() + longest) +
                                             " tokens, the context length is " +
                                             std::to_string(session_.context_length()) + "; shorten them");
    }
    const auto turn = callers_.enter(cancel);
    const std::string spec = check_specs(adapter, 1).front();
    return edgelora::score_choices(session_, adapters_.find(spec), start_in(prompt, spec), prompt, choices,
                                   manifest_->model.eos_token_ids, cancel);
}

void TokenModel::decode_groups(const std::vector<Ids>& prompts, const Specs& adapters, const Request& request,
                               const Cancel* cancel,
                               const std::function<void(const std::vector<std::size_t>&, Decoding&)>& work) {
    const Specs specs = check_specs(adapters, prompts.size());
    const auto most_new = static_cast<std::size_t>(request.max_new_tokens);
    std::vector<std::size_t> starts;
    std::vector<std::size_t> together;
    std::vector<std::size_t> lengths;
    std::vector<std::vector<std::size_t>> groups;
    for (std::size_t row = 0; row < prompts.size(); ++row) {
        const Ids& ids = prompts[row];
        starts.push_back(start_in(ids, specs[row]));
        if (!adapters_.invocation(specs[row]).empty()) {
            // It acts from a place of its own on: alone, it shares what the single row holds from before that.
            groups.push_back({row});
            continue;
        }
        together.push_back(row);
        // Short of an overflow: `max_new_tokens` may be anything.
        lengths.push_back(ids.size() + std::min(most_new, session_.context_length() - ids.size()));
    }
    for (std::vector<std::size_t>& group : group_rows(lengths, session_.bytes_per_token())) {
        for (std::size_t& place : group) {
            place = together[place];
        }
        groups.push_back(std::move(group));
    }
    for (const std::vector<std::size_t>& group : groups) {
        Specs of_group;
        DecodingTask task;
        for (const std::size_t index : group) {
            of_group.push_back(specs[index]);
            task.prompts.push_back(prompts[index]);
            task.samplers.emplace_back(request.sampling, prompts[index], index);
        }
        task.adapter = adapters_.find_rows(of_group);
        task.start = group.size() == 1 ? starts[group.front()] : 0;
        task.max_new_tokens = most_new;
        task.end_ids = manifest_->model.eos_token_ids;
        task.cancel = cancel;
        Decoding decoding(session_, std::move(task));
        work(group, decoding);
    }
}

std::size_t TokenModel::start_in(const Ids& prompt, const std::string& spec) {
    const std::vector<std::int32_t> invocation = adapters_.invocation(spec);
    if (invocation.empty()) {
        return 0;
    }
    const std::optional<std::size_t> start = find_last(prompt, invocation);
    if (!start) {
        throw no_invocation(spec, invocation);
    }
    return *start;
}

Specs TokenModel::check_specs(const Specs& adapters, std::size_t n_rows) const {
    if (n_rows == 0) {
        throw Error(Code::invalid_input, "the batch is empty; give at least one prompt");
    }
    if (adapters.size() > 1 && adapters.size() != n_rows) {
        throw Error(Code::invalid_input, std::to_string(adapters.size()) + " adapters for " + std::to_string(n_rows) +
                                             " prompts; give one SPEC, or one for each prompt");
    }
    Specs specs = adapters.size() == n_rows ? adapters : Specs(n_rows, adapters.empty() ? adapter() : adapters.front());
    for (const std::string& spec : specs) {
        adapters_.parse(spec);
    }
    return specs;
}

}  // namespace edgelora
