"""Adapters as inputs of the fused graph: packed, blended, stacked.

Adapter, Slot -> Packed

``docs/format.md`` ("The fused graph") is the definition.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora_runtime.adapter import Adapter, Factors, FloatArray
from edgelora_runtime.grid_of_factors import find_codes
from edgelora_runtime.manifest import Slot
from edgelora_runtime.packing import LINE, Packed, aligned, rank_groups

FACTORS = "adapter.factors"  # uint8 (bytes,): the blocks of adapters, one after another
BLOCKS = "adapter.blocks"  # int64 (rows, pieces, slots): where the block of a slot begins, -1 for none
WEIGHTS = "adapter.weights"  # float32 (rows, pieces)
LANE = 16  # input features, or output columns, side by side for one rank
_PANEL = 8  # ranks of A that are read together
_KINDS = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int8))

Array = npt.NDArray[Any]


def pack_fused(adapter: Adapter, slots: Sequence[Slot]) -> dict[str, Array]:
    """The inputs of one adapter: a single piece for a single row, its factors as narrow as they are without loss."""
    blocks = [_block(slot, adapter) for slot in slots]
    sizes = [sum(_round_up(array.nbytes) for array in block) for block in blocks]
    factors = aligned(sum(sizes))
    starts = list(itertools.accumulate(sizes, initial=0))
    for block, start in zip(blocks, starts, strict=False):
        for array in block:
            factors[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
            start += _round_up(array.nbytes)
    offsets = [start if block else -1 for block, start in zip(blocks, starts, strict=False)]
    return fused_inputs(factors, np.array(offsets, np.int64)[None, None], np.ones((1, 1), np.float32))


def fused_inputs(factors: Array, blocks: Array, weights: Array) -> dict[str, Array]:
    """Three arrays under the names of the inputs."""
    return {FACTORS: factors, BLOCKS: blocks, WEIGHTS: weights}


def blend_fused(parts: Sequence[tuple[Packed, float]], slots: Sequence[Slot]) -> dict[str, Array]:
    """Packed adapters as pieces of one row, each times its weight; no parts give no pieces."""
    factors, starts = _join(packed for packed, _ in parts)
    empty_blocks, empty_weights = np.zeros((1, 0, len(slots)), np.int64), np.zeros((1, 0), np.float32)
    blocks = [_moved(packed, starts) for packed, _ in parts]
    weights = [packed[WEIGHTS] * np.float32(weight) for packed, weight in parts]
    return fused_inputs(
        factors, np.concatenate([empty_blocks, *blocks], axis=1), np.concatenate([empty_weights, *weights], axis=1)
    )


def stack_fused(rows: Sequence[Packed]) -> dict[str, Array]:
    """One adapter for each row of a batch, each at its own rank; rows with fewer pieces have none in their place."""
    factors, starts = _join(rows)
    pieces = max(packed[BLOCKS].shape[1] for packed in rows)
    blocks = np.full((len(rows), pieces, rows[0][BLOCKS].shape[2]), -1, np.int64)
    weights = np.zeros((len(rows), pieces), np.float32)
    for row, packed in enumerate(rows):
        own = packed[BLOCKS].shape[1]
        blocks[row, :own] = _moved(packed, starts)[0]
        weights[row, :own] = packed[WEIGHTS][0]
    return fused_inputs(factors, blocks, weights)


def row_of_fused(stacked: Packed, row: int, like: Packed) -> dict[str, Array] | None:
    """The inputs of one row over the memory of a stack, where ``like``, the same inputs, is a single piece."""
    own, moved = like[BLOCKS][0], stacked[BLOCKS][row, :1]
    if len(own) != 1 or not (own >= 0).any():
        return None
    start = int((moved - own)[own >= 0][0])
    return fused_inputs(stacked[FACTORS][start : start + like[FACTORS].nbytes], like[BLOCKS], like[WEIGHTS])


def _join(packed: Iterable[Packed]) -> tuple[Array, dict[int, int]]:
    """The factors of all adapters behind each other, each once, and where those of each array begin."""
    arrays = {id(item[FACTORS]): item[FACTORS] for item in packed}
    sizes = [_round_up(array.nbytes) for array in arrays.values()]
    starts = dict(zip(arrays, itertools.accumulate(sizes, initial=0), strict=False))
    if len(arrays) == 1:
        return next(iter(arrays.values())), starts
    factors = aligned(sum(sizes))
    for key, array in arrays.items():
        factors[starts[key] : starts[key] + array.nbytes] = array
    return factors, starts


def _moved(packed: Packed, starts: dict[int, int]) -> Array:
    blocks = packed[BLOCKS]
    moved: Array = np.where(blocks < 0, blocks, blocks + starts[id(packed[FACTORS])])
    return moved


def _block(slot: Slot, adapter: Adapter) -> list[Array]:
    """The arrays of a slot, as they lie one after another; nothing where the adapter does not touch it."""
    groups = rank_groups(slot, adapter.factors)
    if not groups:
        return []
    starts = list(itertools.accumulate((group[0][1].a.shape[0] for group in groups), initial=0))
    places: dict[str, tuple[int, int, Factors]] = {}  # module: start, rank, factors
    for start, group in zip(starts, groups, strict=False):
        places |= {part.module: (start, item.a.shape[0], item) for part, item in group}
    a = np.concatenate([group[0][1].a for group in groups])
    sides = [places[part.module][2].b.T if part.module in places else _none(part.out_features) for part in slot.parts]
    kind, a, a_scales, codes = _narrow(a, sides)
    gains = _gains(slot, adapter)
    scales, head = [], [_KINDS.index(kind), len(a), len(slot.parts), len(gains)]
    for part, (_, b_scales) in zip(slot.parts, codes, strict=True):
        start, rank, item = places.get(part.module, (0, 0, None))
        head += [start, rank]
        if item is not None:
            scales.append(a_scales[start : start + rank] * b_scales * np.float32(item.scaling))
    columns = [_lanes(np.ascontiguousarray(side)) for side, _ in codes]  # (lanes, rank, 16)
    panels = [_lanes(a[start : start + _PANEL]) for start in range(0, len(a), _PANEL)]
    whole = np.concatenate([panel.reshape(-1) for panel in panels])
    return [np.array(head, np.int32), np.concatenate(scales).astype(np.float32), *gains, whole, *columns]


def _gains(slot: Slot, adapter: Adapter) -> list[FloatArray]:
    """DoRA's gain of every column (out_features,), zero where a part has none; nothing where no part has one."""
    found = [(part, item.gain) for part in slot.parts if (item := adapter.factors.get(part.module)) is not None]
    if all(gain is None for _, gain in found):
        return []
    gains = np.zeros(slot.out_features, np.float32)
    for part, gain in found:
        if gain is not None:
            gains[part.offset : part.offset + part.out_features] = gain
    return [gains]


def _narrow(
    a: FloatArray, sides: Sequence[FloatArray]
) -> tuple[np.dtype[Any], Array, FloatArray, list[tuple[Array, FloatArray]]]:
    """Both sides in the narrowest type that holds every number, and what each rank is multiplied with."""
    found = find_codes([a, *sides])
    if found is not None:
        (codes, scales), *others = found
        return _KINDS[2], codes, scales, others
    halves = [_as_half(side) for side in (a, *sides)]
    kind = _KINDS[0] if any(half is None for half in halves) else _KINDS[1]
    narrowed = [side.astype(kind, copy=False) for side in (a, *sides)]
    ones = [np.ones(len(side), np.float32) for side in narrowed]
    return kind, narrowed[0], ones[0], list(zip(narrowed[1:], ones[1:], strict=True))


def _as_half(values: FloatArray) -> Array | None:
    first = values[:1]  # nearly always tells
    with np.errstate(over="ignore"):
        if not (first.astype(np.float16) == first).all():
            return None
        half = values.astype(np.float16)
    return half if bool((half == values).all()) else None


def _lanes(values: Array) -> Array:
    """(ranks, n) as (lanes, ranks, 16), zeros behind the last of n."""
    ranks, count = values.shape
    n_lanes = -(-count // LANE)
    padded = np.zeros((ranks, n_lanes * LANE), values.dtype)
    padded[:, :count] = values
    return np.ascontiguousarray(padded.reshape(ranks, n_lanes, LANE).transpose(1, 0, 2))


def _none(out_features: int) -> FloatArray:
    return np.zeros((0, out_features), np.float32)


def _round_up(size: int) -> int:
    return LINE * -(-size // LINE)
