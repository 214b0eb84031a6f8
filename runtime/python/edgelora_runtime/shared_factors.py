"""The tensors of an adapter: those too that lie in a file which adapters of one artifact share, codes as floats.

adapter_model.safetensors -> arrays by name

Such a tensor is 64 bytes in the adapter's own file: the SHA-256 of the shared file, which is its name as well, and the
name that the tensor has in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from edgelora_runtime.code_rows import widen_rows
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.manifest import file_info
from edgelora_runtime.names import shared_file
from edgelora_runtime.parse_json import show
from edgelora_runtime.safetensors import Array, Stored, map_safetensors, map_stored

REFERENCE_BYTES = 64
_HALF = REFERENCE_BYTES // 2

Tensor = TypeVar("Tensor")


def map_tensors(path: Path) -> dict[str, Array]:
    """Every tensor of an adapter whose own file is ``path``, as ``map_safetensors`` gives them, codes as float32.

    Raises ArtifactError for a file that cannot be read, AdapterError for a shared one that is missing or another, and
    for codes that are none.
    """
    tensors = map_safetensors(path)
    references = {
        name: value.tobytes()
        for name, value in tensors.items()
        if value.dtype == np.uint8 and value.shape == (REFERENCE_BYTES,)
    }
    return widen_rows({**tensors, **_look_up(path.parent, references, map_safetensors)}, str(path.parent))


def map_whole(path: Path) -> dict[str, Stored] | None:
    """What the file of an adapter would hold if it shared nothing; None where it shares nothing.

    Raises as ``map_tensors`` does.
    """
    tensors = map_stored(path)
    references = {
        name: bytes(item.data)
        for name, item in tensors.items()
        if item.dtype == "U8" and item.shape == (REFERENCE_BYTES,)
    }
    return {**tensors, **_look_up(path.parent, references, map_stored)} if references else None


def as_reference(sha256: str, key: str) -> Stored:
    """What stands in an adapter's own file for the tensor ``key`` of a shared file; both are SHA-256 (hex)."""
    return Stored("U8", (REFERENCE_BYTES,), bytes.fromhex(sha256 + key))


def _look_up(
    folder: Path, references: Mapping[str, bytes], read: Callable[[Path], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors that the references stand for."""
    found: dict[str, Tensor] = {}
    shared: dict[str, Mapping[str, Tensor]] = {}
    for name, reference in references.items():
        sha256, key = reference[:_HALF].hex(), reference[_HALF:].hex()
        if sha256 not in shared:
            shared[sha256] = read(_find(folder, sha256))
        if key not in shared[sha256]:
            raise AdapterError(
                f"{folder} has {show(name)} in ../{shared_file(sha256)}, which holds no tensor {key[:12]}; copy or "
                "export the artifact again"
            )
        found[name] = shared[sha256][key]
    return found


def _find(folder: Path, sha256: str) -> Path:
    """The shared file, which is what its name says."""
    path = Path(os.path.abspath(folder)).parent / shared_file(sha256)
    if not path.is_file():
        raise AdapterError(
            f"{folder} has factors in ../{path.name}, which is missing; copy the whole artifact, or take the adapter "
            "out of it with `edgelora adapter convert`"
        )
    other = file_info(path).sha256
    if other != sha256:
        raise AdapterError(
            f"{folder} has factors in ../{path.name}, which has sha256 {other[:12]}; copy or export the artifact again"
        )
    return path
