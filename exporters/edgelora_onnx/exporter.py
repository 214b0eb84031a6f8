"""The whole export in one screen: build, run the passes, write.

Grid -> ExportedModel

Reading this file tells which passes run and in what order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from edgelora.artifact.targets import MATMUL_INTEGER, MATMUL_NBITS
from edgelora.checkpoint.context_length import choose_context_length
from edgelora.errors import ConfigError
from edgelora.grid.make import Grid
from edgelora.values import ExportedModel, FloatArray
from edgelora_onnx.emit import emit
from edgelora_onnx.encoder_exporter import count_nodes, export_encoder
from edgelora_onnx.frontends.mobius import build_decoder
from edgelora_onnx.genai import write_genai_twin
from edgelora_onnx.left_float import left_float, may_pack_of
from edgelora_onnx.passes.add_slots import AddSlots
from edgelora_onnx.passes.bake_adapter import BakeAdapter
from edgelora_onnx.passes.drive_inputs import DriveInputs
from edgelora_onnx.passes.exact_arithmetic import ExactArithmetic
from edgelora_onnx.passes.fuse_slots import FuseSlots
from edgelora_onnx.passes.lower_attention import LowerAttention
from edgelora_onnx.passes.lower_in_place import LowerInPlace
from edgelora_onnx.passes.lower_linears import LowerLinears
from edgelora_onnx.passes.lower_to_integers import LowerToIntegers
from edgelora_onnx.passes.pack_linears import PackLinears
from edgelora_onnx.passes.quantize_cache import QuantizeCache
from edgelora_onnx.passes.recognize_linears import RecognizeLinears
from edgelora_onnx.passes.remove_slots import RemoveSlots
from edgelora_onnx.passes.select_logits import SelectLogits
from edgelora_onnx.passes.unpack_linears import UnpackLinears
from edgelora_onnx.passes.untile_attention import UntileAttention
from edgelora_onnx.slot_weights import read_slot_weights
from edgelora_runtime.adapter import Factors
from edgelora_runtime.manifest import INT8_CACHE, Slot

GRAPH_FILE = "decoder.onnx"
TWIN_FILE = "decoder.plain.onnx"
FUSED_FILE = "decoder.fused.onnx"
WEIGHTS_FILE = "weights.bin"


class OnnxExporter:
    """Implements ``edgelora.artifact.export.Exporter``."""

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
        """Write weights, graph and its twin without slots; with ``fused`` also the one of our own operators.

        ``slots`` are the last parts of the names of modules that adapters may plug into: None for every linear of the
        layers, empty for none. ``baked`` are factors by module name that become constants of the graph, always on;
        they need empty ``slots``. ``gains`` gives slots a place for DoRA.
        ``linear_op`` multiplies with the grid: MatMulNBits, or MatMulIntegerToFloat (float32 weights at level 0).
        ``context_length`` is the most tokens that the graph takes, as ``choose_context_length`` says.
        Raises ConfigError for slots with ``baked``, for names that no linear has and for a context that the model does
        not know, AdapterError for factors that do not fit.
        """
        has_slots = slots is None or len(slots) > 0
        if baked and has_slots:
            raise ConfigError("a graph has either adapter slots or a built-in adapter; export one without slots")
        length = choose_context_length(grid.checkpoint, context_length)
        if not grid.checkpoint.task.generates:
            return export_encoder(grid, folder, accuracy_level, slots, baked, linear_op, fused, length, gains)
        decoder = build_decoder(grid.checkpoint, length)
        may_pack = may_pack_of(decoder.sources, grid)
        add_slots = AddSlots(decoder.sources, slots, gains)
        whole_rows = linear_op == MATMUL_INTEGER
        integers = LowerToIntegers(decoder.sources, grid, calls="input_ids" if grid.column_factors else None)
        lower = LowerLinears(decoder.sources, grid, accuracy_level, as_floats=whole_rows)
        passes: list[ir.passes.PassBase] = [
            DriveInputs(),
            RecognizeLinears(decoder.sources.keys()),
            UnpackLinears(may_pack),
            PackLinears(may_pack),
            SelectLogits(),
            *([UntileAttention()] if whole_rows else []),
            *([add_slots] if has_slots else []),
            *([BakeAdapter(decoder.sources, baked)] if baked else []),
            *([integers] if whole_rows and accuracy_level else []),
            lower,
        ]
        for step in passes:  # not ir.passes.Sequential, which would wrap our own errors in its own
            step(decoder.model)
        payloads = {**left_float(decoder.model, decoder.sources, grid), **integers.payloads, **lower.payloads}
        emit(decoder.model, payloads, folder, GRAPH_FILE, WEIGHTS_FILE)
        report = count_nodes(decoder.model)
        if add_slots.slots and fused:
            twin = ir.load(folder / GRAPH_FILE)
            FuseSlots(add_slots.slots)(twin)
            LowerInPlace()(twin)
            LowerAttention()(twin)
            ir.save(twin, folder / FUSED_FILE)
        if add_slots.slots:
            RemoveSlots(add_slots.slots)(decoder.model)
            ir.save(decoder.model, folder / TWIN_FILE)
        return ExportedModel(
            graph_file=GRAPH_FILE,
            weights_file=WEIGHTS_FILE,
            twin_file=TWIN_FILE if add_slots.slots else None,
            fused_file=FUSED_FILE if add_slots.slots and fused else None,
            slots=add_slots.slots,
            num_layers=decoder.num_layers,
            num_kv_heads=decoder.num_kv_heads,
            head_dim=decoder.head_dim,
            context_length=decoder.context_length,
            vocab_size=decoder.vocab_size,
            report=report,
        )

    def quantize_cache(self, folder: Path, exported: ExportedModel, scales: FloatArray) -> ExportedModel:
        """Rewrite the graph and its twins in ``folder``, so that they keep keys and values in 8 bits.

        ``scales`` (2 * num_layers, num_kv_heads, head_dim) are the steps of key and value of each layer in turn.
        """
        for file in (exported.graph_file, exported.twin_file, exported.fused_file):
            if file is not None:
                model = ir.load(folder / file)
                QuantizeCache(scales)(model)
                ir.save(model, folder / file)
        return dataclasses.replace(exported, kv_cache=INT8_CACHE)

    def exact(self, graph: Path) -> bytes:
        """The graph in a file with nothing left that rounds while it runs; weights stay in the file beside it."""
        model = ir.load(graph)
        ExactArithmetic()(model)
        content: bytes = ir.to_proto(model).SerializeToString()
        return content

    def slot_weights(
        self, graph: Path, slots: Sequence[Slot], modules: Collection[str]
    ) -> Iterator[tuple[str, FloatArray]]:
        """What ``modules`` multiply with, each (out_features, in_features), read back from the files."""
        return read_slot_weights(graph, slots, modules)

    def add_genai(self, folder: Path, exported: ExportedModel, grid: Grid) -> None:
        """Add what onnxruntime-genai needs to open ``folder``: a twin graph over the same weights, and its settings."""
        write_genai_twin(folder, exported, grid.checkpoint)
