"""Drives an exported graph with plain onnxruntime calls, independent of the runtime that ships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgelora.values import ExportedModel
from edgelora_runtime.fused import blend_fused


class Decoder:
    """One row, cache carried from call to call; with a ``library`` of operators the fused graph, without adapters."""

    def __init__(
        self,
        folder: Path,
        exported: ExportedModel,
        adapter: Mapping[str, npt.NDArray[np.float32]],
        library: Path | None = None,
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        file = exported.graph_file
        if library is not None and exported.fused_file is not None:
            file, adapter = exported.fused_file, blend_fused([], exported.slots)
            options.register_custom_ops_library(str(library))
        self._session = ort.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])
        self._adapter = adapter
        self._length = 0
        empty = np.zeros((1, exported.num_kv_heads, 0, exported.head_dim), np.dtype(exported.kv_cache))
        self._cache = {
            f"past_key_values.{layer}.{kind}": empty
            for layer in range(exported.num_layers)
            for kind in ("key", "value")
        }

    def step(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Logits (len(ids), vocab_size) of new tokens."""
        self._length += len(ids)
        feeds: dict[str, Any] = {
            "input_ids": ids[None],
            "seqlens_k": np.array([self._length - 1], np.int32),
            "total_sequence_length": np.array(self._length, np.int32),
            "logits_positions": np.arange(len(ids))[None],
            **self._cache,
            **self._adapter,
        }
        names = [output.name for output in self._session.get_outputs()]
        outputs = dict(zip(names, self._session.run(None, feeds), strict=True))
        logits = outputs.pop("logits")
        self._cache = {name.replace("present", "past_key_values"): value for name, value in outputs.items()}
        return np.asarray(logits[0])


def no_adapter(exported: ExportedModel) -> dict[str, npt.NDArray[np.float32]]:
    """Rank 0 for every slot."""
    return {
        name: np.zeros(shape, np.float32)
        for slot in exported.slots
        for name, shape in ((slot.a, (1, slot.in_features, 0)), (slot.b, (1, 0, slot.out_features)))
    }


def random_adapter(
    exported: ExportedModel, rank: int, seed: int
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, npt.NDArray[np.float32]]]:
    """Slot inputs, and for each module the dense delta (out_features, in_features) that they must amount to."""
    rng = np.random.default_rng(seed)
    inputs, deltas = {}, {}
    for slot in exported.slots:
        a = np.zeros((1, slot.in_features, rank * len(slot.parts)), np.float32)
        b = np.zeros((1, rank * len(slot.parts), slot.out_features), np.float32)
        for index, part in enumerate(slot.parts):
            rows = slice(index * rank, (index + 1) * rank)
            a[0, :, rows] = rng.standard_normal((slot.in_features, rank)) * 0.1
            b[0, rows, part.offset : part.offset + part.out_features] = (
                rng.standard_normal((rank, part.out_features)) * 0.1
            )
            deltas[part.module] = (a[0, :, rows] @ b[0, rows, part.offset : part.offset + part.out_features]).T
        inputs[slot.a], inputs[slot.b] = a, b
    return inputs, deltas
