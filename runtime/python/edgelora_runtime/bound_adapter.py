"""Inputs of a graph that belong to an adapter, ready to be bound without a copy.

Packed -> BoundAdapter
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgelora_runtime.graph import value_over
from edgelora_runtime.packing import Packed

_Named = list[tuple[str, ort.OrtValue]]


@dataclass(frozen=True, eq=False)
class BoundAdapter:
    """Slot inputs as onnxruntime values over memory that stays where it is; compared by identity."""

    rows: int  # 1 (shared by every row) or the number of rows
    arrays: Packed
    inputs: Sequence[tuple[str, ort.OrtValue]]
    is_none: bool  # every slot has rank 0 and no gain
    before: BoundAdapter | None = None  # of an activated adapter: what the tokens before its invocation go through

    def n_through_base(self, start: int) -> int:
        """How many first tokens of a row went through the base, where the adapter acts from index ``start`` on."""
        return sys.maxsize if self.is_none else start

    @property
    def n_bytes(self) -> int:
        """Memory of the slot inputs."""
        return sum(array.nbytes for array in self.arrays.values())

    def inputs_of(self, rows: slice) -> _Named:
        """The inputs of some rows; what has one dimension belongs to all of them."""
        return [(name, value_over(item[rows] if item.ndim > 1 else item)) for name, item in self.arrays.items()]

    def digest(self) -> str:
        """SHA-256 (hex) of the slot inputs: what a KV cache that went through them depends on."""
        found = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            found.update(f"{name} {array.shape} ".encode())
            found.update(array.data)
        return found.hexdigest()


def bind(packed: Packed, before: BoundAdapter | None = None) -> BoundAdapter:
    """What a packer made, over the same memory where that is in order."""
    rows = max((array.shape[0] for array in packed.values() if array.ndim > 1), default=1)
    arrays = {name: np.ascontiguousarray(item) for name, item in packed.items()}
    inputs = tuple((name, value_over(item)) for name, item in arrays.items())
    return BoundAdapter(rows, arrays, inputs, all(map(_adds_nothing, arrays.values())), before)


def _adds_nothing(item: npt.NDArray[Any]) -> bool:
    """Whether a slot input is of rank 0, or the gain of no adapter: (rows, 1, out_features) zeros."""
    return item.size == 0 or (item.ndim == 3 and item.shape[1] == 1 and not item.any())
