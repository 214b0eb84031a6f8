"""What the compiler asks of an output format.

Grid -> ExportedModel

A format registers itself under the entry points ``edgelora.exporters``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from edgelora.artifact.targets import MATMUL_NBITS
from edgelora.errors import ConfigError
from edgelora.grid.make import Grid
from edgelora.values import ExportedModel, FloatArray
from edgelora_runtime.adapter import Factors
from edgelora_runtime.manifest import Slot


class Exporter(Protocol):
    """One output format: writes the graph and the weights of a grid into a folder."""

    def export(
        self,
        grid: Grid,
        folder: Path,
        accuracy_level: int,
        slots: Collection[str] | None = None,
        baked: Mapping[str, Factors] | None = None,
        linear_op: str = MATMUL_NBITS,
        fused: bool = False,
        context_length: int | None = None,
        gains: bool = False,
    ) -> ExportedModel:
        """Write the files. ``slots`` are the last parts of the names of modules that adapters may plug into: None for
        every linear of the layers, empty for none. ``baked`` (by module name) builds an adapter in.

        ``linear_op`` is the target's: the operator that multiplies with the grid. ``fused`` adds a graph for devices
        that load the project's own operators. ``context_length`` is the most
        tokens that the graph takes, by default what ``choose_context_length`` says. ``gains`` gives slots a place for
        those of DoRA.
        """

    def quantize_cache(self, folder: Path, exported: ExportedModel, scales: FloatArray) -> ExportedModel:
        """Let the graphs in ``folder`` keep their KV cache in 8 bits.

        ``scales`` (2 * num_layers, num_kv_heads, head_dim) are the steps of key and value of each layer in turn.
        """

    def exact(self, graph: Path) -> bytes:
        """The graph in a file, as an onnxruntime model whose activations and KV cache are floats.

        Its weights are those of the file that lies beside ``graph``.
        """

    def slot_weights(
        self, graph: Path, slots: Sequence[Slot], modules: Collection[str]
    ) -> Iterator[tuple[str, FloatArray]]:
        """Those of ``modules`` that slots of the graph have, with their weights (out_features, in_features) as they
        were written beside it.
        """

    def add_genai(self, folder: Path, exported: ExportedModel, grid: Grid) -> None:
        """Add the files that let onnxruntime-genai open the artifact."""


def find_exporter(name: str = "onnx") -> Exporter:
    """The exporter that registered under ``name`` in the entry points ``edgelora.exporters``."""
    found = entry_points(group="edgelora.exporters", name=name)
    if not found:
        raise ConfigError(f"no exporter {name!r} is installed; run `pip install edgelora`, which brings one for onnx")
    exporter: Exporter = next(iter(found)).load()()
    return exporter
