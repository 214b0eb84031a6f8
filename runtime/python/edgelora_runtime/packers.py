"""Packs adapters for one of the two graphs that take them: with slots, or fused.

Adapter -> Packed -> bytes of a file, and back

Both graphs answer the same; a session says which one it runs.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from edgelora_runtime.adapter import Adapter
from edgelora_runtime.fused import (
    BLOCKS,
    FACTORS,
    blend_fused,
    fused_inputs,
    pack_fused,
    row_of_fused,
    stack_fused,
)
from edgelora_runtime.manifest import Slot
from edgelora_runtime.packing import (
    LINE,
    Packed,
    blend_packed,
    pack_adapter,
    packed_size,
    packed_views,
    row_of,
    stack_packed,
)

Buffer = bytes | memoryview | mmap.mmap


class Packer(Protocol):
    """One form of graph inputs. ``form`` tells its files from those of the other."""

    form: str

    def pack(self, adapter: Adapter) -> Packed:
        """The inputs of one adapter."""

    def blend(self, parts: Sequence[tuple[Packed, float]]) -> Packed:
        """Packed adapters added up, each times its weight; no parts are no adapter."""

    def stack(self, rows: Sequence[Packed]) -> Packed:
        """One adapter or blend for each row of a batch."""

    def row(self, stacked: Packed, row: int, like: Packed) -> Packed | None:
        """One row of ``stack``'s result over the same memory, where that holds ``like``, the row, as it is."""

    def to_buffers(self, packed: Packed) -> Sequence[Buffer]:
        """What a file of ``pack``'s result holds, in order."""

    def from_buffer(self, data: Buffer) -> Packed | None:
        """The same from the file, over its memory; None when it is no such file."""


class SlotPacker:
    """For the graph with slots. Of a file: the rank of each slot as int64, zeros up to a line, then the floats."""

    form = "slots"

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots

    def pack(self, adapter: Adapter) -> Packed:
        """Two inputs for each slot."""
        return pack_adapter(adapter, self._slots)

    def blend(self, parts: Sequence[tuple[Packed, float]]) -> Packed:
        """Side by side along the rank axis."""
        return blend_packed(parts, self._slots)

    def stack(self, rows: Sequence[Packed]) -> Packed:
        """Zeros up to the largest rank."""
        return stack_packed(rows, self._slots)

    def row(self, stacked: Packed, row: int, like: Packed) -> Packed | None:
        """Where no rank was filled up."""
        return row_of(stacked, row, like)

    def to_buffers(self, packed: Packed) -> Sequence[Buffer]:
        """Ranks, then what ``packed_views`` sees."""
        ranks = [packed[slot.a].shape[2] for slot in self._slots]
        memory = np.zeros(packed_size(self._slots, ranks), np.float32)
        for name, view in packed_views(memory, self._slots, ranks).items():
            view[...] = packed[name]
        return _head(ranks), memory.data

    def from_buffer(self, data: Buffer) -> Packed | None:
        """Views of the floats."""
        count = len(self._slots)
        start, size = _start(count), len(memoryview(data))
        if size < start:
            return None
        ranks = np.frombuffer(data, np.int64, count).tolist()
        if min(ranks, default=0) < 0 or size != start + 4 * packed_size(self._slots, ranks):
            return None
        return packed_views(np.frombuffer(data, np.float32, offset=start), self._slots, ranks)


class FusedPacker:
    """For the fused graph. Of a file: bytes of the factors and begin of each block as int64, a line, the factors."""

    form = "fused"

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots

    def pack(self, adapter: Adapter) -> Packed:
        """Three inputs for all slots."""
        return pack_fused(adapter, self._slots)

    def blend(self, parts: Sequence[tuple[Packed, float]]) -> Packed:
        """As pieces of one row."""
        return blend_fused(parts, self._slots)

    def stack(self, rows: Sequence[Packed]) -> Packed:
        """Each row at its own rank."""
        return stack_fused(rows)

    def row(self, stacked: Packed, row: int, like: Packed) -> Packed | None:
        """Where it is the factors of one adapter."""
        return row_of_fused(stacked, row, like)

    def to_buffers(self, packed: Packed) -> Sequence[Buffer]:
        """Offsets, then factors."""
        return _head([packed[FACTORS].nbytes, *packed[BLOCKS].reshape(-1).tolist()]), packed[FACTORS].data

    def from_buffer(self, data: Buffer) -> Packed | None:
        """The factors as they lie in the file; the operator looks at every block before it reads it."""
        count = 1 + len(self._slots)
        start, size = _start(count), len(memoryview(data))
        if size < start:
            return None
        head = np.frombuffer(data, np.int64, count)
        if head[0] != size - start or (len(head) > 1 and not (head[1:] < size - start).all()):
            return None
        factors = np.frombuffer(data, np.uint8, offset=start)
        return fused_inputs(factors, head[None, None, 1:], np.ones((1, 1), np.float32))


def _head(numbers: Sequence[int]) -> bytes:
    return np.array(numbers, np.int64).tobytes().ljust(_start(len(numbers)), b"\0")


def _start(count: int) -> int:
    """Bytes before what is mapped."""
    return LINE * math.ceil(8 * count / LINE)
