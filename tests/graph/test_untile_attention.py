"""Sinks that take nothing change no answer of attention, and are not given to attention that has its own."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgelora_onnx.passes.untile_attention import UntileAttention

HEADS, KV_HEADS, SIZE = 4, 2, 8


def _attention(sinks: bool) -> ir.Model:
    def value(name: str, shape: list[int | str], dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
        return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))

    own = ir.Tensor(np.arange(HEADS, dtype=np.float32), name="own")
    sink = ir.Value(name="own", shape=ir.Shape([HEADS]), type=ir.TensorType(ir.DataType.FLOAT), const_value=own)
    inputs = [
        value("x", [1, "n", (HEADS + 2 * KV_HEADS) * SIZE]),
        value("past_k", [1, KV_HEADS, "past", SIZE]),
        value("past_v", [1, KV_HEADS, "past", SIZE]),
        value("last", [1], ir.DataType.INT32),
        value("total", [], ir.DataType.INT32),
    ]
    x, past_k, past_v, last, total = inputs
    node = ir.node(
        "GroupQueryAttention",
        [x, None, None, past_k, past_v, last, total, *([None, None, None, None, sink] if sinks else [])],
        {"num_heads": HEADS, "kv_num_heads": KV_HEADS},
        domain="com.microsoft",
        num_outputs=3,
    )
    for output, name in zip(node.outputs, ("y", "k", "v"), strict=True):
        output.name, output.type = name, ir.TensorType(ir.DataType.FLOAT)
    opsets = {"": 21, "com.microsoft": 1}
    initializers = [sink] if sinks else []
    graph = ir.Graph(inputs, node.outputs, nodes=[node], initializers=initializers, opset_imports=opsets, name="g")
    return ir.Model(graph, ir_version=10)


def _run(model: ir.Model, file: Path, tokens: int, past: int) -> np.ndarray:
    ir.save(model, file)
    rng = np.random.default_rng(tokens)
    feeds = {
        "x": 20 * rng.standard_normal((1, tokens, (HEADS + 2 * KV_HEADS) * SIZE)).astype(np.float32),
        "past_k": rng.standard_normal((1, KV_HEADS, past, SIZE)).astype(np.float32),
        "past_v": rng.standard_normal((1, KV_HEADS, past, SIZE)).astype(np.float32),
        "last": np.array([tokens + past - 1], np.int32),
        "total": np.array(tokens + past, np.int32),
    }
    found: np.ndarray = ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(["y"], feeds)[0]
    return found


@pytest.mark.parametrize(("tokens", "past"), [(1, 0), (1, 70), (65, 0), (40, 90)])
def test_answers_stay(tokens: int, past: int, tmp_path: Path) -> None:
    model = _attention(sinks=False)
    before = _run(model, tmp_path / "before.onnx", tokens, past)
    UntileAttention()(model)
    assert len(model.graph[0].inputs) == 12
    np.testing.assert_allclose(_run(model, tmp_path / "after.onnx", tokens, past), before, atol=1e-4)


def test_sinks_of_the_model_stay() -> None:
    model = _attention(sinks=True)
    assert not UntileAttention()(model).modified
    assert model.graph[0].inputs[11].name == "own"
