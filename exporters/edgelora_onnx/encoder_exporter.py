"""The whole export of a graph without a KV cache in one screen: build, run the passes, write.

Grid -> ExportedModel

Its heads are left to whoever packages: they are inputs of the graph, as slots are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from edgelora.artifact.targets import MATMUL_BYTES, MATMUL_INTEGER, MATMUL_NBITS, MATMUL_SIGNED_BYTES
from edgelora.checkpoint.encoder_config import ENCODERS
from edgelora.errors import ConfigError
from edgelora.grid.make import Grid
from edgelora.values import ExportedModel
from edgelora_onnx.emit import emit
from edgelora_onnx.encoder_graph import EncoderGraph
from edgelora_onnx.frontends.classifier import build_classifier
from edgelora_onnx.frontends.optimum import build_encoder
from edgelora_onnx.left_float import left_float, may_pack_of
from edgelora_onnx.named_sizes import name_sizes
from edgelora_onnx.passes.add_slots import AddSlots
from edgelora_onnx.passes.bake_adapter import BakeAdapter
from edgelora_onnx.passes.fuse_attention import FuseAttention
from edgelora_onnx.passes.fuse_rows import FuseRows
from edgelora_onnx.passes.fuse_slots import FuseSlots
from edgelora_onnx.passes.lift_head import LiftHead
from edgelora_onnx.passes.lower_in_place import LowerInPlace
from edgelora_onnx.passes.lower_linears import LowerLinears
from edgelora_onnx.passes.lower_to_integers import LowerToIntegers
from edgelora_onnx.passes.pack_linears import PackLinears
from edgelora_onnx.passes.pool_tokens import PoolTokens
from edgelora_onnx.passes.recognize_linears import RecognizeLinears
from edgelora_onnx.passes.unpack_linears import UnpackLinears
from edgelora_runtime.adapter import Factors
from edgelora_runtime.manifest import FEATURE_EXTRACTION, IMAGE_CLASSIFICATION, EncoderInfo, Slot

GRAPH_FILE = "encoder.onnx"
FUSED_FILE = "encoder.fused.onnx"
WEIGHTS_FILE = "weights.bin"

_TEXT, _IMAGE = ("input_ids", "attention_mask"), ("pixel_values",)


def export_encoder(
    grid: Grid,
    folder: Path,
    accuracy_level: int,
    slots: Collection[str] | None,
    baked: Mapping[str, Factors] | None,
    linear_op: str,
    fused: bool,
    context_length: int,
    gains: bool,
) -> ExportedModel:
    """Write graph, its fused twin and weights; the arguments are those of ``OnnxExporter.export``.

    Raises ConfigError for names in ``slots`` that no linear has, CheckpointError for a base that has no graph.
    """
    task = grid.checkpoint.task
    encoder = _build(grid, context_length)
    add_slots = AddSlots(encoder.sources, slots, gains)
    may_pack, is_signed = may_pack_of(encoder.sources, grid), linear_op == MATMUL_SIGNED_BYTES
    integers = LowerToIntegers(encoder.sources, grid, linear_op in (MATMUL_BYTES, MATMUL_SIGNED_BYTES), is_signed)
    lower = LowerLinears(encoder.sources, grid, accuracy_level, as_floats=linear_op == MATMUL_INTEGER)
    lift = LiftHead(encoder.head)
    has_slots = slots is None or len(slots) > 0
    passes: list[ir.passes.PassBase] = [
        FuseAttention(encoder.num_heads),
        *([PoolTokens(task.pooling or "mean", task.normalize)] if task.name == FEATURE_EXTRACTION else [lift]),
        RecognizeLinears(encoder.sources.keys()),
        UnpackLinears(may_pack),
        PackLinears(may_pack),
        *([add_slots] if has_slots else []),
        *([BakeAdapter(encoder.sources, baked)] if baked else []),
        *([integers] if accuracy_level and linear_op != MATMUL_NBITS else []),
        lower,
        common_passes.RemoveUnusedNodesPass(),
        common_passes.CommonSubexpressionEliminationPass(),
    ]
    for step in passes:  # not ir.passes.Sequential, which would wrap our own errors in its own
        step(encoder.model)
    graph = encoder.model.graph
    graph.sort()
    name_sizes(graph, encoder.hidden_size)
    inputs = _IMAGE if task.name == IMAGE_CLASSIFICATION else _TEXT
    found = tuple(value.name for value in graph.inputs if value.name in inputs)
    if found != inputs:
        raise ConfigError(
            f"{grid.checkpoint.name}: the graph takes {', '.join(map(str, found))}, not {', '.join(inputs)}"
        )
    one_adapter = _has_common_slot(graph, add_slots.slots, inputs)
    payloads = {**left_float(encoder.model, encoder.sources, grid), **integers.payloads, **lower.payloads}
    emit(encoder.model, payloads, folder, GRAPH_FILE, WEIGHTS_FILE)
    has_fused = bool(add_slots.slots) and fused
    if has_fused:
        twin = ir.load(folder / GRAPH_FILE)
        FuseSlots(add_slots.slots)(twin)
        LowerInPlace()(twin)
        FuseRows()(twin)
        ir.save(twin, folder / FUSED_FILE)
    return ExportedModel(
        graph_file=GRAPH_FILE,
        weights_file=WEIGHTS_FILE,
        twin_file=None,
        fused_file=FUSED_FILE if has_fused else None,
        slots=add_slots.slots,
        num_layers=0,
        num_kv_heads=0,
        head_dim=0,
        context_length=context_length,
        vocab_size=encoder.vocab_size,
        encoder=EncoderInfo(
            inputs=inputs,
            output="embeddings" if task.name == FEATURE_EXTRACTION else "logits",
            hidden_size=encoder.hidden_size,
            head=lift.tensors,
            one_adapter=one_adapter,
            image_size=encoder.image_size,
        ),
        report=count_nodes(encoder.model),
    )


def count_nodes(model: ir.Model) -> Mapping[str, Mapping[str, int]]:
    """How many nodes of each operator a graph has, for the manifest's report."""
    counts: dict[str, int] = {}
    for node in model.graph:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return {"nodes": dict(sorted(counts.items()))}


def _build(grid: Grid, context_length: int) -> EncoderGraph:
    checkpoint = grid.checkpoint
    if checkpoint.config["model_type"] in ENCODERS:
        return build_encoder(checkpoint)
    return build_classifier(checkpoint, context_length)


def _has_common_slot(graph: ir.Graph, slots: tuple[Slot, ...], inputs: tuple[str, ...]) -> bool:
    """Whether a slot acts on what does not come from the rows of a call, such as a table of distances."""
    from_rows = {value for value in graph.inputs if value.name in inputs}
    for node in graph:
        if node.op_type != "Shape" and any(value in from_rows for value in node.inputs):
            from_rows.update(node.outputs)
    factors = {slot.a for slot in slots}
    return any(
        value.name in factors and any(use.node.inputs[0] not in from_rows for use in value.uses())
        for value in graph.inputs
    )
