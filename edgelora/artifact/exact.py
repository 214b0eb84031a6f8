"""Runs a graph of an artifact with nothing left that rounds while it runs: float activations, a float KV cache.

bytes of a graph, Manifest, token ids -> logits

What the device really runs is the runtime's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgelora.values import FloatArray
from edgelora_runtime.graph import default_threads
from edgelora_runtime.manifest import Manifest, Slot
from edgelora_runtime.packing import blend_packed

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


def open_bytes(model: bytes, folder: Path, threads: int | None) -> ort.InferenceSession:
    """A session of ``model``, the bytes of an onnx model over the weights in ``folder``."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = default_threads() if threads is None else threads
    options.add_session_config_entry(_WEIGHTS_FOLDER, str(folder))
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def zero_factors(slots: Sequence[Slot], rank: int) -> dict[str, npt.NDArray[np.float32]]:
    """Inputs of slots that add nothing: zeros (1, in_features, rank), (1, rank, out_features), (1, 1, out_features)."""
    a = {slot.a: np.zeros((1, slot.in_features, rank), np.float32) for slot in slots}
    b = {slot.b: np.zeros((1, rank, slot.out_features), np.float32) for slot in slots}
    return a | b | {slot.gain: np.zeros((1, 1, slot.out_features), np.float32) for slot in slots if slot.gain}


class ExactGraph:
    """One row of tokens on ``model``, the bytes of an onnx model over the weights in ``folder``; slots stay empty."""

    def __init__(self, model: bytes, folder: Path, manifest: Manifest, threads: int | None = None) -> None:
        self._session = open_bytes(model, folder, threads)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._info = manifest.model
        self._slots = blend_packed([], manifest.slots)
        self._cache: dict[str, npt.NDArray[np.float32]] = {}
        self._length = 0

    def logits(self, ids: Sequence[int], positions: Sequence[int] | None = None) -> FloatArray:
        """Logits (len(positions), vocab_size) of ``ids`` from an empty cache; all positions where none are named."""
        info = self._info
        empty = np.zeros((1, info.num_kv_heads, 0, info.head_dim), np.float32)
        self._cache = {
            f"past_key_values.{layer}.{part}": empty for layer in range(info.num_layers) for part in ("key", "value")
        }
        self._length = 0
        return self._feed(ids, range(len(ids)) if positions is None else positions)

    def append(self, token: int) -> FloatArray:
        """Logits (vocab_size,) after one more token."""
        last: FloatArray = self._feed([token], [0])[0]
        return last

    def _feed(self, ids: Sequence[int], positions: Sequence[int]) -> FloatArray:
        self._length += len(ids)
        feeds: dict[str, Any] = {
            "input_ids": np.array([ids], np.int64),
            "seqlens_k": np.array([self._length - 1], np.int32),
            "total_sequence_length": np.array(self._length, np.int32),
            "logits_positions": np.array([positions], np.int64),
            **self._cache,
            **self._slots,
        }
        found = dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
        self._cache = {name: found[name.replace("past_key_values", "present")] for name in self._cache}
        logits: FloatArray = found["logits"][0]
        return logits
