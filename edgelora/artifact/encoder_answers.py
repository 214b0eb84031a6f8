"""Reads what an artifact without a KV cache stores of PyTorch's answers, and the head that they were made with.

an artifact's folder, Manifest -> EncoderReference
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora.errors import ArtifactError
from edgelora.values import EncoderReference, FloatArray
from edgelora_runtime.manifest import EncoderInfo, Manifest
from edgelora_runtime.safetensors import read_safetensors

_TOKENS = 12  # of the text where no reference was stored
_LABELS = 3  # of the head where there is none


def read_reference(path: Path, manifest: Manifest, encoder: EncoderInfo) -> EncoderReference:
    """The stored reference; without one some inputs, no outputs, and a head of small fixed numbers.

    Raises ArtifactError when the file is not what ``docs/format.md`` says.
    """
    if manifest.reference is None:
        return EncoderReference((_some_input(manifest, encoder),), (), _some_head(encoder))
    where, tensors = path / manifest.reference, read_safetensors(path / manifest.reference)
    kind = encoder.inputs[0]
    inputs: list[npt.NDArray[Any]] = []
    outputs: list[FloatArray] = []
    while f"prompt.{len(inputs)}.{kind}" in tensors:
        prefix = f"prompt.{len(inputs)}"
        if f"{prefix}.output" not in tensors:
            raise ArtifactError(f"{where} has no {prefix}.output; export the artifact again")
        outputs.append(tensors[f"{prefix}.output"].astype(np.float32))
        inputs.append(tensors[f"{prefix}.{kind}"])
    head = {item.tensor: tensors.get(f"head.{item.tensor}") for item in encoder.head}
    lost = [name for name, value in head.items() if value is None]
    if lost or not inputs:
        raise ArtifactError(f"{where} has no {f'head.{lost[0]}' if lost else f'prompt.0.{kind}'}; export it again")
    return EncoderReference(tuple(inputs), tuple(outputs), _floats(head))


def _some_head(encoder: EncoderInfo) -> Mapping[str, FloatArray]:
    """A head of three labels with fixed numbers, for an artifact that has none of its own."""
    rng = np.random.default_rng(5)
    return {
        item.tensor: (0.05 * rng.standard_normal([size or _LABELS for size in item.sizes])).astype(np.float32)
        for item in encoder.head
    }


def _some_input(manifest: Manifest, encoder: EncoderInfo) -> npt.NDArray[Any]:
    if encoder.image_size:
        return np.random.default_rng(3).standard_normal(encoder.image_size).astype(np.float32)
    count = min(_TOKENS, manifest.model.context_length)
    return np.array([7 * index % manifest.model.vocab_size for index in range(count)], np.int64)


def _floats(head: Mapping[str, npt.NDArray[Any] | None]) -> Mapping[str, FloatArray]:
    return {name: value.astype(np.float32) for name, value in head.items() if value is not None}
