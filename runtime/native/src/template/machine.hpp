// Runs the tree of a template on the variables of one rendering.
//
// Knows nothing about what a chat is. What a template makes is held to a budget.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "template/resolve.hpp"
#include "template/tables.hpp"

namespace edgelora::jinja {

// The variables of a function that runs.
struct Activation {
    Activation(const Function& function, Activation* outer_)
        : slots(static_cast<size_t>(function.slots)), outer(outer_) {}
    Items slots;
    Activation* outer;
};

struct Macro : Object {
    const char* type() const override { return "Macro"; }
    Value attribute(std::string_view name) override;
    const Node* node = nullptr;
    Activation* home = nullptr;
};

struct Loop : Object {
    Loop() { depth = depth_of_loop; }
    const char* type() const override { return "LoopContext"; }
    Value attribute(std::string_view name) override;
    bool advance();
    bool peek();
    int64_t length();
    std::shared_ptr<Iterator> source;
    const Node* node = nullptr;  // of a recursive loop
    Activation* home = nullptr;
    int64_t index0 = -1, depth0 = 0, known_length = -1;
    Value after, current, before, last_changed;
};

class Machine {
   public:
    Machine(const Program& program, const Json& context, std::string date);
    ~Machine();
    std::string run();

    Value call(const Value& function, const Args& args);
    Budget budget;

   private:
    enum class Flow { next, stop, skip };
    struct Output {
        std::string bytes;
        uint64_t length = 0;
    };
    friend struct Condition;

    Flow run(const Nodes& body, Activation& here, Output& out);
    Flow run(const Node& node, Activation& here, Output& out);
    Flow run_loop(const Node& node, Activation& here, Output& out);
    Flow turns(const Node& node, const Value& items, int64_t depth, Activation& here, Activation& outer, Output& out);
    void write(Output& out, const Value& value);
    void write_text(Output& out, const Value& value);
    Value text_of(Output& out);
    void enter(const Frame& frame, Activation& here);
    static void leave(const Frame& frame, Activation& here);
    void assign(const Node& target, const Value& value, Activation& here);
    Value value_of(const Node& target, Activation& here);
    Activation& activate(const Function& function, Activation* outer, std::unique_ptr<Activation>& own);

    Value eval(const Node& node, Activation& here);
    Value eval_name(const Node& node, Activation& here);
    Value eval_container(const Node& node, Activation& here);
    Value eval_operation(const Node& node, Activation& here);
    Value eval_comparison(const Node& node, Activation& here);
    Value eval_call(const Node& node, Activation& here, const Value* caller);
    Value eval_filter(const Node& node, Activation& here, const Value* block);
    Args eval_args(const Node& node, Activation& here);
    Value call_macro(const Macro& macro, const Args& args);
    Value make_dict(const Args& args);
    Value make_namespace(const Args& args);
    Value call_global(const std::string& name, const Args& args);
    Value call_loop(const Loop& loop, const Args& args);
    Value look_up(const std::string& name) const;
    static Value& slot(const Place& place, Activation& here);

    const Program& program_;
    Value context_;
    std::string date_;
    std::deque<std::unique_ptr<Activation>> kept_;  // at which macros and conditions may look later
    std::vector<std::shared_ptr<Namespace>> namespaces_;
};

}  // namespace edgelora::jinja
