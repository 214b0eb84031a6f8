"""Packs adapters of a model with a head: slots as another packer does it, and the tensors of the head beside them.

Adapter -> Packed -> bytes of a file, and back
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from edgelora_runtime.adapter import Adapter
from edgelora_runtime.head import Tensors, blend_heads, pack_head, packed_labels, stack_heads
from edgelora_runtime.manifest import HeadTensor
from edgelora_runtime.packers import Buffer, Packer
from edgelora_runtime.packing import LINE, Packed, row_of


class HeadPacker:
    """Of a file: bytes of the slots and number of labels as int64, a line, the slots, the floats of the head.

    ``base`` are the tensors that the base has itself; what an adapter lacks is taken from there.
    """

    def __init__(self, slots: Packer, head: Sequence[HeadTensor], base: Tensors, has_base_head: bool) -> None:
        self.form = f"{slots.form} and head"
        self._slots = slots
        self._head = head
        self._base = base
        self._none = pack_head(base, head) if has_base_head else {}

    def pack(self, adapter: Adapter) -> Packed:
        """The slots, and each tensor of the head from the adapter or the base."""
        return {**self._slots.pack(adapter), **pack_head({**self._base, **adapter.head}, self._head)}

    def blend(self, parts: Sequence[tuple[Packed, float]]) -> Packed:
        """Heads by their share of the weights; no parts have the base's own head, or none where it has no whole one."""
        head = blend_heads(parts, self._head) if parts else self._none
        return {**self._slots.blend(parts), **head}

    def stack(self, rows: Sequence[Packed]) -> Packed:
        """Zeros up to the largest rank and number of labels."""
        return {**self._slots.stack(rows), **stack_heads(rows, self._head)}

    def row(self, stacked: Packed, row: int, like: Packed) -> Packed | None:
        """Where neither ranks nor labels were filled up."""
        names = {item.input for item in self._head}
        head = row_of(stacked, row, {name: array for name, array in like.items() if name in names})
        slots = self._slots.row(stacked, row, {name: array for name, array in like.items() if name not in names})
        return None if head is None or slots is None else {**slots, **head}

    def to_buffers(self, packed: Packed) -> Sequence[Buffer]:
        """A line, the slots, the head."""
        slots = [memoryview(part).cast("B") for part in self._slots.to_buffers(packed)]
        size = sum(part.nbytes for part in slots)
        head = [np.ascontiguousarray(packed[item.input]).reshape(-1).data.cast("B") for item in self._head]
        line = np.array([size, packed_labels(packed, self._head)], np.int64).tobytes().ljust(LINE, b"\0")
        return [line, *slots, bytes(-size % LINE), *head]

    def from_buffer(self, data: Buffer) -> Packed | None:
        """Views of the file; None where its size is not that of such a head."""
        view = memoryview(data)
        if len(view) < LINE:
            return None
        size, labels = np.frombuffer(view, np.int64, 2).tolist()
        if size < 0 or labels < 0 or LINE + size > len(view):
            return None
        start = LINE + LINE * math.ceil(size / LINE)
        shapes = [_fed(item, labels) for item in self._head]
        ends = list(itertools.accumulate((4 * math.prod(shape) for shape in shapes), initial=start))
        slots = self._slots.from_buffer(view[LINE : LINE + size])
        if slots is None or ends[-1] != len(view):
            return None
        places = zip(self._head, shapes, ends, strict=False)
        head = {
            item.input: np.frombuffer(view, np.float32, math.prod(shape), begin).reshape(shape)
            for item, shape, begin in places
        }
        return {**slots, **head}


def _fed(item: HeadTensor, labels: int) -> tuple[int, ...]:
    """The shape of an input for one row."""
    sizes = [labels if size == 0 else size for size in item.sizes]
    return (1, sizes[1], sizes[0]) if len(sizes) == 2 else (1, 1, sizes[0])
