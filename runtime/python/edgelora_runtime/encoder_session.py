"""One call of a graph without a KV cache: rows of tokens or pixels and an adapter go in, the one output comes out.

rows, BoundAdapter -> FloatArray
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora_runtime.bound_adapter import BoundAdapter
from edgelora_runtime.byte_products import products_overflow
from edgelora_runtime.errors import InputError
from edgelora_runtime.graph import Graph, value_over
from edgelora_runtime.graph_cache import CacheEntry
from edgelora_runtime.graph_values import Form, graph_file, graph_values
from edgelora_runtime.head import packed_labels, read_base_head
from edgelora_runtime.head_packer import HeadPacker
from edgelora_runtime.manifest import TOKEN_CLASSIFICATION, EncoderInfo, Manifest
from edgelora_runtime.numbers import check_numbers
from edgelora_runtime.packers import FusedPacker, Packer, SlotPacker

FloatArray = npt.NDArray[np.float32]


def session_settings() -> dict[str, str]:
    """Entries of onnxruntime's session configuration for a graph that reads a text once."""
    # The joined node of a sum and its norm takes four times as long as the two of them.
    settings = {"optimization.disable_specified_optimizers": "SkipLayerNormFusion"}
    if products_overflow():
        settings["session.x64quantprecision"] = "1"  # weights lose their sign as they are loaded
    return settings


class EncoderSession:
    """The graph of an artifact without a KV cache, one call at a time: nothing remains from one call to the next."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        encoder: EncoderInfo,
        threads: int | None = None,
        find_entry: Callable[[str], CacheEntry] | None = None,
        library: Path | None = None,
    ) -> None:
        self._encoder = encoder
        self._name = manifest.model.name
        self._has_tokens = manifest.task == TOKEN_CLASSIFICATION
        self.base_head = read_base_head(folder, manifest)
        slots: Packer = SlotPacker(manifest.slots) if library is None else FusedPacker(manifest.slots)
        with_head = HeadPacker(slots, encoder.head, self.base_head, encoder.base_head is not None)
        self.packer: Packer = with_head if encoder.head else slots
        form: Form = "slots" if library is None else "fused"
        file, values = graph_file(manifest, form), graph_values(manifest, form)
        entry = None if find_entry is None else find_entry(file)
        self._graph: Graph | None = Graph(
            folder / file, threads, values.inputs, values.outputs, entry, library, session_settings()
        )

    def close(self) -> None:
        """Let go of the graph; nothing can be computed afterwards."""
        self._graph = None

    def select(self, adapter: BoundAdapter) -> None:
        """Bind ``adapter``. Each has a binding of its own, so that coming back to one costs next to nothing."""
        assert self._graph is not None
        self._graph.select(adapter)
        self._graph.bind_inputs("adapter", adapter.inputs, adapter.inputs)

    def run(self, inputs: Mapping[str, npt.NDArray[Any]], adapter: BoundAdapter) -> FloatArray:
        """The output for rows of equal size: (rows, labels), (rows, tokens, labels) or (rows, hidden_size)."""
        first = inputs[self._encoder.inputs[0]]
        if adapter.rows not in (1, len(first)):
            raise InputError(f"{adapter.rows} adapters for {len(first)} rows; give one adapter, or one for each row")
        assert self._graph is not None
        width = packed_labels(adapter.arrays, self._encoder.head) or self._encoder.hidden_size
        output = np.empty((*first.shape[: 2 if self._has_tokens else 1], width), np.float32)
        self.select(adapter)
        self._graph.bind_inputs("step", inputs, [(name, value_over(array)) for name, array in inputs.items()])
        self._graph.bind_outputs("output", output, [(self._encoder.output, value_over(output))])
        self._graph.run()
        check_numbers(output, self._name)
        return output
