"""Turns a decoder that mobius built into a classifier or an embedder: it reads a text once.

Checkpoint, context length -> EncoderGraph

Its attention looks back as the decoder's does; no cache goes in or comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from edgelora.checkpoint.config import read_config
from edgelora.checkpoint.derived import DerivedCheckpoint
from edgelora.values import Checkpoint
from edgelora_onnx.encoder_graph import EncoderGraph
from edgelora_onnx.frontends.mobius import build_decoder
from edgelora_onnx.initializers import remove_unused_initializers
from edgelora_onnx.node_builder import NodeBuilder
from edgelora_onnx.passes.drive_inputs import DriveInputs, remove_dead_nodes
from edgelora_runtime.manifest import FEATURE_EXTRACTION, TEXT_CLASSIFICATION

_COUNTERS = ("seqlens_k", "total_sequence_length")


def build_classifier(checkpoint: Checkpoint, context_length: int) -> EncoderGraph:
    """Build the float32 graph of a decoder with a classification head, for at most ``context_length`` tokens.

    One answer for each text, after its last token; for each token where the task is to tag them. Where it is to make
    vectors the output is ``last_hidden_state``.
    Raises CheckpointError for an architecture without a parity test and for tensors that are missing or misshapen.
    """
    makes_vectors = checkpoint.task.name == FEATURE_EXTRACTION
    prefix = "" if not makes_vectors else "transformer." if checkpoint.config["model_type"] == "gpt2" else "model."
    decoder = build_decoder(_Prefixed(checkpoint, prefix), context_length)
    sources = {
        name: replace(source, tensor=source.tensor.removeprefix(prefix)) for name, source in decoder.sources.items()
    }
    model, graph = decoder.model, decoder.model.graph
    DriveInputs()(model)
    hidden_size = int(read_config(checkpoint).hidden_size)
    mask = ir.Value(name="attention_mask", shape=ir.Shape(["batch", "sequence"]), type=ir.TensorType(ir.DataType.INT64))
    ids = next(value for value in graph.inputs if value.name == "input_ids")
    head = {} if makes_vectors else _head_of(checkpoint, hidden_size)
    hidden = _take_vocabulary_off(graph)
    if makes_vectors:
        _end_in(graph, hidden, "last_hidden_state", ["batch", "sequence", hidden_size])
    else:
        _put_head(graph, hidden, mask, head, each_token=checkpoint.task.name != TEXT_CLASSIFICATION)
    _count_tokens(graph, ids, mask, (decoder.num_kv_heads, decoder.head_dim))
    kept = [ids, mask]
    graph.inputs.clear()
    graph.inputs.extend(kept)
    remove_dead_nodes(graph)
    remove_unused_initializers(graph)
    return EncoderGraph(
        model=model,
        sources={name: source for name, source in sources.items() if name in graph.initializers},
        head=head,
        hidden_size=hidden_size,
        num_heads=0,
        vocab_size=decoder.vocab_size,
    )


def _head_of(checkpoint: Checkpoint, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """Names and sizes of the head's tensors as transformers has them: taggers have a bias, gpt2's another name."""
    if checkpoint.task.name == TEXT_CLASSIFICATION:
        return {"score.weight": (0, hidden_size)}
    module = "classifier" if checkpoint.config["model_type"] == "gpt2" else "score"
    return {f"{module}.weight": (0, hidden_size), f"{module}.bias": (0,)}


@dataclass(frozen=True)
class _Prefixed(DerivedCheckpoint):
    """A checkpoint under the names of the whole model, which a model that makes vectors is a part of."""

    prefix: str

    def names(self) -> tuple[str, ...]:
        """Those of the base behind the prefix."""
        return tuple(self.prefix + name for name in self.base.names())

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the base's tensor."""
        return self.base.shape(name.removeprefix(self.prefix))


def _take_vocabulary_off(graph: ir.Graph) -> ir.Value:
    """What the head over the vocabulary reads: (batch, sequence, hidden_size)."""
    value = next(output for output in graph.outputs if output.name == "logits")
    value.name = "vocabulary.logits"
    node = value.producer()
    while node is not None and node.op_type != "MatMul":
        first = node.inputs[0]
        node = None if first is None else first.producer()
    assert node is not None and node.inputs[0] is not None
    return node.inputs[0]


def _end_in(graph: ir.Graph, value: ir.Value, name: str, shape: list[str | int]) -> None:
    value.name, value.type, value.shape = name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
    graph.outputs.clear()
    graph.outputs.append(value)


def _put_head(
    graph: ir.Graph, hidden: ir.Value, mask: ir.Value, head: Mapping[str, tuple[int, ...]], each_token: bool
) -> None:
    """The linear ``head`` in the place of the head over the vocabulary."""
    nodes = NodeBuilder(graph, "score")
    weight, *bias = [
        ir.Value(name=name, shape=ir.Shape([size or 1 for size in sizes]), type=ir.TensorType(ir.DataType.FLOAT))
        for name, sizes in head.items()
    ]
    for value in (weight, *bias):
        graph.initializers.add(value)
    hidden_size = next(iter(head.values()))[1]
    axis, one = nodes.constant("axis", [1]), nodes.constant("one", 1)
    sizes: list[str | int] = ["batch", "sequence", hidden_size]
    if not each_token:
        count = nodes.add("ReduceSum", [mask, axis], keepdims=1)  # (batch, 1)
        hidden = nodes.add("GatherND", [hidden, nodes.add("Sub", [count, one])], batch_dims=1)  # (batch, hidden_size)
        sizes = ["batch", hidden_size]
    hidden.shape, hidden.type = ir.Shape(sizes), ir.TensorType(ir.DataType.FLOAT)
    logits = nodes.add("MatMul", [hidden, nodes.add("Transpose", [weight], perm=[1, 0])])
    if bias:
        logits.shape, logits.type = ir.Shape([*sizes[:-1], 1]), ir.TensorType(ir.DataType.FLOAT)
        logits = nodes.add("Add", [logits, bias[0]])
    nodes.append()
    _end_in(graph, logits, "logits", [*sizes[:-1], 1])


def _count_tokens(graph: ir.Graph, ids: ir.Value, mask: ir.Value, cache: tuple[int, int]) -> None:
    """The two counters and an empty cache, computed from the mask."""
    nodes = NodeBuilder(graph, "counters")
    axis, one = nodes.constant("axis", [1]), nodes.constant("one", 1)
    inputs = {value.name: value for value in graph.inputs}
    last = nodes.add("Sub", [nodes.add("ReduceSum", [mask, axis], keepdims=0), one])
    seqlens = nodes.add("Cast", [last], to=ir.DataType.INT32.value)
    length = nodes.add("Squeeze", [nodes.add("Shape", [ids], start=1, end=2)])
    total = nodes.add("Cast", [length], to=ir.DataType.INT32.value)
    batch = nodes.add("Shape", [ids], start=0, end=1)
    shape = nodes.add("Concat", [batch, nodes.constant("cache", [cache[0], 0, cache[1]])], axis=0)
    empty = nodes.add("ConstantOfShape", [shape])
    nodes.insert_first()
    for name, value in inputs.items():
        if name in _COUNTERS:
            value.replace_all_uses_with(seqlens if name == _COUNTERS[0] else total)
        elif name is not None and name.startswith("past_key_values."):
            value.replace_all_uses_with(empty)
