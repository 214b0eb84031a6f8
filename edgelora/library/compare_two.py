"""How far apart two adapters are: what their entries say, and the products of their factors.

Entry of each, their PEFT folders -> Comparison
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgelora.adapter.delta import inner, shape_of
from edgelora.library.entry import Entry
from edgelora_runtime.adapter import read_adapter

_SAID = ("base", "fingerprint", "grid", "task", "rank", "modules", "bytes", "license")


@dataclass(frozen=True)
class Comparison:
    """``cosine`` of the deltas over all modules, 1 for equal directions; ``distance`` over the first one's norm.

    Modules that one of the two lacks count as zero there.
    """

    cosine: float | None  # None where one of them is zero
    distance: float | None
    norms: tuple[float, float]  # Frobenius, of all deltas together
    by_module: Mapping[str, float]  # cosine of each module that both have
    only: tuple[tuple[str, ...], tuple[str, ...]]  # modules that the other one lacks
    other: tuple[str, ...]  # fields of the entries that differ


def compare_two(first: Entry, second: Entry, folders: tuple[Path, Path]) -> Comparison:
    """Compare two adapters of a library; raises AdapterError where one cannot be read."""
    one, two = (read_adapter(folder, with_head=True).factors for folder in folders)
    shared = sorted(one.keys() & two.keys())
    fits = [name for name in shared if shape_of(one[name]) == shape_of(two[name])]
    products = {name: inner(one[name], two[name]) for name in fits}
    squares = {name: inner(item, item) for name, item in one.items()}
    others = {name: inner(item, item) for name, item in two.items()}
    product, left, right = sum(products.values()), sum(squares.values()), sum(others.values())
    return Comparison(
        cosine=_cosine(product, left, right),
        distance=math.sqrt(max(left + right - 2 * product, 0.0) / left) if left > 0 else None,
        norms=(math.sqrt(left), math.sqrt(right)),
        by_module={
            name: found for name in fits if (found := _cosine(products[name], squares[name], others[name])) is not None
        },
        only=(tuple(sorted(one.keys() - {*fits})), tuple(sorted(two.keys() - {*fits}))),
        other=tuple(name for name in _SAID if getattr(first, name) != getattr(second, name)),
    )


def _cosine(product: float, left: float, right: float) -> float | None:
    return product / math.sqrt(left * right) if left > 0 and right > 0 else None
