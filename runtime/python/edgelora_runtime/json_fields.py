"""Builds a frozen dataclass from JSON, field by field, by the types that it declares.

class, JSON -> an instance of the class

Names and types are checked here, values by whoever asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.parse_json import show

_SCALARS = {"str": str, "int": int, "float": float, "bool": bool}
_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def build(kind: Any, data: Any, where: str, nested: Mapping[str, Any]) -> Any:
    """An instance of the dataclass ``kind``; ``nested`` are the dataclasses that its fields name.

    Raises ArtifactError naming the field that is missing or of another type. Fields that ``kind`` lacks are ignored.
    """
    if not isinstance(data, dict):
        raise ArtifactError(f"{where}: expected an object, found {show(data)}")
    values: dict[str, Any] = {}
    for item in dataclasses.fields(kind):
        if item.name not in data:
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
                raise ArtifactError(f"{where}: field {item.name!r} is missing")
            continue
        values[item.name] = _value(str(item.type), data[item.name], f"{where}: {item.name}", nested)
    return kind(**values)


def _value(annotation: str, data: Any, where: str, nested: Mapping[str, Any]) -> Any:
    if annotation.endswith(" | None"):
        return None if data is None else _value(annotation.removesuffix(" | None"), data, where, nested)
    if annotation.startswith(("tuple[", "Sequence[")):
        if not isinstance(data, list):
            raise ArtifactError(f"{where}: expected a list, found {show(data)}")
        inner = annotation.partition("[")[2].removesuffix("]").removesuffix(", ...")
        return tuple(_value(inner, item, f"{where}[{index}]", nested) for index, item in enumerate(data))
    if annotation.startswith("Mapping["):
        if not isinstance(data, dict):
            raise ArtifactError(f"{where}: expected an object, found {show(data)}")
        inner = annotation.removeprefix("Mapping[str, ").removesuffix("]")
        if inner == "Any":
            return dict(data)
        return {key: _value(inner, item, f"{where}: {show(key)}", nested) for key, item in data.items()}
    if annotation in nested:
        return build(nested[annotation], data, where, nested)
    kind = _SCALARS[annotation]
    if kind is int and isinstance(data, float) and data.is_integer():
        return int(data)  # 1.0 and 1e3 are whole numbers to JSON Schema, and to languages with one type for all numbers
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (kind is not bool and isinstance(data, bool)):
        raise ArtifactError(f"{where}: expected {_WORDS[annotation]}, found {show(data)}")
    return data
