"""Read and write ``.safetensors`` files with numpy alone.

Knows nothing about adapters: names and arrays, and a header that is checked before anything is trusted.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.files import write_atomically

Array = npt.NDArray[Any]

_CODES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_DTYPES = {name: np.dtype(code) for name, code in _CODES.items()}
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name != "BF16"}
_LONGEST_HEADER = 100_000_000


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
    try:
        header = json.loads(data[8 : 8 + header_bytes])
    except ValueError as error:
        raise ArtifactError(f"{path}: the header is not JSON ({error}); copy the file again") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"{path}: the header is {type(header).__name__}, expected an object")
    header.pop("__metadata__", None)
    return {name: _tensor(data, 8 + header_bytes, entry, f"{path}: {name}") for name, entry in header.items()}


def write_safetensors(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write ``tensors`` sorted by name; no half file is ever seen."""
    header: dict[str, Any] = {}
    offset = 0
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in sorted(tensors.items())}
    for name, array in arrays.items():
        if array.dtype not in _NAMES:
            raise ArtifactError(
                f"{path}: {name} is {array.dtype}, expected one of {', '.join(sorted(_NAMES.values()))}"
            )
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # keeps every tensor aligned for readers that map the file

    def write(stream: BinaryIO) -> None:
        stream.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            stream.write(array.tobytes())

    write_atomically(path, write)


def _tensor(data: mmap.mmap, first: int, entry: Any, where: str) -> Array:
    """The tensor that ``entry`` of the header describes; ``first`` is where the offsets of the file count from."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise ArtifactError(f"{where}: expected dtype, shape and data_offsets in the header")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in _DTYPES:
        raise ArtifactError(f"{where}: dtype is {dtype!r}, expected one of {', '.join(sorted(_DTYPES))}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ArtifactError(f"{where}: shape {shape!r} or data_offsets {offsets!r} is not a list of whole numbers")
    start, end = offsets
    count = math.prod(shape)
    expected = count * _DTYPES[dtype].itemsize
    if not start <= end <= len(data) - first or end - start != expected:
        raise ArtifactError(
            f"{where}: bytes {start} to {end} of {len(data) - first} for {dtype} {shape}, expected {expected} bytes; "
            "the file is damaged, copy it again"
        )
    if not count:  # nothing to map
        return np.zeros(shape, np.float32 if dtype == "BF16" else _DTYPES[dtype])
    array: Array = np.frombuffer(data, _DTYPES[dtype], count, first + start).reshape(shape)
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _are_sizes(values: Any) -> bool:
    # JSON has no other subclass of int than bool, and type() spares two calls for each of a thousand numbers.
    return isinstance(values, list) and not [item for item in values if type(item) is not int or item < 0]
