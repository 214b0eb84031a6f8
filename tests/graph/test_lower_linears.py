"""Quantized linears and embeddings on onnxruntime equal numpy on the dequantized values."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgelora.grid.make import Grid, GridSpec, parse_quant, plan_grid
from edgelora.values import QuantSpec
from edgelora_onnx.decoder_graph import LINEAR, LINEAR_DOMAIN, WeightSource
from edgelora_onnx.emit import emit
from edgelora_onnx.passes.lower_linears import LowerLinears
from tests.parity.architectures import TorchCheckpoint

HIDDEN, ROWS, VOCAB = 72, 40, 33


def _value(name: str, shape: list[int | str], dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))


def _linear_model(rows: int, in_features: int) -> ir.Model:
    x = _value("x", ["batch", in_features])
    weight = _value("layer.up_proj.weight", [rows, in_features])
    node = ir.node(LINEAR, [x, weight], domain=LINEAR_DOMAIN, num_outputs=1)
    node.outputs[0].name = "y"
    node.outputs[0].type, node.outputs[0].shape = x.type, ir.Shape(["batch", rows])
    graph = ir.Graph([x], [node.outputs[0]], nodes=[node], initializers=[weight], opset_imports={"": 21})
    return ir.Model(graph, ir_version=10)


def _run(model: ir.Model, lower: LowerLinears, folder: Path, **feeds: np.ndarray) -> list[np.ndarray]:
    lower(model)
    emit(model, lower.payloads, folder, "m.onnx", "m.bin")
    return ort.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"]).run(None, feeds)


@pytest.mark.parametrize("in_features", [64, HIDDEN, 17])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("block_size", [16, 32, 128])
def test_linear_multiplies_with_the_values_of_the_grid(
    bits: int, symmetric: bool, block_size: int, in_features: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((ROWS, in_features)).astype(np.float32)
    checkpoint = TorchCheckpoint("c", {}, {"layer.up_proj.weight": weight})
    grid = plan_grid(checkpoint, GridSpec("test", QuantSpec(bits, block_size, symmetric)))
    sources = {"layer.up_proj.weight": WeightSource("layer.up_proj.weight", 0, ROWS)}
    x = rng.standard_normal((3, in_features)).astype(np.float32)
    found = _run(_linear_model(ROWS, in_features), LowerLinears(sources, grid, 0), tmp_path, x=x)[0]
    expected = x @ grid.value("layer.up_proj.weight").T
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max(), rtol=0)
    assert np.abs(found - x @ weight.T).max() > 1e-4, "a grid that equals the float weights would prove nothing"


@pytest.mark.parametrize("quant", ["none", "fp16", "int8", "int4", "int2"])
@pytest.mark.parametrize("hidden", [64, HIDDEN])
def test_tied_embedding_and_head_share_their_bytes(quant: str, hidden: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    name = "model.embed_tokens.weight"
    table = rng.standard_normal((VOCAB, hidden)).astype(np.float32)
    grid = plan_grid(TorchCheckpoint("c", {}, {name: table}), parse_quant(quant))
    ids, weight, head = (
        _value("ids", ["n"], ir.DataType.INT64),
        _value(name, [VOCAB, hidden]),
        _value("lm_head.weight", [VOCAB, hidden]),
    )
    gather = ir.node("Gather", [weight, ids], num_outputs=1)
    linear = ir.node(LINEAR, [gather.outputs[0], head], domain=LINEAR_DOMAIN, num_outputs=1)
    for node, output, size in ((gather, "rows", hidden), (linear, "logits", VOCAB)):
        node.outputs[0].name = output
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["n", size])
    graph = ir.Graph(
        [ids],
        [gather.outputs[0], linear.outputs[0]],
        nodes=[gather, linear],
        initializers=[weight, head],
        opset_imports={"": 21},
    )
    sources = {key: WeightSource(name, 0, VOCAB) for key in (name, "lm_head.weight")}
    lower = LowerLinears(sources, grid, 0)
    wanted = np.array([0, VOCAB - 1, 5])
    rows, logits = _run(ir.Model(graph, ir_version=10), lower, tmp_path, ids=wanted)
    values = grid.value(name)
    np.testing.assert_allclose(rows, values[wanted], atol=1e-6)
    np.testing.assert_allclose(logits, values[wanted] @ values.T, atol=1e-4)
    once = sum({payload.key: payload.size_bytes for payload in lower.payloads.values()}.values())
    assert (tmp_path / "m.bin").stat().st_size < once + 64 * len(lower.payloads) + 4096
    assert once == _stored_bytes(grid, name)
    n_casts = sum(node.op_type == "Cast" for node in ir.load(tmp_path / "m.onnx").graph)
    narrow = quant == "fp16" or name in grid.matrices
    assert n_casts == narrow, "the two readers share one Cast, and float32 needs none"


def _stored_bytes(grid: Grid, name: str) -> int:
    """Bytes of one copy of the table as it is stored."""
    if name not in grid.matrices:
        return grid.value(name).nbytes // (2 if grid.plan.half else 1)
    matrix = grid.matrix(name)
    zero_points = 0 if matrix.zero_points is None else matrix.zero_points.nbytes
    return matrix.packed.nbytes + matrix.scales.nbytes // 2 + zero_points  # scales are stored as float16
