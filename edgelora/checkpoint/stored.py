"""Finds the files with a model's weights and says what lies in them; values are read later, one tensor at a time.

folder -> Stored tensors by their name in the files
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from edgelora.checkpoint.json_files import first_line, read_object
from edgelora.checkpoint.tied_head import chunks
from edgelora.errors import CheckpointError
from edgelora.values import FloatArray
from edgelora_runtime.names import find_unsafe, has_control
from edgelora_runtime.parse_json import join_some, show

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_LONGEST_NAME = 1024  # characters of the name of a tensor
# Buffers that old checkpoints carry: masks, positions and rotary tables, which transformers computes by itself.
_BUFFER = re.compile(
    r"(rotary_emb\.inv_freq|\.attn\.bias|\.attn\.masked_bias|embeddings\.(position_ids|token_type_ids))$"
)


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies."""

    file: Path
    key: str  # name inside the file; may lack the prefix of the state dict
    shape: tuple[int, ...]


def weight_files(folder: Path) -> dict[Path, frozenset[str] | None]:
    """Files with weights, each with the tensors that the index promises there (None: whatever the file holds)."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return {single: None}
    if index.is_file():
        weight_map = read_object(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{index.name} has no weight_map; download it again")
        if outside := [file for file in weight_map.values() if not _is_plain(file)]:
            raise CheckpointError(f"{index.name} names {show(outside[0])}, which is no plain file name")
        files = {file: folder / file for file in sorted(set(weight_map.values()))}
        if missing := [file for file, path in files.items() if not path.is_file()]:
            raise CheckpointError(f"{folder.name} lacks {join_some(missing, ', ')}; download the missing shards")
        return {path: frozenset(t for t, f in weight_map.items() if f == file) for file, path in files.items()}
    others = [path for path in sorted(folder.glob("*.safetensors")) if path.name != "adapter_model.safetensors"]
    if len(others) == 1:
        return {others[0]: None}
    if others:
        raise CheckpointError(f"{folder.name} has {len(others)} safetensors files and no index; one model was expected")
    if any(folder.glob("pytorch_model*.bin")):
        raise CheckpointError(
            f"{folder.name} has pytorch_model.bin, which can run code when it is read; load it with transformers "
            "and save_pretrained it as safetensors"
        )
    raise CheckpointError(f"{folder.name} has no model.safetensors; download the weights")


def read_headers(files: Mapping[Path, frozenset[str] | None], name: str, quantized: object) -> dict[str, Stored]:
    """The tensors of ``files``; ``quantized`` is what the config says of it, for the error that they are no floats."""
    found: dict[str, Stored] = {}
    problems: list[str] = []
    strange: list[str] = []
    for path, promised in files.items():
        try:
            with safe_open(path, framework="numpy") as file:
                present = frozenset(file.keys())
                if promised is not None and promised - present:
                    lost = sorted(promised - present)
                    shown = ", ".join(map(show, lost[:3]))
                    problems.append(f"{path.name} lacks {len(lost)} tensors of the index ({shown})")
                for key in sorted(present if promised is None else present & promised):
                    if _BUFFER.search(key):
                        continue
                    if has_control(key) or len(key) > _LONGEST_NAME:
                        strange.append(f"{show(key)} is no name of a tensor")
                        continue
                    part = file.get_slice(key)
                    if part.get_dtype() not in _FLOATS:
                        strange.append(f"{key} is {part.get_dtype()}")
                    found[key] = Stored(path, key, tuple(part.get_shape()))
        except (SafetensorError, OSError) as error:
            problems.append(f"{path.name} is truncated or corrupt ({first_line(error)}); download it again")
    if strange and quantized:
        method = quantized.get("quant_method") if isinstance(quantized, Mapping) else None
        raise CheckpointError(
            f"{name} is already quantized ({show(method)}: {strange[0]}); give the float model or a GGUF file"
        )
    if strange:
        problems += [
            *strange[:3],
            f"EdgeLoRA reads {', '.join(sorted(_FLOATS))} ({len(strange)} tensors are none of these)",
        ]
    if problems:
        raise CheckpointError(join_some(problems))
    return found


def _is_plain(file: object) -> bool:
    return isinstance(file, str) and file.isprintable() and "/" not in file and find_unsafe(file) is None


def rows_of(stored: Stored) -> Iterator[FloatArray]:
    """The values of a tensor in the steps of ``chunks``."""
    try:
        with safe_open(stored.file, framework="numpy") as file:
            part = file.get_slice(stored.key)
            for rows in chunks(stored.shape):
                yield np.asarray(part[rows], np.float32)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{stored.file.name} cannot be read ({first_line(error)}); download it again") from error
