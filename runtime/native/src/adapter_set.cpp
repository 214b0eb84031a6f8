#include "adapter_set.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "check_files.hpp"
#include "errors.hpp"
#include "head.hpp"
#include "invocation.hpp"
#include "open_adapter.hpp"
#include "parse_json.hpp"

namespace edgelora {

namespace {

constexpr std::size_t kMostMixed = 16;  // blends and row stacks kept ready; of single adapters the budget says how many

constexpr double kNoWeight = 1e-9;  // of a blend

// Put `place`, an element of `list`, behind all others: it was used last.
template <typename List>
void move_to_end(List& list, typename List::iterator place) {
    list.splice(list.end(), list, place);
}

}  // namespace

const SavedTensors AdapterSet::kNoHead;

AdapterSet::AdapterSet(const std::filesystem::path& folder, std::shared_ptr<const Manifest> manifest,
                       std::shared_ptr<const Ort> ort, const Packer& packer, std::optional<std::size_t> most_bytes,
                       const SavedTensors& base)
    : folder_(folder),
      manifest_(std::move(manifest)),
      ort_(std::move(ort)),
      packer_(packer),
      base_(base),
      most_bytes_(most_bytes),
      none_(bind_packed(*ort_, packer.blend({}))) {
    const std::vector<std::string>& names = manifest_->adapters.names();
    for (std::size_t index = 0; index < names.size(); ++index) {
        sources_.push_back({names[index], {}, false, std::nullopt, std::nullopt, index});
    }
}

std::vector<std::string> AdapterSet::names() const {
    const std::lock_guard<std::mutex> lock(reading_);
    std::vector<std::string> found;
    for (const Source& item : sources_) {
        found.push_back(item.name);
    }
    return found;
}

std::filesystem::path AdapterSet::folder(const std::string& name) const {
    return source(name).folder;
}

Spec AdapterSet::parse(const std::string& text) const {
    return parse_spec(text, names());
}

std::size_t AdapterSet::n_bytes() const {
    std::size_t total = 0;
    for (const Single& item : single_) {
        total += item.adapter->packed.n_bytes();
    }
    for (const Mixture& item : mixed_) {
        total += item.adapter->packed.n_bytes();
    }
    return total;
}

void AdapterSet::load(const std::string& name, const std::filesystem::path& folder, bool trust,
                      const std::optional<Labels>& labels) {
    check_name(name);
    const Source made{name, folder, trust, std::nullopt, labels};
    const Single single = read(made);
    forget(name);
    {
        const std::lock_guard<std::mutex> lock(reading_);
        const auto known = std::find_if(sources_.begin(), sources_.end(),
                                        [&name](const Source& item) { return item.name == name; });
        if (known == sources_.end()) {
            sources_.push_back(made);
        } else {
            *known = made;
        }
    }
    single_.push_back(single);
    invocations_[name] = single.invocation;
    drop_beyond_budget(single.adapter);
}

void AdapterSet::unload(const std::string& name) {
    check_name(name);
    parse(name);
    {
        const std::lock_guard<std::mutex> lock(reading_);
        sources_.erase(std::remove_if(sources_.begin(), sources_.end(),
                                      [&name](const Source& item) { return item.name == name; }),
                       sources_.end());
    }
    forget(name);
}

void AdapterSet::clear() {
    single_.clear();
    mixed_.clear();
}

bool AdapterSet::holds(const SharedAdapter& adapter) const {
    const auto is_it = [&adapter](const auto& item) { return item.adapter == adapter; };
    return adapter == none_ || std::any_of(single_.begin(), single_.end(), is_it) ||
           std::any_of(mixed_.begin(), mixed_.end(), is_it);
}

SharedAdapter AdapterSet::find(const std::string& text) {
    const Spec spec = parse(text);
    refuse_blend(spec, text);
    return bound(spec);
}

std::vector<std::int32_t> AdapterSet::invocation(const std::string& text) {
    const Spec spec = parse(text);
    refuse_blend(spec, text);
    return spec.empty() ? std::vector<std::int32_t>() : read_invocation(spec.front().name);
}

void AdapterSet::refuse_blend(const Spec& spec, const std::string& text) {
    for (const SpecTerm& term : spec) {
        if (spec.size() > 1 && !read_invocation(term.name).empty()) {
            throw no_blend(text, term.name);
        }
    }
}

std::vector<std::int32_t> AdapterSet::read_invocation(const std::string& name) {
    const auto known = invocations_.find(name);
    if (known != invocations_.end()) {
        return known->second;
    }
    const Single single = keep_single(name);
    drop_beyond_budget(single.adapter);
    return single.invocation;
}

SharedAdapter AdapterSet::find_rows(const std::vector<std::string>& texts) {
    std::vector<Spec> specs;
    for (const std::string& text : texts) {
        specs.push_back(parse(text));
        refuse_blend(specs.back(), text);
    }
    if (std::all_of(specs.begin(), specs.end(), [&specs](const Spec& spec) { return spec == specs.front(); })) {
        return bound(specs.front());
    }
    return keep(specs, [this, &specs] {
        std::vector<Packed> blends;
        blends.reserve(specs.size());
        std::vector<const Packed*> rows;
        for (std::size_t row = 0; row < specs.size(); ++row) {
            const auto same = std::find(specs.begin(), specs.end(), specs[row]) - specs.begin();
            if (static_cast<std::size_t>(same) == row) {
                blends.push_back(blend(specs[row]));
                rows.push_back(&blends.back());
            } else {
                rows.push_back(rows[static_cast<std::size_t>(same)]);
            }
        }
        return packer_.stack(rows);
    });
}

SharedAdapter AdapterSet::bound(const Spec& spec) {
    if (spec.empty()) {
        return none_;
    }
    if (spec.size() == 1 && spec.front().weight == 1.0) {
        SharedAdapter found = keep_single(spec.front().name).adapter;
        drop_beyond_budget(found);
        return found;
    }
    const bool is_activated = spec.size() == 1 && !read_invocation(spec.front().name).empty();
    return keep({spec}, [this, &spec] { return blend(spec); }, is_activated ? none_ : nullptr);
}

SharedAdapter AdapterSet::keep(const std::vector<Spec>& specs, const std::function<Packed()>& build,
                               const SharedAdapter& before) {
    auto found = std::find_if(mixed_.begin(), mixed_.end(),
                              [&specs](const Mixture& item) { return item.specs == specs; });
    if (found == mixed_.end()) {
        found = mixed_.insert(mixed_.end(), {specs, bind_packed(*ort_, build(), before)});
        if (mixed_.size() > kMostMixed) {
            mixed_.pop_front();
        }
    }
    move_to_end(mixed_, found);
    SharedAdapter adapter = found->adapter;
    drop_beyond_budget(adapter);
    return adapter;
}

Packed AdapterSet::blend(const Spec& spec) {
    std::vector<SharedAdapter> kept;
    WeightedParts parts;
    for (const SpecTerm& term : spec) {
        kept.push_back(keep_single(term.name).adapter);
        parts.emplace_back(&kept.back()->packed, term.weight);
    }
    return packer_.blend(parts);
}

std::optional<HeadInfo> AdapterSet::head(const std::string& text) {
    const Spec spec = parse(text);
    if (!manifest_->encoder || manifest_->encoder->head.empty()) {
        return std::nullopt;
    }
    if (spec.empty()) {
        if (manifest_->encoder->base_head) {
            return manifest_->encoder->base_head;
        }
        const std::vector<std::string> known = names();
        throw Error(Code::adapter, manifest_->model.name + " has no head of its own; use an adapter: " +
                                       (known.empty() ? "no adapters" : join_some(known, ", ")));
    }
    std::vector<HeadInfo> heads;
    double total = 0;
    for (const SpecTerm& term : spec) {
        heads.push_back(*keep_single(term.name).head);
        total += term.weight;
        const HeadInfo& one = heads.front();
        if (heads.back().labels != one.labels || heads.back().problem_type != one.problem_type) {
            throw Error(Code::adapter, "adapter SPEC " + show(text) + ": " + spec.front().name + " and " + term.name +
                                           " have heads for other labels or problems, and no head lies between them; "
                                           "blend adapters with the same labels");
        }
    }
    HeadInfo one = heads.front();
    if (heads.size() == 1 || std::abs(total) < kNoWeight) {  // such a blend is refused where heads are blended
        return one;
    }
    one.temperature = 0;
    for (std::size_t index = 0; index < heads.size(); ++index) {
        one.temperature += spec[index].weight * heads[index].temperature / total;
    }
    one.temperature = std::max(one.temperature, kNoWeight);
    return one;
}

const AdapterSet::Single& AdapterSet::keep_single(const std::string& name) {
    auto found =
        std::find_if(single_.begin(), single_.end(), [&name](const Single& item) { return item.name == name; });
    if (found == single_.end()) {
        found = single_.insert(single_.end(), read(source(name)));
        invocations_[name] = found->invocation;
    }
    move_to_end(single_, found);
    return *found;
}

AdapterSet::Single AdapterSet::read(const Source& source) const {
    const std::string where = "adapter " + show(source.name) + " (" + source.folder.u8string() + ")";
    if (source.listed_at) {
        check_files(folder_, *manifest_, files_of_adapter(*manifest_, *source.listed_at), kSmallFile);
    }
    const Adapter adapter = open_adapter(source.folder, *manifest_, where, source.is_trusted, base_);
    const SharedAdapter before = adapter.invocation.empty() ? nullptr : none_;
    Single single{source.name, bind_packed(*ort_, packer_.pack(adapter), before), std::nullopt, adapter.invocation};
    if (manifest_->encoder && !manifest_->encoder->head.empty()) {
        const std::int64_t n_labels = count_labels(manifest_->encoder->head, joined_head(adapter, base_));
        single.head =
            find_head_info(source.folder, n_labels, where, source.is_trusted, source.listed, source.labels);
    }
    return single;
}

AdapterSet::Source AdapterSet::source(const std::string& name) const {
    const std::lock_guard<std::mutex> lock(reading_);
    for (const Source& item : sources_) {
        if (item.name != name) {
            continue;
        }
        Source found = item;
        if (found.listed_at) {
            const AdapterInfo info = manifest_->adapters.at(*found.listed_at);
            found.folder = folder_ / std::filesystem::u8path(info.path);
            found.listed = info.head;
        }
        return found;
    }
    std::vector<std::string> known;
    for (const Source& item : sources_) known.push_back(item.name);
    throw Error(Code::adapter, "unknown adapter " + show(name) + "; the artifact has " +
                                   (known.empty() ? "none" : join_some(known, ", ")));
}

void AdapterSet::forget(const std::string& name) {
    invocations_.erase(name);
    single_.remove_if([&name](const Single& item) { return item.name == name; });
    const auto names_it = [&name](const Spec& spec) {
        return std::any_of(spec.begin(), spec.end(), [&name](const SpecTerm& term) { return term.name == name; });
    };
    mixed_.remove_if([&names_it](const Mixture& item) {
        return std::any_of(item.specs.begin(), item.specs.end(), names_it);
    });
}

// Let go of what was not used for longest, mixtures first: they are made of what is there.
void AdapterSet::drop_beyond_budget(const SharedAdapter& needed) {
    if (!most_bytes_) {
        return;
    }
    const auto drop = [this, &needed](auto& list) {
        for (auto item = list.begin(); item != list.end() && n_bytes() > *most_bytes_;) {
            item = item->adapter == needed ? std::next(item) : list.erase(item);
        }
    };
    drop(mixed_);
    drop(single_);
}

}  // namespace edgelora
