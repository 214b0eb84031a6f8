#include "pattern_node.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace edgelora {
namespace {

NodePointer node(PatternNode::Step step, double cost, bool is_place = false) {
    return std::make_shared<PatternNode>(std::move(step), cost, is_place);
}

NodePointer place_node(std::function<bool(const Name&, std::uint32_t)> is_there) {
    return node(
        [is_there = std::move(is_there)](const Name& name, const Ends& ends) {
            Ends reached;
            for (const std::uint32_t end : ends) {
                if (is_there(name, end)) reached.push_back(end);
            }
            return reached;
        },
        1, true);
}

double total(const std::vector<NodePointer>& nodes) {
    double sum = 1;
    for (const NodePointer& item : nodes) sum += item->cost();
    return sum;
}

Ends joined(const Ends& one, const Ends& other) {
    Ends all;
    std::set_union(one.begin(), one.end(), other.begin(), other.end(), std::back_inserter(all));
    return all;
}

}  // namespace

bool is_word_character(char32_t point) {
    return (point >= U'a' && point <= U'z') || (point >= U'A' && point <= U'Z') || (point >= U'0' && point <= U'9') ||
           point == U'_';
}

NodePointer literal_node(std::u32string text) {
    return node(
        [text = std::move(text)](const Name& name, const Ends& ends) {
            Ends reached;
            for (const std::uint32_t end : ends) {
                if (name.compare(end, text.size(), text) == 0) {
                    reached.push_back(end + static_cast<std::uint32_t>(text.size()));
                }
            }
            return reached;
        },
        1);
}

NodePointer one_of(CharacterTest is_in) {
    return node(
        [is_in = std::move(is_in)](const Name& name, const Ends& ends) {
            Ends reached;
            for (const std::uint32_t end : ends) {
                if (end < name.size() && is_in(name[end])) reached.push_back(end + 1);
            }
            return reached;
        },
        1);
}

NodePointer begin_node() {
    return place_node([](const Name&, std::uint32_t place) { return place == 0; });
}

NodePointer end_node() {
    return place_node([](const Name& name, std::uint32_t place) { return place == name.size(); });
}

NodePointer boundary_node() {
    return place_node([](const Name& name, std::uint32_t place) {
        const bool before = place > 0 && is_word_character(name[place - 1]);
        const bool after = place < name.size() && is_word_character(name[place]);
        return before != after;
    });
}

NodePointer looking_node(const NodePointer& body, bool is_wanted) {
    return node(
        [body, is_wanted](const Name& name, const Ends& ends) {
            Ends reached;
            for (const std::uint32_t end : ends) {
                if (body->step(name, {end}).empty() != is_wanted) reached.push_back(end);
            }
            return reached;
        },
        body->cost() * kManyTimes, true);
}

NodePointer sequence_node(std::vector<NodePointer> nodes) {
    if (nodes.size() == 1) return nodes[0];
    const double cost = total(nodes);
    return node(
        [nodes = std::move(nodes)](const Name& name, const Ends& ends) {
            Ends reached = ends;
            for (const NodePointer& item : nodes) {
                if (reached.empty()) break;
                reached = item->step(name, reached);
            }
            return reached;
        },
        cost);
}

NodePointer alternatives_node(std::vector<NodePointer> branches) {
    if (branches.size() == 1) return branches[0];
    const double cost = total(branches);
    return node(
        [branches = std::move(branches)](const Name& name, const Ends& ends) {
            Ends reached;
            for (const NodePointer& branch : branches) reached = joined(reached, branch->step(name, ends));
            return reached;
        },
        cost);
}

NodePointer group_node(const NodePointer& body) {
    return node([body](const Name& name, const Ends& ends) { return body->step(name, ends); }, body->cost());
}

NodePointer repeat_node(const NodePointer& body, int least, int most) {
    const auto step = [body, least, most](const Name& name, const Ends& ends) {
        Ends fresh = ends;
        for (int count = 0; count < least && !fresh.empty(); count++) fresh = body->step(name, fresh);
        Ends reached = fresh;
        // Every round reaches a new place or is the last one: there are no more rounds than places.
        for (int count = least; !fresh.empty() && (most < 0 || count < most); count++) {
            const Ends next = body->step(name, fresh);
            fresh.clear();
            std::set_difference(next.begin(), next.end(), reached.begin(), reached.end(), std::back_inserter(fresh));
            reached = joined(reached, fresh);
        }
        return reached;
    };
    if (least == 0 && most == 1) return node(step, body->cost() + 1);
    const double times = std::max(static_cast<double>(least), most < 0 ? kManyTimes : static_cast<double>(most));
    return node(step, body->cost() * times + 1);
}

}  // namespace edgelora
