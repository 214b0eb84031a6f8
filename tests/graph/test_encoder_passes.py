"""The passes of graphs without a KV cache, each against numpy: attention in one node, heads as inputs, pooling."""

from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgelora_onnx.initializers import add_constant
from edgelora_onnx.passes.fuse_attention import FuseAttention
from edgelora_onnx.passes.lift_head import LiftHead
from edgelora_onnx.passes.pool_tokens import PoolTokens

BATCH, TOKENS, HEADS, SIZE = 2, 5, 2, 8
WIDTH = HEADS * SIZE


def run(model: ir.Model, feeds: dict[str, Any]) -> Any:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def graph_of(inputs: dict[str, list[str | int]], kind: ir.DataType = ir.DataType.FLOAT) -> ir.Model:
    values = [ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(kind)) for name, shape in inputs.items()]
    graph = ir.Graph(values, [], nodes=[], opset_imports={"": 18, "com.microsoft": 1}, name="graph")
    return ir.Model(graph, ir_version=10)


def add(
    graph: ir.Graph, op: str, inputs: list[ir.Value], shape: list[Any] | None = None, **attributes: Any
) -> ir.Value:
    node = ir.node(op, inputs, attributes, num_outputs=1)
    graph.append(node)
    value = node.outputs[0]
    value.name, value.type = f"{op}.{len(graph)}", ir.TensorType(ir.DataType.FLOAT)
    value.shape = None if shape is None else ir.Shape(shape)
    return value


def spelled_attention(scaled: str, mask: str) -> ir.Model:
    """q, k and v in one row each, scores scaled before or after the product, a mask that is added or filled in."""
    row: list[str | int] = ["batch", "tokens", WIDTH]
    model = graph_of({"q": row, "k": row, "v": row, "mask": ["batch", 1, 1, "tokens"]})
    graph = model.graph
    q, k, v, given = graph.inputs
    split = add_constant(graph, "split", np.array([0, 0, HEADS, SIZE], np.int64))
    joined = add_constant(graph, "joined", np.array([0, 0, WIDTH], np.int64))
    by_head: list[Any] = ["batch", HEADS, "tokens", SIZE]
    heads = [
        add(
            graph,
            "Transpose",
            [add(graph, "Reshape", [value, split], ["batch", "tokens", HEADS, SIZE])],
            by_head if turned == (0, 2, 1, 3) else ["batch", HEADS, SIZE, "tokens"],
            perm=turned,
        )
        for value, turned in ((q, (0, 2, 1, 3)), (k, (0, 2, 3, 1)), (v, (0, 2, 1, 3)))
    ]
    root = add_constant(graph, "root", np.array(SIZE**0.5, np.float32))
    first = add(graph, "Div", [heads[0], root], by_head) if scaled == "before" else heads[0]
    scores = add(graph, "MatMul", [first, heads[1]])
    if scaled == "after":
        scores = add(graph, "Div", [scores, root])
    if mask == "added":
        scores = add(graph, "Add", [scores, given])
    else:
        nothing = add_constant(graph, "nothing", np.array(0, np.float32))
        fill = add_constant(graph, "fill", np.array(-1e30, np.float32))
        hidden = add(graph, "Less", [given, nothing], ["batch", 1, 1, "tokens"])
        hidden.type = ir.TensorType(ir.DataType.BOOL)
        scores = add(graph, "Where", [hidden, fill, scores])
    shares = add(graph, "Softmax", [scores], axis=-1)
    mixed = add(graph, "Transpose", [add(graph, "MatMul", [shares, heads[2]])], perm=(0, 2, 1, 3))
    graph.outputs.append(add(graph, "Reshape", [mixed, joined], row))
    return model


@pytest.mark.parametrize("mask", ["added", "filled"])
@pytest.mark.parametrize("scaled", ["before", "after"])
def test_attention_becomes_one_node_and_answers_the_same(scaled: str, mask: str) -> None:
    rng = np.random.default_rng(0)
    feeds: dict[str, Any] = {name: rng.normal(size=(BATCH, TOKENS, WIDTH)).astype(np.float32) for name in "qkv"}
    feeds["mask"] = np.where(np.arange(TOKENS) < np.array([[TOKENS], [3]]), 0, -1e30)[:, None, None].astype(np.float32)
    model = spelled_attention(scaled, mask)
    expected = run(model, feeds)
    assert FuseAttention(HEADS)(model).modified
    counts = Counter(node.op_type for node in model.graph)
    assert (counts["MultiHeadAttention"], counts["Softmax"], counts["MatMul"]) == (1, 0, 0)
    np.testing.assert_allclose(run(model, feeds), expected, atol=1e-5)
    assert not FuseAttention(HEADS)(model).modified


def test_a_bias_below_a_scale_is_left_as_it_is() -> None:
    model = spelled_attention("none", "added")
    root = add_constant(model.graph, "later", np.array(3, np.float32))
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    scaled = ir.node("Div", [softmax.inputs[0], root], num_outputs=1)
    scaled.outputs[0].name = "scaled"
    model.graph.insert_before(softmax, scaled)
    softmax.replace_input_with(0, scaled.outputs[0])
    assert not FuseAttention(HEADS)(model).modified


def test_heads_of_other_sizes_answer_for_each_row() -> None:
    model = graph_of({"x": ["batch", 4]})
    graph = model.graph
    weights = {"dense.weight": [4, 4], "dense.bias": [4], "classifier.weight": [3, 4]}
    values = {
        name: ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        for name, shape in weights.items()
    }
    for value in values.values():
        graph.initializers.add(value)
    dense = add(graph, "Gemm", [graph.inputs[0], values["dense.weight"], values["dense.bias"]], ["batch", 4], transB=1)
    active = add(graph, "Tanh", [dense], ["batch", 4])
    turned = add(graph, "Transpose", [values["classifier.weight"]], [4, 3], perm=(1, 0))
    logits = add(graph, "MatMul", [active, turned], ["batch", 3])
    logits.name = "logits"
    graph.outputs.append(logits)
    lift = LiftHead({"dense.weight": (4, 4), "dense.bias": (4,), "classifier.weight": (0, 4)})
    lift(model)
    assert [(item.tensor, item.sizes) for item in lift.tensors] == [
        ("dense.weight", (4, 4)),
        ("dense.bias", (4,)),
        ("classifier.weight", (0, 4)),
    ]
    assert not [name for name in graph.initializers if name in weights]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 4)).astype(np.float32)
    a, b, c = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 4, 4), (2, 1, 4), (2, 4, 7)))
    feeds = {"x": x, "head.dense.weight": a, "head.dense.bias": b, "head.classifier.weight": c}
    expected = np.stack([np.tanh(x[row] @ a[row] + b[row, 0]) @ c[row] for row in range(2)])
    np.testing.assert_allclose(run(model, feeds), expected, atol=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_padding_counts_for_nothing_when_tokens_are_pooled(pooling: str, normalize: bool) -> None:
    model = graph_of({"tokens": ["batch", "sequence", 4]})
    graph = model.graph
    mask = ir.Value(name="attention_mask", shape=ir.Shape(["batch", "sequence"]), type=ir.TensorType(ir.DataType.INT64))
    graph.inputs.append(mask)
    hidden = add(graph, "Neg", [graph.inputs[0]], ["batch", "sequence", 4])
    hidden.name = "last_hidden_state"
    graph.outputs.append(hidden)
    PoolTokens(pooling, normalize)(model)
    tokens = np.random.default_rng(2).normal(size=(2, 5, 4)).astype(np.float32)
    given = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], np.int64)
    found = run(model, {"tokens": tokens, "attention_mask": given})
    rows = [-tokens[0], -tokens[1, :2]]
    expected = np.stack([{"mean": row.mean(0), "cls": row[0], "lasttoken": row[-1]}[pooling] for row in rows])
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
