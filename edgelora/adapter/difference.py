"""What two adapters do differently: module by module, in their heads and in their configurations.

Source of each -> Difference
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelora.adapter.delta import distance, inner, norm, shape_of
from edgelora.adapter.lineage import Source
from edgelora.errors import AdapterError
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Factors
from edgelora_runtime.parse_json import join_some


@dataclass(frozen=True)
class ModuleDifference:
    """One module that both adapt; norms are Frobenius norms of the deltas. A cosine with zeros is None."""

    rank_a: int
    rank_b: int
    norm_a: float
    norm_b: float
    distance: float  # norm of the difference
    cosine: float | None


@dataclass(frozen=True)
class Difference:
    """Two adapters beside each other. What one alone has counts as zeros in the other."""

    norm_a: float
    norm_b: float
    distance: float
    cosine: float | None
    modules: Mapping[str, ModuleDifference]
    only_a: Mapping[str, float]  # module -> norm of its delta
    only_b: Mapping[str, float]
    heads: Mapping[str, float | None]  # tensor -> norm of the difference over that of A's; None where it has no pair
    config: Mapping[str, tuple[Any, Any]]  # field of adapter_config.json -> A's value, B's
    base: Mapping[str, tuple[Any, Any]]  # what receipts say of the base, where they differ

    @property
    def relative_distance(self) -> float | None:
        """The distance over the norm of A; None where A is zero."""
        return self.distance / self.norm_a if self.norm_a else None


def find_difference(a: Source, b: Source) -> Difference:
    """Compare two adapters; raises AdapterError where a module has other shapes, so that the bases differ."""
    ours, theirs = a.adapter.factors, b.adapter.factors
    both = [module for module in ours if module in theirs]
    wrong = [
        f"{module} is {shape_of(ours[module])} and {shape_of(theirs[module])}"
        for module in both
        if shape_of(ours[module]) != shape_of(theirs[module])
    ]
    if wrong:
        raise AdapterError(f"{a.folder} and {b.folder} are for different bases: {join_some(wrong)}")
    modules = {module: _compare(ours[module], theirs[module]) for module in both}
    only_a = {module: norm(item) for module, item in ours.items() if module not in theirs}
    only_b = {module: norm(item) for module, item in theirs.items() if module not in ours}
    products = {module: inner(ours[module], theirs[module]) for module in both}
    norm_a = _root([item.norm_a for item in modules.values()] + [*only_a.values()])
    norm_b = _root([item.norm_b for item in modules.values()] + [*only_b.values()])
    return Difference(
        norm_a=norm_a,
        norm_b=norm_b,
        distance=_root([item.distance for item in modules.values()] + [*only_a.values(), *only_b.values()]),
        cosine=_cosine(sum(products.values()), norm_a, norm_b),
        modules=modules,
        only_a=only_a,
        only_b=only_b,
        heads=_heads(a.adapter.head, b.adapter.head),
        config=_unlike(a.config, b.config),
        base=_unlike(_base(a), _base(b)),
    )


def _compare(a: Factors, b: Factors) -> ModuleDifference:
    sizes = norm(a), norm(b)
    return ModuleDifference(int(a.a.shape[0]), int(b.a.shape[0]), *sizes, distance(a, b), _cosine(inner(a, b), *sizes))


def _cosine(product: float, a: float, b: float) -> float | None:
    return max(-1.0, min(1.0, product / (a * b))) if a and b else None


def _root(norms: list[float]) -> float:
    return math.sqrt(sum(item * item for item in norms))


def _heads(a: Mapping[str, FloatArray], b: Mapping[str, FloatArray]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in sorted({*a, *b}):
        has_pair = name in a and name in b and a[name].shape == b[name].shape
        size = float(np.linalg.norm(a[name])) if has_pair else 0.0
        found[name] = float(np.linalg.norm(a[name] - b[name])) / size if size else None
    return found


def _base(source: Source) -> dict[str, Any]:
    if source.receipt is None:
        return {}
    fields = ("name", "fingerprint", "grid", "tokenizer", "chat_template")
    return {field: getattr(source.receipt, field) for field in fields}


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields that differ; a field that is missing counts as null, and lists of names in any order as equal."""
    found = {key: (a.get(key), b.get(key)) for key in sorted({*a, *b})}
    return {key: pair for key, pair in found.items() if _plain(pair[0]) != _plain(pair[1])}


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, list) else value
