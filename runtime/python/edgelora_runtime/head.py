"""The head of a model as inputs of its graph: read, checked, packed, blended, stacked.

Adapter, HeadTensor -> Packed

``docs/format.md`` ("Heads") is the definition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgelora_runtime.adapter import Adapter, FloatArray
from edgelora_runtime.adapter_config import is_saved
from edgelora_runtime.check_manifest import LARGEST_HEAD
from edgelora_runtime.errors import AdapterError, ArtifactError
from edgelora_runtime.manifest import HeadTensor, Manifest
from edgelora_runtime.names import resolve_inside
from edgelora_runtime.packing import Packed
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.safetensors import read_safetensors

_INITIAL_SPREAD = 0.02  # initializer_range of transformers, which every model here has

Tensors = Mapping[str, FloatArray]


def read_base_head(folder: Path, manifest: Manifest) -> Tensors:
    """What the base itself has of the head, by name; raises one ArtifactError with all that is not as it should be."""
    encoder = manifest.encoder
    if encoder is None or encoder.head_file is None:
        return {}
    found = read_safetensors(resolve_inside(folder, encoder.head_file))
    known = {item.tensor for item in encoder.head}
    wrong = [f"{name} is no tensor of the head" for name in sorted(found.keys() - known)]
    wrong += [f"{name} is {value.dtype}, expected floats" for name, value in found.items() if value.dtype.kind != "f"]
    tensors = {name: value.astype(np.float32) for name, value in found.items() if name in known}
    wrong += [why for item in encoder.head if item.tensor in tensors and (why := _misshapen(item, tensors))]
    if encoder.base_head is not None:
        wrong += [f"{item.tensor} is missing" for item in encoder.head if item.tensor not in tensors]
        if not wrong and (n_labels := count_labels(encoder.head, tensors)) != len(encoder.base_head.labels):
            wrong.append(f"it answers for {n_labels} labels, base_head names {len(encoder.base_head.labels)}")
    if wrong:
        raise ArtifactError(f"{folder / encoder.head_file}: {join_some(wrong)}; export the artifact again")
    return tensors


def find_wrong_head(adapter: Adapter, head: Sequence[HeadTensor], base: Tensors) -> list[str]:
    """A line for each tensor with which, or without which, the adapter's head could not answer."""
    known = {item.tensor: item for item in head}
    wrong = [
        f"{name} is no tensor of this artifact's head (which has {', '.join(known)})"
        for name in sorted(adapter.head.keys() - known.keys())
    ]
    wrong += [why for name, item in known.items() if name in adapter.head and (why := _misshapen(item, adapter.head))]
    absent = [name for name in known if name not in adapter.head and is_saved(name, adapter.saved)]
    wrong += [f"{name} is missing, though modules_to_save asks for it" for name in absent]
    wrong += [
        f"{name} is neither in the adapter nor in the base"
        for name in known
        if name not in adapter.head and name not in base and name not in absent
    ]
    if wrong:
        return wrong
    counts = {name: size for name, item in known.items() for size in _label_counts(item, {**base, **adapter.head})}
    if len(set(counts.values())) > 1:
        return [f"its tensors are for different numbers of labels ({_told(counts)})"]
    if max(counts.values(), default=1) > LARGEST_HEAD:
        return [f"it has {max(counts.values())} labels, at most {LARGEST_HEAD} are read"]
    if not adapter.factors and all(
        name in base and np.array_equal(adapter.head[name], base[name]) for name in adapter.head
    ):
        return ["it changes nothing: there are no factors, and its head is that of the base"]
    return []


def find_untrained(adapter: Adapter, head: Sequence[HeadTensor]) -> str | None:
    """Why a head looks as transformers makes one, before any training: biases zero, weights drawn with one spread."""
    own = [(item, adapter.head[item.tensor]) for item in head if 0 in item.sizes and item.tensor in adapter.head]
    biases = [value for item, value in own if len(item.sizes) == 1]
    weights = [value for item, value in own if len(item.sizes) == 2]
    if not biases or not weights or any(value.any() for value in biases):
        return None
    for value in weights:
        count = value.size
        if abs(float(value.std()) / _INITIAL_SPREAD - 1) > 0.05 + 3 / math.sqrt(2 * count):
            return None
        if abs(float(value.mean())) > 4 * _INITIAL_SPREAD / math.sqrt(count):
            return None
    names = ", ".join(item.tensor for item, _ in own)
    return (
        f"its head is at its initial values ({names}: biases zero, weights spread {_INITIAL_SPREAD}); train it with "
        "modules_to_save, or trust the folder if that is meant"
    )


def count_labels(head: Sequence[HeadTensor], tensors: Tensors) -> int:
    """For how many labels tensors of the checkpoint answer; 0 where none of them says."""
    return max((size for item in head for size in _label_counts(item, tensors)), default=0)


def pack_head(tensors: Tensors, head: Sequence[HeadTensor]) -> dict[str, FloatArray]:
    """The inputs of one head, (1, in, out) or (1, 1, size), copied; those that ``tensors`` lacks are left out."""
    return {
        item.input: np.array(np.atleast_2d(tensors[item.tensor].T)[None], np.float32, order="C")
        for item in head
        if item.tensor in tensors
    }


def packed_labels(packed: Packed, head: Sequence[HeadTensor]) -> int:
    """For how many labels packed inputs answer."""
    for item in head:
        for axis, size in zip(_axes(item), item.sizes, strict=True):
            if size == 0 and item.input in packed:
                return int(packed[item.input].shape[axis])
    return 0


def blend_heads(parts: Sequence[tuple[Packed, float]], head: Sequence[HeadTensor]) -> dict[str, FloatArray]:
    """Heads of one shape, weighted with their share of the weights; the weight of a single one does not count.

    Raises AdapterError for weights that add up to nothing.
    """
    if len(parts) == 1:
        return {item.input: parts[0][0][item.input] for item in head}
    total = sum(weight for _, weight in parts)
    if abs(total) < 1e-9:
        raise AdapterError("the weights of the blend add up to 0, so that no head can be made of it; give others")
    return {
        item.input: np.sum([packed[item.input] * np.float32(weight / total) for packed, weight in parts], axis=0)
        for item in head
    }


def stack_heads(rows: Sequence[Packed], head: Sequence[HeadTensor]) -> dict[str, FloatArray]:
    """One head for each row, zeros up to the largest number of labels."""
    stacked: dict[str, FloatArray] = {}
    for item in head:
        found = [packed[item.input] for packed in rows]
        into, out = (max(array.shape[axis] for array in found) for axis in (1, 2))
        whole = np.zeros((len(rows), into, out), np.float32)
        for row, array in enumerate(found):
            whole[row, : array.shape[1], : array.shape[2]] = array[0]
        stacked[item.input] = whole
    return stacked


def _axes(item: HeadTensor) -> tuple[int, ...]:
    """Where each of ``sizes`` lies in the input."""
    return (2, 1) if len(item.sizes) == 2 else (2,)


def _label_counts(item: HeadTensor, tensors: Tensors) -> list[int]:
    shape = tensors[item.tensor].shape if item.tensor in tensors else ()
    return [found for size, found in zip(item.sizes, shape, strict=False) if size == 0]


def _misshapen(item: HeadTensor, tensors: Tensors) -> str | None:
    shape = tensors[item.tensor].shape
    if len(shape) == len(item.sizes) and all(size in (0, found) for size, found in zip(item.sizes, shape, strict=True)):
        return None
    wanted = ", ".join("labels" if size == 0 else str(size) for size in item.sizes)
    return f"{item.tensor} is {list(shape)}, expected [{wanted}]"


def _told(counts: Mapping[str, int]) -> str:
    return join_some([f"{name} {count}" for name, count in counts.items()], ", ")
