"""Reads and writes ``.safetensors`` files with numpy alone.

safetensors file -> arrays by name, and back

The header is checked before anything is trusted.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.files import write_atomically
from edgelora_runtime.names import has_control
from edgelora_runtime.parse_json import parse_json, show

Array = npt.NDArray[Any]

_CODES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_DTYPES = {name: np.dtype(code) for name, code in _CODES.items()}
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name != "BF16"}
_LONGEST_HEADER = 8 << 20  # bytes; 80,000 tensors
_LONGEST_NAME = 1024
_MOST_DIMENSIONS = 8
_MOST_NUMBERS = 1 << 53


@dataclass(frozen=True)
class Stored:
    """A tensor as a file has it: its type by the name there, and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview


@dataclass(frozen=True)
class _Entry:
    """One tensor of a header; bytes ``start`` to ``end`` of what follows the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_safetensors(path: Path) -> dict[str, Array]:
    """Every tensor of the file as an array of its own; bfloat16 comes back as float32, which holds it exactly.

    Raises ArtifactError when the file is missing, truncated, or its header disagrees with its data.
    """
    # The copies leave the file free to be replaced and the arrays aligned.
    return {name: np.array(view) for name, view in map_safetensors(path).items()}


def map_safetensors(path: Path) -> dict[str, Array]:
    """Every tensor of the file as a read-only view of the mapped file, or of a copy where it is bfloat16.

    The file must not be cut short while any of the views lives; replacing it by another one does no harm. Raises what
    ``read_safetensors`` raises.
    """
    data, first, entries = _map(path)
    return {name: _view(data, first, entry) for name, entry in entries.items()}


def map_stored(path: Path) -> dict[str, Stored]:
    """Every tensor of the mapped file without a change of type; raises what ``read_safetensors`` raises."""
    data, first, entries = _map(path)
    view = memoryview(data)
    return {
        name: Stored(entry.dtype, entry.shape, view[first + entry.start : first + entry.end])
        for name, entry in entries.items()
    }


def _map(path: Path) -> tuple[mmap.mmap, int, dict[str, _Entry]]:
    """The mapped file, where its data begins, and its tensors."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; expected a safetensors file")
    with path.open("rb") as stream:
        n_bytes = os.fstat(stream.fileno()).st_size
        if n_bytes < 8:
            raise ArtifactError(f"{path} is truncated: {n_bytes} bytes, expected at least 8; copy it again")
        data = mmap.mmap(stream.fileno(), n_bytes, access=mmap.ACCESS_READ)
    header_bytes = int.from_bytes(data[:8], "little")
    if header_bytes > min(_LONGEST_HEADER, n_bytes - 8):
        raise ArtifactError(
            f"{path} is truncated or no safetensors file: header of {header_bytes} bytes in a file of {n_bytes}"
        )
    first = 8 + header_bytes
    entries = _read_header(data[8:first], str(path))
    _check_tiling(entries, n_bytes - first, str(path))
    return data, first, entries


def write_safetensors(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write ``tensors`` sorted by name; no half file is ever seen."""
    for name, array in sorted(tensors.items()):
        if array.dtype not in _NAMES:
            raise ArtifactError(
                f"{path}: {name} is {array.dtype}, expected one of {', '.join(sorted(_NAMES.values()))}"
            )
    write_stored(
        path,
        {
            name: Stored(_NAMES[array.dtype], array.shape, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            for name, array in tensors.items()
        },
    )


def write_stored(path: Path, tensors: Mapping[str, Stored]) -> None:
    """Write ``tensors`` sorted by name, as they are; no half file is ever seen."""

    def write(stream: BinaryIO) -> None:
        stream.writelines(_parts(tensors))

    write_atomically(path, write)


def hash_stored(tensors: Mapping[str, Stored]) -> str:
    """SHA-256 (hex) of the file that ``write_stored`` would write."""
    digest = hashlib.sha256()
    for part in _parts(tensors):
        digest.update(part)
    return digest.hexdigest()


def _parts(tensors: Mapping[str, Stored]) -> Iterator[bytes | memoryview]:
    """A file, piece after piece."""
    header: dict[str, Any] = {}
    offset = 0
    for name, tensor in sorted(tensors.items()):
        end = offset + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # keeps every tensor aligned for readers that map the file
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in sorted(tensors.items()):
        yield tensor.data


def _read_header(content: bytes, where: str) -> dict[str, _Entry]:
    """Every tensor that the header names; raises ArtifactError for one that no array could be."""
    if not content.startswith(b"{"):
        raise ArtifactError(f"{where}: the header begins with {content[:1]!r}, expected '{{'; copy the file again")
    header = parse_json(content, f"{where}: the header", ArtifactError, "copy the file again", _LONGEST_HEADER)
    if not isinstance(header, dict):
        raise ArtifactError(f"{where}: the header is {show(header)}, expected an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(item, str) for item in metadata.values()):
        raise ArtifactError(f"{where}: __metadata__ is {show(metadata)}, expected an object of texts")
    return {name: _entry(name, item, where) for name, item in header.items()}


def _entry(name: str, entry: Any, where: str) -> _Entry:
    if not name or has_control(name) or len(name) > _LONGEST_NAME:
        wrong = "is no name of a tensor: it is empty, long or holds a control character"
    elif not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        wrong = "expected dtype, shape and data_offsets in the header"
    else:
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        wrong = _problem(dtype, shape, offsets)
        if not wrong:
            return _Entry(dtype, tuple(shape), *offsets)
    raise ArtifactError(f"{where}: {show(name)}: {wrong}")


def _problem(dtype: Any, shape: Any, offsets: Any) -> str:
    """What keeps these from being a tensor, nothing where they are one."""
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        return f"dtype is {show(dtype)}, expected one of {', '.join(sorted(_DTYPES))}"
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        return f"shape {show(shape)} or data_offsets {show(offsets)} is not a list of whole numbers"
    count = math.prod(shape)
    if len(shape) > _MOST_DIMENSIONS or (count or math.prod(filter(None, shape))) > _MOST_NUMBERS:
        return f"shape {show(shape)} is beyond what an array can have"
    start, end = offsets
    expected = count * _DTYPES[dtype].itemsize
    if end - start != expected:
        return (
            f"bytes {show(start)} to {show(end)} for {dtype} {show(shape)}, expected {expected} bytes; the file is "
            "damaged, copy it again"
        )
    return ""


def _check_tiling(entries: Mapping[str, _Entry], n_bytes: int, where: str) -> None:
    """The tensors lie side by side over all of the data: no byte is read twice, and none hides between them."""
    place = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != place or entry.end > n_bytes:
            raise ArtifactError(
                f"{where}: {show(name)}: bytes {entry.start} to {entry.end} of {n_bytes}, expected to begin at "
                f"{place}; the file is damaged, copy it again"
            )
        place = entry.end
    if place != n_bytes:
        raise ArtifactError(
            f"{where}: the tensors end at byte {place} of {n_bytes}; the file is damaged, copy it again"
        )


def _view(data: mmap.mmap, first: int, entry: _Entry) -> Array:
    """The tensor of an entry that was checked; ``first`` is where the offsets of the file count from."""
    count = math.prod(entry.shape)
    if not count:  # nothing to map
        return np.zeros(entry.shape, np.float32 if entry.dtype == "BF16" else _DTYPES[entry.dtype])
    array: Array = np.frombuffer(data, _DTYPES[entry.dtype], count, first + entry.start).reshape(entry.shape)
    if entry.dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _are_sizes(values: Any) -> bool:
    # JSON has no other subclass of int than bool, and type() spares two calls for each of a thousand numbers.
    return isinstance(values, list) and not [item for item in values if type(item) is not int or item < 0]
