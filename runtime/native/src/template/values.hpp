// The values that a template works with, each as Python has it: equality, order, truth, `str`, `repr`.
//
// Knows nothing about names, filters or methods. Values never change, but for namespaces and what walks over others.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "errors.hpp"
#include "parse_json.hpp"
#include "template/budget.hpp"

namespace edgelora::jinja {

[[noreturn]] void fail(const std::string& reason);     // what ends a rendering there, too, in a few words
[[noreturn]] void lack(const std::string& construct);  // what Python may have an answer to
[[noreturn]] void fail_as_too_deep();

enum class Kind : uint8_t { missing, undefined, none, boolean, integer, real, text, list, tuple, dict, object };

// What a value holds beside its kind.
struct Heap {
    virtual ~Heap() = default;
    uint32_t depth = 1;  // of values in it; bounded, so that nothing that walks through it needs a deep stack
    uint64_t size = 0;   // what it costs with all that is in it, each time that it is
};

struct Text;
struct List;
struct Dict;
struct Object;

class Value {
   public:
    Value() = default;
    Value(bool flag) : kind_(Kind::boolean), integer_(flag) {}
    Value(int64_t number) : kind_(Kind::integer), integer_(number) {}
    Value(double number) : kind_(Kind::real), real_(number) {}
    Value(std::string text, bool is_safe = false);
    Value(const char* text) : Value(std::string(text)) {}
    static Value none();
    static Value undefined(const std::string& reason);
    static Value list(std::vector<Value> items);
    static Value tuple(std::vector<Value> items, bool is_group = false);
    static Value dict(std::shared_ptr<Dict> entries);
    static Value object(std::shared_ptr<Object> object);
    static Value from_json(const Json& data);

    Kind kind() const { return kind_; }
    bool is(Kind kind) const { return kind_ == kind; }
    bool is_whole() const { return kind_ == Kind::integer || kind_ == Kind::boolean; }
    bool is_number() const { return is_whole() || kind_ == Kind::real; }
    bool is_sequence() const { return kind_ == Kind::list || kind_ == Kind::tuple; }
    int64_t whole() const { return integer_; }
    double real() const { return kind_ == Kind::real ? real_ : static_cast<double>(integer_); }
    const Text& text() const;
    const std::string& bytes() const;
    bool is_safe() const;  // a text that `safe` or `escape` made
    const std::vector<Value>& items() const;
    const Dict& entries() const;
    Object& object() const;
    template <class T>
    T* as() const {
        return kind_ == Kind::object ? dynamic_cast<T*>(heap_.get()) : nullptr;
    }
    const std::shared_ptr<Heap>& heap() const { return heap_; }
    uint32_t depth() const { return heap_ ? heap_->depth : 0; }
    uint64_t size() const { return heap_ ? heap_->size : 0; }

   private:
    Kind kind_ = Kind::missing;
    union {
        int64_t integer_ = 0;
        double real_;
    };
    std::shared_ptr<Heap> heap_;
};

using Items = std::vector<Value>;

struct Text : Heap {
    std::string bytes;
    bool is_safe = false;
    bool is_ascii = true;
    size_t length = 0;  // in characters
};

struct List : Heap {
    Items items;
    bool is_group = false;  // a pair of `groupby`, which has names for its two
};

struct Dict : Heap {
    std::vector<std::pair<Value, Value>> entries;
    std::unordered_multimap<size_t, size_t> places;
    const Value* find(const Value& key) const;
    const Value* find_key(std::string_view key) const;
    void put(const Value& key, const Value& value);
};

// What has no text of its own: ranges, views, loops, macros, functions, methods.
struct Object : Heap {
    virtual const char* type() const = 0;
    virtual Value attribute(std::string_view) { return Value(); }  // missing where it has none
};

// What gives values one by one, once.
struct Iterator : Object {
    const char* type() const override { return "generator"; }
    virtual bool next(Value& item) = 0;
    virtual bool has_length() const { return false; }
    virtual size_t length() const { return 0; }
};

struct Range : Object {
    Range(int64_t start_, int64_t stop_, int64_t step_) : start(start_), stop(stop_), step(step_) {}
    const char* type() const override { return "range"; }
    int64_t count() const;
    int64_t start, stop, step;
};

// `items`, `keys` or `values` of a dict.
struct View : Object {
    View(Value dict_, char part_) : dict(std::move(dict_)), part(part_) { depth = dict.depth() + 1; }
    const char* type() const override { return part == 'i' ? "dict_items" : part == 'k' ? "dict_keys" : "dict_values"; }
    Value at(size_t index) const;
    Value dict;
    char part;
};

struct Namespace : Object {
    const char* type() const override { return "Namespace"; }
    Value attribute(std::string_view name) override;
    Dict attributes;
};

const char* type_name(const Value& value);
bool is_true(const Value& value);
bool equals(const Value& one, const Value& other);
bool less(const Value& one, const Value& other);  // fails for what Python gives no order
void check_hashable(const Value& value);
std::string to_text(const Value& value);  // str()
std::string repr(const Value& value);

// Walks over a value; null where Python cannot.
std::shared_ptr<Iterator> iterate(const Value& value);
std::shared_ptr<Iterator> iterate_or_fail(const Value& value);
Items to_items(const Value& value, Budget& budget);
bool length_of(const Value& value, int64_t& length);  // len(); false where there is none

// Characters from `start` on, `step` apart.
Value characters(const Value& text, int64_t start, int64_t count, int64_t step);

}  // namespace edgelora::jinja
