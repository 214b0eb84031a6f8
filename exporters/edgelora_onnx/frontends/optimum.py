"""Builds graphs of encoders with optimum, their weights named as in the checkpoint.

Checkpoint -> EncoderGraph
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from edgelora.checkpoint.config import read_config
from edgelora.checkpoint.names import is_head
from edgelora.errors import CheckpointError
from edgelora.values import Checkpoint
from edgelora_onnx.decoder_graph import WeightSource
from edgelora_onnx.encoder_graph import EncoderGraph
from edgelora_onnx.initializers import remove_unused_initializers, shape_of

_OPSET = 18
_LABELS = 3  # of the head that is traced; no tensor of a backbone has a size that depends on it


def build_encoder(checkpoint: Checkpoint) -> EncoderGraph:
    """Build the float32 graph of ``checkpoint`` for its task, without weights.

    Raises CheckpointError for an architecture or a task that optimum has no graph for.
    """
    config = read_config(checkpoint)
    config.num_labels = _LABELS
    model, shapes = _trace(checkpoint, config)
    for name, value in list(model.graph.initializers.items()):
        if name in shapes:
            value.const_value = None
            value.shape, value.type = ir.Shape(shapes[name]), ir.TensorType(ir.DataType.FLOAT)
    _clean(model)
    sources = _find_sources(model, checkpoint, shapes)
    side = getattr(config, "image_size", None)
    sides = () if side is None else tuple(side) if isinstance(side, list | tuple) else (side, side)
    return EncoderGraph(
        model=model,
        sources=sources,
        head={name: _head_sizes(name, shapes[name]) for name in model.graph.initializers if is_head(name)},
        hidden_size=int(config.hidden_size),
        num_heads=int(config.num_attention_heads),
        vocab_size=0 if side is not None else int(config.vocab_size),
        image_size=() if side is None else (int(config.num_channels), *map(int, sides)),
    )


def _trace(checkpoint: Checkpoint, config: Any) -> tuple[ir.Model, dict[str, tuple[int, ...]]]:
    import torch
    from optimum.exporters.onnx import export
    from optimum.exporters.tasks import TasksManager

    task, kind = checkpoint.task.name, str(config.model_type)
    try:
        made = TasksManager.get_model_class_for_task(task, framework="pt", model_type=kind)
        attention = {} if kind in ("deberta", "deberta-v2") else {"attn_implementation": "eager"}
        model = made.from_config(config, **attention).eval()
        constructor = TasksManager.get_exporter_config_constructor(
            "onnx", model=model, task=task, library_name="transformers", model_type=kind
        )
    except (KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{checkpoint.name}: optimum has no graph of {kind} for {task} ({reason})") from error
    # Values that differ: what the exporter finds twice it would store once, whatever a checkpoint has in its place.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.02, generator=generator)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "traced.onnx"
        export(model, constructor(config), path, opset=_OPSET, do_constant_folding=False)
        traced = ir.load(path)
        for value in traced.graph.initializers.values():
            if value.const_value is not None:  # out of the file, which is gone in a moment
                value.const_value = ir.Tensor(value.const_value.numpy().copy(), name=value.name)
    return traced, {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What tracing tells of is known: sizes that it fixes, and that a newer exporter exists."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _clean(model: ir.Model) -> None:
    """Constants as initializers, no aliases, token types that are all 0, one spelling of each input."""
    graph = model.graph
    for node in [node for node in graph if node.op_type == "Identity" and not node.outputs[0].is_graph_output()]:
        source = node.inputs[0]
        assert source is not None
        node.outputs[0].replace_all_uses_with(source)
        graph.remove(node, safe=True)
    common_passes.LiftConstantsToInitializersPass(True, 0)(model)
    types = next((value for value in graph.inputs if value.name == "token_type_ids"), None)
    if types is not None:
        ids = next(value for value in graph.inputs if value.name == "input_ids")
        zeros = ir.node("Sub", [ids, ids], num_outputs=1)
        zeros.outputs[0].name = "token_type_ids.zeros"
        graph.insert_before(graph.node(0), zeros)
        types.replace_all_uses_with(zeros.outputs[0])
        graph.inputs.remove(types)
    common_passes.RemoveUnusedNodesPass()(model)
    remove_unused_initializers(graph)
    common_passes.ShapeInferencePass()(model)


def _find_sources(
    model: ir.Model, checkpoint: Checkpoint, shapes: dict[str, tuple[int, ...]]
) -> dict[str, WeightSource]:
    """Every weight of the graph but the head's, each from the tensor of its own name."""
    sources, wrong, names = {}, [], frozenset(checkpoint.names())
    for name, value in model.graph.initializers.items():
        if name not in shapes or is_head(name):
            continue
        if name not in names:
            wrong.append(f"{name} is missing")
        elif checkpoint.shape(name) != shape_of(value):
            wrong.append(f"{name} has shape {checkpoint.shape(name)}, expected {shape_of(value)}")
        sources[name] = WeightSource(name, 0, shape_of(value)[0])
    if wrong:
        raise CheckpointError(f"{checkpoint.name} does not fit its config: {'; '.join(wrong[:4])}")
    return sources


def _head_sizes(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of a tensor of the head, 0 for the labels: the first size of the last linear."""
    is_last = name.rpartition(".")[0] in ("classifier", "score", "classifier.out_proj")
    return (0, *shape[1:]) if is_last else shape
