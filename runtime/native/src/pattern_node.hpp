// The nodes of a parsed pattern: where each leads in a name, from any set of places at once.
//
// Knows nothing about how a pattern is written. No node goes back: a set of places only ever grows or moves on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace edgelora {

using Ends = std::vector<std::uint32_t>;  // places of a name that are reached, rising, each once
using Name = std::u32string;

// Part of a pattern: where it leads from each place, what that costs, and whether it takes no character.
class PatternNode {
  public:
    using Step = std::function<Ends(const Name&, const Ends&)>;

    PatternNode(Step step, double cost, bool is_place) : step_(std::move(step)), cost_(cost), is_place_(is_place) {}

    Ends step(const Name& name, const Ends& ends) const { return step_(name, ends); }
    double cost() const { return cost_; }  // nested repetitions multiply beyond every whole number
    bool is_place() const { return is_place_; }

  private:
    Step step_;
    double cost_;
    bool is_place_;
};

using NodePointer = std::shared_ptr<const PatternNode>;
using CharacterTest = std::function<bool(char32_t)>;

constexpr double kManyTimes = 32;  // what a repetition without an end, or a lookahead, counts

bool is_word_character(char32_t point);

NodePointer literal_node(std::u32string text);
NodePointer one_of(CharacterTest is_in);
NodePointer begin_node();
NodePointer end_node();
NodePointer boundary_node();
NodePointer looking_node(const NodePointer& body, bool is_wanted);
NodePointer sequence_node(std::vector<NodePointer> nodes);
NodePointer alternatives_node(std::vector<NodePointer> branches);
NodePointer group_node(const NodePointer& body);

// `most` is -1 where there is no end.
NodePointer repeat_node(const NodePointer& body, int least, int most);

}  // namespace edgelora
