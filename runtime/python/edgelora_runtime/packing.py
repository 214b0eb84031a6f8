"""Factors as slot inputs: packed, blended, stacked.

Adapter, Slot -> Packed

``docs/format.md`` ("Slots") is the definition.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora_runtime.adapter import Adapter, Factors, FloatArray
from edgelora_runtime.manifest import Slot, SlotPart

# slot input name -> (1, in_features, rank), (1, rank, out_features) or (1, 1, out_features); or what ``fused.py`` says
Packed = Mapping[str, npt.NDArray[Any]]

LINE = 64  # bytes; what is packed starts at a cache line
_ALIGNMENT = LINE // 4  # floats


def pack_adapter(adapter: Adapter, slots: Sequence[Slot], weight: float = 1.0) -> dict[str, FloatArray]:
    """The slot inputs of an adapter, times ``weight``; a slot that it does not touch gets rank 0.

    All are views of one array of zeros, which the system hands out in large pages and untouched: only what is not
    zero is written, once.
    """
    groups = [rank_groups(slot, adapter.factors) for slot in slots]
    ranks = [sum(item[0][1].a.shape[0] for item in found) for found in groups]
    packed = packed_views(np.zeros(packed_size(slots, ranks), np.float32), slots, ranks)
    for slot, found in zip(slots, groups, strict=True):
        a, b = packed[slot.a], packed[slot.b]
        start = 0
        for group in found:
            end = start + group[0][1].a.shape[0]
            a[0, :, start:end] = group[0][1].a.T
            for part, item in group:
                columns = b[0, start:end, part.offset : part.offset + part.out_features]
                # numpy transposes by a copy faster than by a product, and what was just written is still in the cache.
                np.copyto(columns, item.b.T)
                columns *= np.float32(weight * item.scaling)
                if slot.gain is not None and item.gain is not None:
                    packed[slot.gain][0, 0, part.offset : part.offset + part.out_features] = weight * item.gain
            start = end
    return packed


def aligned(size: int) -> npt.NDArray[Any]:
    """Zeros (size,), uint8, that begin at a cache line."""
    memory = np.zeros(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size]


def copied(packed: Packed) -> Packed:
    """The same inputs in memory of their own."""
    own: dict[str, npt.NDArray[Any]] = {}
    for name, array in packed.items():
        own[name] = aligned(array.nbytes).view(array.dtype).reshape(array.shape)
        own[name][...] = array
    return own


def packed_size(slots: Sequence[Slot], ranks: Sequence[int]) -> int:
    """Floats of the one array that slot inputs of these ranks lie in."""
    return sum(_extent(shape) for _, shape in _inputs(slots, ranks))


def packed_views(memory: FloatArray, slots: Sequence[Slot], ranks: Sequence[int]) -> dict[str, FloatArray]:
    """The slot inputs of these ranks as views of ``memory`` (packed_size,), each from a cache line on."""
    inputs = list(_inputs(slots, ranks))
    starts = itertools.accumulate((_extent(shape) for _, shape in inputs), initial=0)
    return {
        name: memory[start:][: math.prod(shape)].reshape(shape)
        for start, (name, shape) in zip(starts, inputs, strict=False)
    }


def _inputs(slots: Sequence[Slot], ranks: Sequence[int]) -> Iterator[tuple[str, tuple[int, int, int]]]:
    for slot, rank in zip(slots, ranks, strict=True):
        yield slot.a, (1, slot.in_features, rank)
        yield slot.b, (1, rank, slot.out_features)
        if slot.gain is not None:
            yield slot.gain, (1, 1, slot.out_features)


def _extent(shape: tuple[int, ...]) -> int:
    return _ALIGNMENT * math.ceil(math.prod(shape) / _ALIGNMENT)


def rank_groups(slot: Slot, factors: Mapping[str, Factors]) -> list[list[tuple[SlotPart, Factors]]]:
    """The adapted parts of a slot, those with equal A together: they share their ranks."""
    groups: list[list[tuple[SlotPart, Factors]]] = []
    for part in slot.parts:
        item = factors.get(part.module)
        if item is None:
            continue
        for group in groups:
            if _are_equal(group[0][1].a, item.a):
                group.append((part, item))
                break
        else:
            groups.append([(part, item)])
    return groups


def _are_equal(one: FloatArray, other: FloatArray) -> bool:
    # The first row nearly always tells; comparing everything would read each A three times.
    return one.shape == other.shape and bool((one[:1] == other[:1]).all()) and bool((one == other).all())


def blend_packed(parts: Sequence[tuple[Packed, float]], slots: Sequence[Slot]) -> dict[str, FloatArray]:
    """Packed adapters side by side along the rank axis, each times its weight; no parts give rank 0, and no gain."""
    blended: dict[str, FloatArray] = {}
    for slot in slots:
        empty_a = np.zeros((1, slot.in_features, 0), np.float32)
        empty_b = np.zeros((1, 0, slot.out_features), np.float32)
        blended[slot.a] = np.concatenate([empty_a, *(packed[slot.a] for packed, _ in parts)], axis=2)
        scaled = (packed[slot.b] * np.float32(weight) for packed, weight in parts)
        blended[slot.b] = np.concatenate([empty_b, *scaled], axis=1)
        if slot.gain is not None:
            gain = np.zeros((1, 1, slot.out_features), np.float32)
            for packed, weight in parts:
                gain += packed[slot.gain] * np.float32(weight)
            blended[slot.gain] = gain
    return blended


def stack_packed(rows: Sequence[Packed], slots: Sequence[Slot]) -> dict[str, FloatArray]:
    """One adapter for each row of a batch, zeros up to the largest rank: (rows, in, rank) and (rows, rank, out)."""
    stacked: dict[str, FloatArray] = {}
    for slot in slots:
        rank = max(packed[slot.a].shape[2] for packed in rows)
        a = np.zeros((len(rows), slot.in_features, rank), np.float32)
        b = np.zeros((len(rows), rank, slot.out_features), np.float32)
        for row, packed in enumerate(rows):
            row_rank = packed[slot.a].shape[2]
            a[row, :, :row_rank] = packed[slot.a][0]
            b[row, :row_rank] = packed[slot.b][0]
        stacked[slot.a], stacked[slot.b] = a, b
        if slot.gain is not None:
            stacked[slot.gain] = np.concatenate([packed[slot.gain] for packed in rows])
    return stacked


def row_of(stacked: Packed, row: int, like: Packed) -> dict[str, npt.NDArray[Any]] | None:
    """The inputs of one row over the memory of a stack; None where that filled ``like``, the same inputs, up."""
    views = {name: stacked[name][row : row + 1] for name in like}
    return views if all(views[name].shape == array.shape for name, array in like.items()) else None
