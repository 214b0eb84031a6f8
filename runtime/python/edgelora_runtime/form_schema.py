"""JSON Schemas in the part that every runtime reads alike, as forms.

a JSON schema -> rules by name, the first of them the whole answer

``docs/format.md`` ("Forms") names the part; whatever else a schema has is refused by name, never left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgelora_runtime.errors import InputError
from edgelora_runtime.form_json import (
    CHARACTER,
    COLON,
    COMMA,
    INTEGER,
    NUMBER,
    bracket,
    check_order,
    constant,
    listed,
    quoted,
    show,
    string,
    string_word,
    wrong,
)
from edgelora_runtime.form_nodes import Chain, Choice, Node, Repeat, Rule, Word, letters, optional, text
from edgelora_runtime.form_regex import MOST, Alternative, RegexError, inside_json, parse_regex, whole_text

_MOST_RULES = 4096
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_NOTES = ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id",
          "$comment", "$defs", "definitions")  # fmt: skip
_WHOLE = ("$ref", "anyOf", "allOf", "enum", "const")  # keywords that stand beside notes alone
_OF_TYPE = {
    "object": ("properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"),
    "array": ("items", "minItems", "maxItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": (),
    "integer": (),
    "boolean": (),
    "null": (),
}
_KNOWN = ("type", *_WHOLE, *(name for names in _OF_TYPE.values() for name in names))
_FORMATS = {
    "date": r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])",
    "time": r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    "date-time": r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?"
    r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
}

_LEADING = Repeat(Word(letters((10, 10), (32, 32))), 0, 2)  # templates and decoders may have blanks in front


def read_schema(schema: str | bool | Mapping[str, Any]) -> dict[str, Node]:
    """The rules of a schema, given as it is or as JSON text; raises InputError naming what is wrong or not read."""
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except ValueError as error:
            raise InputError(f"schema is no JSON ({error}); give a JSON Schema") from error
    if not isinstance(schema, (bool, Mapping)):
        raise InputError(f"schema is {type(schema).__name__}, expected a JSON Schema: an object, or its JSON text")
    return _Reader(schema).read()


class _Reader:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._rules: dict[str, Node] = {}
        self._names: dict[str, str] = {}  # of the rules of places in the schema, by pointer

    def read(self) -> dict[str, Node]:
        whole = self._rule("start")
        self._rules[whole.name] = Chain((_LEADING, self._value(self._root, "#")))
        return self._rules

    def _rule(self, kind: str) -> Rule:
        if len(self._rules) >= _MOST_RULES:
            raise InputError(f"schema needs more than {_MOST_RULES} rules; give a smaller one")
        name = f"{kind}_{len(self._rules)}"
        self._rules[name] = Chain(())
        return Rule(name)

    def _value(self, schema: Any, where: str) -> Node:
        if schema is True or schema == {}:
            return self._anything()
        if not isinstance(schema, Mapping):
            raise wrong(where, f"is {show(schema)}, expected an object, or true")
        for name in schema:
            if name not in _KNOWN and name not in _NOTES:
                raise wrong(where, f"has {show(name)}, which is not supported; supported are {', '.join(_KNOWN)}")
        whole = [name for name in _WHOLE if name in schema]
        if whole:
            beside = [name for name in schema if name not in _NOTES and name not in (whole[0], "type")]
            if beside or ("type" in schema and whole[0] not in ("enum", "const")):
                other = beside[0] if beside else "type"
                raise wrong(where, f"has {show(other)} beside {show(whole[0])}, which is not supported; leave one out")
            return self._whole(whole[0], schema, where)
        types = self._types(schema, where)
        self._check_types(schema, types, where)
        branches = [getattr(self, f"_{kind}")(schema, where) for kind in types]
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _whole(self, name: str, schema: Mapping[str, Any], where: str) -> Node:
        value, where = schema[name], f"{where}/{name}"
        if name == "$ref":
            return self._reference(value, where)
        if name == "const":
            return self._constants([value], schema, where)
        if not isinstance(value, (list, tuple)) or not value:
            raise wrong(where, f"is {show(value)}, expected a list that is not empty")
        if name == "enum":
            return self._constants(value, schema, where)
        if name == "allOf" and len(value) > 1:
            raise wrong(where, f"has {len(value)} schemas, one is supported; write them as one")
        branches = [self._value(item, f"{where}/{index}") for index, item in enumerate(value)]
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _reference(self, pointer: Any, where: str) -> Rule:
        if not isinstance(pointer, str) or not re.fullmatch("#(/[^/]+)*", pointer):
            raise wrong(where, f"is {show(pointer)}, expected a place in this schema, as #/$defs/NAME")
        if pointer not in self._names:
            target = self._root
            for part in pointer.split("/")[1:]:
                key = part.replace("~1", "/").replace("~0", "~")
                if not isinstance(target, Mapping) or key not in target:
                    raise wrong(where, f"is {show(pointer)}, which this schema does not have")
                target = target[key]
            rule = self._rule("ref")
            self._names[pointer] = rule.name
            self._rules[rule.name] = self._value(target, pointer)
            self._check_grounded(rule.name, rule.name, where, pointer)
        return Rule(self._names[pointer])

    def _check_grounded(self, rule: str, start: str, where: str, pointer: str) -> None:
        """A reference that comes back to itself before any character names nothing."""
        node: Node = self._rules[rule]
        for item in node.items if isinstance(node, Choice) else (node,):
            if isinstance(item, Rule):
                if item.name == start:
                    raise wrong(where, f"is {show(pointer)}, which comes back to itself without a value")
                self._check_grounded(item.name, start, where, pointer)

    def _types(self, schema: Mapping[str, Any], where: str) -> list[str]:
        found = schema.get("type", [name for name in _TYPES if any(word in schema for word in _OF_TYPE[name])])
        types = [found] if isinstance(found, str) else found
        if not isinstance(types, (list, tuple)) or not types or any(name not in _TYPES for name in types):
            raise wrong(where, f"has the type {show(found)}, expected {', '.join(_TYPES)}, or a list of them")
        if "number" in types:
            types = [name for name in types if name != "integer"]
        return list(dict.fromkeys(types))

    def _check_types(self, schema: Mapping[str, Any], types: list[str], where: str) -> None:
        for name in schema:
            if name not in _NOTES and name != "type" and not any(name in _OF_TYPE[kind] for kind in types):
                raise wrong(where, f"has {show(name)}, which says nothing about {' or '.join(types)}; leave it out")

    def _constants(self, values: Any, schema: Mapping[str, Any], where: str) -> Node:
        types = self._types(schema, where) if "type" in schema else list(_TYPES)
        fitting = [
            value
            for value in values
            if _type_of(value) in types or (_type_of(value) == "integer" and "number" in types)
        ]
        if not fitting:
            raise wrong(where, f"has no value of the type {' or '.join(types)}; give one")
        branches = [constant(value, where) for value in fitting]
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _anything(self) -> Rule:
        """Any JSON value."""
        if "anything" not in self._names:
            rule = self._rule("anything")
            self._names["anything"] = rule.name
            pair = Chain((string(), COLON, rule))
            branches = (listed("{", pair, 0, None, "}"), listed("[", rule, 0, None, "]"), string(), NUMBER)
            self._rules[rule.name] = Choice((*branches, *(Word(text(name)) for name in ("true", "false", "null"))))
        return Rule(self._names["anything"])

    def _boolean(self, schema: Mapping[str, Any], where: str) -> Node:
        return Choice((Word(text("true")), Word(text("false"))))

    def _null(self, schema: Mapping[str, Any], where: str) -> Node:
        return Word(text("null"))

    def _number(self, schema: Mapping[str, Any], where: str) -> Node:
        return NUMBER

    def _integer(self, schema: Mapping[str, Any], where: str) -> Node:
        return INTEGER

    def _string(self, schema: Mapping[str, Any], where: str) -> Node:
        least, most = _counts(schema, "minLength", "maxLength", where)
        patterns = [name for name in ("pattern", "format") if name in schema]
        if not patterns:
            return string(least, most)
        if len(patterns) > 1 or "minLength" in schema or "maxLength" in schema:
            raise wrong(where, f"has {show(patterns[0])} beside another limit of a string; write it as one pattern")
        value = schema[patterns[0]]
        if patterns[0] == "format":
            if value not in _FORMATS:
                raise wrong(
                    where, f"has the format {show(value)}, supported are {', '.join(_FORMATS)}; write a pattern"
                )
            return quoted(inside_json(whole_text(_FORMATS[value])))
        return quoted(_pattern(value, f"{where}/pattern"))

    def _array(self, schema: Mapping[str, Any], where: str) -> Node:
        least, most = _counts(schema, "minItems", "maxItems", where)
        return listed("[", self._value(schema.get("items", True), f"{where}/items"), least, most, "]")

    def _object(self, schema: Mapping[str, Any], where: str) -> Node:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, Mapping):
            raise wrong(f"{where}/properties", f"is {show(properties)}, expected an object")
        if not isinstance(required, (list, tuple)) or any(not isinstance(name, str) for name in required):
            raise wrong(f"{where}/required", f"is {show(required)}, expected a list of names")
        if missing := [name for name in required if name not in properties]:
            raise wrong(f"{where}/required", f"names {show(missing[0])}, which properties do not have; add it there")
        check_order(properties, f"{where}/properties")
        others = schema.get("additionalProperties", not properties)
        if properties:
            open_words = ("propertyNames", "minProperties", "maxProperties")
            if others is not False or any(name in schema for name in open_words):
                name = next((name for name in open_words if name in schema), "additionalProperties")
                raise wrong(where, f"has {show(name)} beside properties, which is not supported; leave one out")
            pairs = [
                (self._pair(string_word(name, where), value, f"{where}/properties/{name}"), name in required)
                for name, value in properties.items()
            ]
            return Chain((Word(text("{")), self._listed_pairs(pairs), Word(text("}"))))
        least, most = _counts(schema, "minProperties", "maxProperties", where)
        if others is False:
            return bracket("{", [], "}")
        key = self._key(schema.get("propertyNames", True), f"{where}/propertyNames")
        return listed("{", self._pair(key, others, f"{where}/additionalProperties"), least, most, "}")

    def _pair(self, key: Node, value: Any, where: str) -> Chain:
        return Chain((key, COLON, self._value(value, where)))

    def _key(self, schema: Any, where: str) -> Node:
        if isinstance(schema, Mapping) and "type" not in schema and not any(name in schema for name in _WHOLE):
            schema = {**schema, "type": "string"}
        if schema is True:
            return string()
        values = schema.get("enum", [schema.get("const", "")]) if isinstance(schema, Mapping) else []
        is_string = isinstance(schema, Mapping) and (
            schema.get("type") == "string" or "enum" in schema or "const" in schema
        )
        if (
            not is_string
            or not isinstance(values, (list, tuple))
            or any(not isinstance(value, str) for value in values)
        ):
            raise wrong(where, f"is {show(schema)}, expected strings: a pattern, enum, const or lengths")
        return self._value(schema, where)

    def _listed_pairs(self, pairs: Sequence[tuple[Node, bool]]) -> Node:
        """Pairs in their order, those that are not required left out or not."""
        after: Node = Chain(())  # what follows the pairs so far, at least one of which was written
        first: Node = Chain(())  # the same where none was
        for pair, is_required in reversed(pairs):
            with_pair = Chain((pair, after))
            rule_after, rule_first = self._rule("after"), self._rule("first")
            self._rules[rule_first.name] = with_pair if is_required else Choice((with_pair, first))
            following = Chain((COMMA, pair))
            self._rules[rule_after.name] = Chain((following if is_required else optional(following), after))
            after, first = rule_after, rule_first
        return first


def _pattern(pattern: Any, where: str) -> Node:
    if not isinstance(pattern, str):
        raise wrong(where, f"is {show(pattern)}, expected a regular expression")
    try:
        branches = parse_regex(pattern)
    except RegexError as error:
        raise wrong(where, str(error)) from error
    sides = [_unheld(branch) for branch in branches]
    return sides[0] if len(sides) == 1 else Choice(tuple(sides))


def _unheld(branch: Alternative) -> Node:
    """A branch of a pattern: it may stand anywhere in the string unless it is held to an end."""
    anything = Repeat(CHARACTER, 0, None)
    before, after = (() if is_held else (anything,) for is_held in (branch.is_start, branch.is_end))
    return Chain((*before, inside_json(branch.node), *after))


def _counts(schema: Mapping[str, Any], low: str, high: str, where: str) -> tuple[int, int | None]:
    least, most = schema.get(low, 0), schema.get(high)
    for name, value in ((low, least), (high, 0 if most is None and high not in schema else most)):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
            raise wrong(f"{where}/{name}", f"is {show(value)}, expected a whole number from 0 to {MOST}")
    if most is not None and most < least:
        raise wrong(f"{where}/{high}", f"is {most}, less than {low}, which is {least}")
    return least, most


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (float, "number"), (str, "string"), (Mapping, "object"), ((list, tuple), "array"),
    )  # fmt: skip
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")
