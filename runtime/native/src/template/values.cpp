#include "template/values.hpp"

#include <cmath>
#include <limits>

#include "template/letters.hpp"

namespace edgelora::jinja {

void fail(const std::string& reason) { throw Error(Code::invalid_input, reason); }
void fail_as_too_deep() { lack("values in one another as deep as here, or that hold a loop"); }
void lack(const std::string& construct) { throw Error(Code::unsupported, construct + " is not known here"); }

namespace {

std::shared_ptr<List> make_list(Items items) {
    auto list = std::make_shared<List>();
    list->items = std::move(items);
    list->size = 8 * list->items.size();
    for (const Value& item : list->items) {
        list->size += item.size();
        list->depth = std::max(list->depth, item.depth() + 1);
    }
    if (list->depth > deepest_value) fail_as_too_deep();
    return list;
}

struct ItemsIterator : Iterator {
    explicit ItemsIterator(Value of_) : of(std::move(of_)) { depth = of.depth() + 1; }
    bool has_length() const override { return true; }
    size_t length() const override {
        int64_t all = 0;
        length_of(of, all);
        return static_cast<size_t>(all);
    }
    bool next(Value& item) override {
        switch (of.kind()) {
            case Kind::list:
            case Kind::tuple:
                if (at >= of.items().size()) return false;
                item = of.items()[at++];
                return true;
            case Kind::dict:
                if (at >= of.entries().entries.size()) return false;
                item = of.entries().entries[at++].first;
                return true;
            case Kind::text: {
                if (at >= of.bytes().size()) return false;
                const size_t start = at;
                decode(of.bytes(), at);
                item = Value(of.bytes().substr(start, at - start), of.is_safe());
                return true;
            }
            case Kind::object:
                if (const auto* range = of.as<Range>()) {
                    if (static_cast<int64_t>(at) >= range->count()) return false;
                    item = Value(range->start + static_cast<int64_t>(at++) * range->step);
                    return true;
                }
                if (const auto* view = of.as<View>()) {
                    if (at >= view->dict.entries().entries.size()) return false;
                    item = view->at(at++);
                    return true;
                }
                return false;
            default: return false;
        }
    }
    Value of;
    size_t at = 0;
};

}  // namespace

Value::Value(std::string text, bool is_safe) : kind_(Kind::text) {
    auto heap = std::make_shared<Text>();
    heap->bytes = std::move(text);
    heap->is_safe = is_safe;
    for (const char byte : heap->bytes) {
        heap->length += (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
        heap->is_ascii &= static_cast<unsigned char>(byte) < 0x80;
    }
    heap->size = heap->length;
    heap_ = std::move(heap);
}

Value Value::none() {
    Value value;
    value.kind_ = Kind::none;
    return value;
}

Value Value::undefined(const std::string& reason) {
    Value value(reason);
    value.kind_ = Kind::undefined;
    return value;
}

Value Value::list(Items items) {
    Value value;
    value.kind_ = Kind::list;
    value.heap_ = make_list(std::move(items));
    return value;
}

Value Value::tuple(Items items, bool is_group) {
    auto list = make_list(std::move(items));
    list->is_group = is_group;
    Value value;
    value.kind_ = Kind::tuple;
    value.heap_ = std::move(list);
    return value;
}

Value Value::dict(std::shared_ptr<Dict> entries) {
    Value value;
    value.kind_ = Kind::dict;
    value.heap_ = std::move(entries);
    return value;
}

Value Value::object(std::shared_ptr<Object> object) {
    if (object->depth > deepest_value && object->depth < depth_of_loop) fail_as_too_deep();
    Value value;
    value.kind_ = Kind::object;
    value.heap_ = std::move(object);
    return value;
}

Value Value::from_json(const Json& data) {
    switch (data.type()) {
        case Json::value_t::null: return none();
        case Json::value_t::boolean: return Value(data.get<bool>());
        case Json::value_t::number_integer: return Value(data.get<int64_t>());
        case Json::value_t::number_unsigned:
            if (data.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) break;
            return Value(static_cast<int64_t>(data.get<uint64_t>()));
        case Json::value_t::number_float:
            if (!(std::abs(data.get<double>()) < 9.2e18)) break;  // may have been a whole number
            return Value(data.get<double>());
        case Json::value_t::string:
            if (find_bad_utf8(data.get_ref<const std::string&>())) fail("a text of these messages is not UTF-8");
            return Value(data.get<std::string>());
        case Json::value_t::array: {
            Items items;
            for (const Json& item : data) items.push_back(from_json(item));
            return list(std::move(items));
        }
        case Json::value_t::object: {
            auto entries = std::make_shared<Dict>();
            for (const auto& [key, item] : data.items()) entries->put(Value(key), from_json(item));
            return dict(std::move(entries));
        }
        default: break;
    }
    lack("a number beyond 64 bits");
}

const Text& Value::text() const { return static_cast<const Text&>(*heap_); }
const std::string& Value::bytes() const { return text().bytes; }
bool Value::is_safe() const { return kind_ == Kind::text && text().is_safe; }
const Items& Value::items() const { return static_cast<const List&>(*heap_).items; }
const Dict& Value::entries() const { return static_cast<const Dict&>(*heap_); }
Object& Value::object() const { return static_cast<Object&>(*heap_); }

int64_t Range::count() const {
    if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
    return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

Value View::at(size_t index) const {
    const auto& [key, value] = dict.entries().entries[index];
    return part == 'k' ? key : part == 'v' ? value : Value::tuple({key, value});
}

Value Namespace::attribute(std::string_view name) {
    const Value* found = attributes.find_key(name);
    return found == nullptr ? Value() : *found;
}

const char* type_name(const Value& value) {
    switch (value.kind()) {
        case Kind::missing:
        case Kind::undefined: return "Undefined";
        case Kind::none: return "NoneType";
        case Kind::boolean: return "bool";
        case Kind::integer: return "int";
        case Kind::real: return "float";
        case Kind::text: return value.is_safe() ? "Markup" : "str";
        case Kind::list: return "list";
        case Kind::tuple: return "tuple";
        case Kind::dict: return "dict";
        case Kind::object: break;
    }
    return value.object().type();
}

bool is_true(const Value& value) {
    switch (value.kind()) {
        case Kind::missing:
        case Kind::undefined:
        case Kind::none: return false;
        case Kind::boolean:
        case Kind::integer: return value.whole() != 0;
        case Kind::real: return value.real() != 0;
        default: {
            int64_t length = 1;
            return !length_of(value, length) || length != 0;
        }
    }
}

std::shared_ptr<Iterator> iterate(const Value& value) {
    switch (value.kind()) {
        case Kind::undefined: return std::make_shared<ItemsIterator>(Value::list({}));
        case Kind::text:
        case Kind::list:
        case Kind::tuple:
        case Kind::dict: return std::make_shared<ItemsIterator>(value);
        case Kind::object:
            if (value.as<Iterator>() != nullptr) return std::static_pointer_cast<Iterator>(value.heap());
            if (value.as<Range>() != nullptr || value.as<View>() != nullptr) {
                return std::make_shared<ItemsIterator>(value);
            }
            return nullptr;
        default: return nullptr;
    }
}

std::shared_ptr<Iterator> iterate_or_fail(const Value& value) {
    auto iterator = iterate(value);
    if (iterator == nullptr) fail(std::string("'") + type_name(value) + "' object is not iterable");
    return iterator;
}

Items to_items(const Value& value, Budget& budget) {
    if (value.is_sequence()) return value.items();
    Items items;
    const auto iterator = iterate_or_fail(value);
    uint64_t size = 0;
    for (Value item; iterator->next(item);) {
        size += 8 + item.size();
        budget.check_size(size);
        items.push_back(std::move(item));
    }
    return items;
}

bool length_of(const Value& value, int64_t& length) {
    switch (value.kind()) {
        case Kind::undefined: length = 0; return true;
        case Kind::text: length = static_cast<int64_t>(value.text().length); return true;
        case Kind::list:
        case Kind::tuple: length = static_cast<int64_t>(value.items().size()); return true;
        case Kind::dict: length = static_cast<int64_t>(value.entries().entries.size()); return true;
        case Kind::object:
            if (const auto* range = value.as<Range>()) {
                length = range->count();
                return true;
            }
            if (const auto* view = value.as<View>()) return length_of(view->dict, length);
            return false;
        default: return false;
    }
}

Value characters(const Value& text, int64_t start, int64_t count, int64_t step) {
    std::string chosen;
    const std::string& bytes = text.bytes();
    if (text.text().is_ascii && step == 1) {
        chosen = bytes.substr(static_cast<size_t>(start), static_cast<size_t>(count));
    } else {
        const std::u32string all = decode_utf8(bytes);
        for (int64_t at = start; count > 0 && at >= 0 && at < static_cast<int64_t>(all.size()); at += step, --count) {
            append(chosen, all[static_cast<size_t>(at)]);
        }
    }
    return Value(std::move(chosen), text.is_safe());
}

}  // namespace edgelora::jinja
