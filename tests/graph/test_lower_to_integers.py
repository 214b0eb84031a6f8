"""Integer products of whole rows on onnxruntime equal numpy on the values of the rows."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgelora.grid.make import Grid, GridSpec, parse_quant, plan_grid
from edgelora.grid.row_codes import column_factors, round_rows, row_values
from edgelora.values import QuantSpec
from edgelora_onnx.decoder_graph import LINEAR, LINEAR_DOMAIN, WeightSource
from edgelora_onnx.emit import emit
from edgelora_onnx.passes.lower_linears import LowerLinears
from edgelora_onnx.passes.lower_to_integers import LONG, LowerToIntegers
from edgelora_runtime.encoder_session import session_settings
from tests.parity.architectures import TorchCheckpoint

NAMES = ("layer.up_proj.weight", "layer.gate_proj.weight")
TABLE = "model.embed_tokens.weight"


def _value(name: str, shape: list[int | str], dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))


def _output(node: ir.Node, name: str, shape: list[int | str]) -> ir.Value:
    value = node.outputs[0]
    value.name, value.type, value.shape = name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
    return value


def _linears(rows: int, in_features: int, packed: bool, names: Sequence[str] = NAMES) -> ir.Model:
    """One linear of both weights, or two that read the same input."""
    x = _value("x", ["batch", "sequence", in_features])
    weights = [_value(name, [rows, in_features]) for name in names]
    groups = [weights] if packed else [[weight] for weight in weights]
    nodes = [ir.node(LINEAR, [x, *group], domain=LINEAR_DOMAIN, num_outputs=1) for group in groups]
    outputs = [
        _output(node, f"y{index}", ["batch", "sequence", rows * len(group)])
        for index, (node, group) in enumerate(zip(nodes, groups, strict=True))
    ]
    return ir.Model(ir.Graph([x], outputs, nodes=nodes, initializers=weights, opset_imports={"": 21}), ir_version=10)


def _grid(spec: QuantSpec, **weights: np.ndarray) -> Grid:
    return plan_grid(TorchCheckpoint("c", {}, weights), GridSpec("test", spec))


def _run(model: ir.Model, lower: LowerToIntegers, folder: Path, **feeds: np.ndarray) -> list[np.ndarray]:
    lower(model)
    emit(model, lower.payloads, folder, "m.onnx", "m.bin")
    options = ort.SessionOptions()
    for key, value in session_settings().items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(folder / "m.onnx", options, providers=["CPUExecutionProvider"]).run(None, feeds)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("in_features", [64, 17])
@pytest.mark.parametrize(("bits", "symmetric"), [(2, False), (4, True), (4, False), (8, True)])
def test_linear_multiplies_with_the_rows_of_the_grid(
    bits: int, symmetric: bool, in_features: int, packed: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((40, in_features)).astype(np.float32) for name in NAMES}
    grid = _grid(QuantSpec(bits, 32, symmetric), **weights)
    sources = {name: WeightSource(name, 0, 40) for name in NAMES}
    x = rng.standard_normal((2, 3, in_features)).astype(np.float32)
    x[0, 1] *= 1000  # one token with huge activations must not cost the others their precision
    x[1, 2] = 0
    model, lower = _linears(40, in_features, packed), LowerToIntegers(sources, grid)
    found = np.concatenate(_run(model, lower, tmp_path, x=x), axis=-1)
    values = np.concatenate([row_values(round_rows(grid.matrix(name))) for name in NAMES])
    expected = x @ values.T
    for token in np.ndindex(2, 3):
        # 16 bits: half a step of 1 / 32512 of the token's largest magnitude for every input.
        bound = np.abs(x[token]).max() / 32512 * np.abs(values).sum(axis=1) + 1e-5 * np.abs(expected[token]).max()
        assert (np.abs(found[token] - expected[token]) <= bound).all(), token
    assert np.abs(found - x @ np.concatenate([grid.value(name) for name in NAMES]).T).max() > 1e-4
    counts = Counter(node.op_type for node in model.graph)
    assert counts["MatMulIntegerToFloat"] == (1 if packed else 2)
    assert counts["Concat"] == 1, "two linears that read one value share its bytes"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("is_signed", [False, True])
def test_one_row_of_bytes_says_the_same_with_and_without_a_sign(is_signed: bool, packed: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    weights = {name: rng.standard_normal((40, 64)).astype(np.float32) for name in NAMES}
    weights[NAMES[0]][:, ::2] = 3  # neighbours at the end of the range: sums of two products exceed 16 bits
    grid, sources = _grid(QuantSpec(8), **weights), {name: WeightSource(name, 0, 40) for name in NAMES}
    x = rng.standard_normal((2, 3, 64)).astype(np.float32)
    x[0, 0] = 5
    model, lower = _linears(40, 64, packed), LowerToIntegers(sources, grid, one_row=True, is_signed=is_signed)
    found = np.concatenate(_run(model, lower, tmp_path, x=x), axis=-1)
    codes, *_ = (value for name, value in model.graph.initializers.items() if name.endswith(".codes"))
    assert codes.dtype == (ir.DataType.INT8 if is_signed else ir.DataType.UINT8)
    step = np.abs(x).max(axis=-1, keepdims=True) / 127
    rounded = np.rint(x / step) * step
    values = np.concatenate([row_values(round_rows(grid.matrix(name))) for name in NAMES])
    np.testing.assert_allclose(found, rounded @ values.T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("is_signed", [False, True])
def test_layers_that_share_signed_weights_have_one_initializer_each_and_their_bytes_once(
    is_signed: bool, tmp_path: Path
) -> None:
    """onnxruntime takes the sign from each by itself, where products of bytes overflow, and wants a name for each."""
    rng = np.random.default_rng(5)
    grid = _grid(QuantSpec(8), **{NAMES[0]: rng.standard_normal((40, 64)).astype(np.float32)})
    x = rng.standard_normal((1, 4, 64)).astype(np.float32)
    model = _linears(40, 64, packed=False)
    first, second = model.graph
    second.replace_input_with(1, first.inputs[1])
    lower = LowerToIntegers({NAMES[0]: WeightSource(NAMES[0], 0, 40)}, grid, one_row=True, is_signed=is_signed)
    one, other = _run(model, lower, tmp_path, x=x)
    np.testing.assert_array_equal(one, other)
    codes = [node.inputs[1] for node in model.graph if node.op_type == "MatMulIntegerToFloat"]
    assert len(set(codes)) == (2 if is_signed else 1)
    tensors = [value.const_value for value in codes]
    assert len({(tensor.offset, tensor.length) for tensor in tensors}) == 1
    assert len({value.name for value in codes if value.const_value.dtype == ir.DataType.INT8}) == 2 * is_signed


@pytest.mark.parametrize("tokens", [LONG - 1, LONG, 40])
def test_long_calls_have_one_row_of_inputs_made_alike(tokens: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    names = tuple(f"model.layers.0.mlp.{name}.weight" for name in ("up_proj", "gate_proj"))
    weights = {name: rng.standard_normal((40, 64)).astype(np.float32) for name in names}
    sizes = np.exp2(2.0 * rng.integers(-6, 7, 64)).astype(np.float32)  # mean squares, powers of two
    factors = column_factors({**dict.fromkeys(names, sizes), "lm_head.weight": sizes})
    assert set(factors) == set(names), "a head keeps its columns: its one token has two rows in any call"
    grid = dataclasses.replace(_grid(QuantSpec(8), **weights), column_factors=factors)
    x = (rng.standard_normal((2, tokens, 64)) * np.sqrt(sizes)).astype(np.float32)
    lower = LowerToIntegers({name: WeightSource(name, 0, 40) for name in names}, grid, calls="x")
    found = _run(_linears(40, 64, packed=True, names=names), lower, tmp_path, x=x)[0]
    values = np.concatenate([row_values(round_rows(grid.matrix(name), factors[name])) for name in names])
    even = x / factors[names[0]]
    step = np.abs(even).max(axis=-1, keepdims=True) / 127
    rounded = np.rint(even / step) * step * factors[names[0]]
    short = tokens < LONG
    np.testing.assert_allclose(found, (x if short else rounded) @ values.T, rtol=1e-3, atol=np.abs(found).max() * 2e-4)
    # One row loses a hundred times what two do, and twice as much where inputs are left as different as they are.
    plain = np.abs(x).max(axis=-1, keepdims=True) / 127
    exact, coarse = x @ values.T, (np.rint(x / plain) * plain) @ values.T
    assert np.square(found - exact).mean() * (1e3 if short else 2) < np.square(coarse - exact).mean()


def test_wide_linears_are_cut_into_pieces(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((3100, 32)).astype(np.float32)
    grid = _grid(QuantSpec(4), **dict.fromkeys(NAMES, weight))
    sources = {name: WeightSource(name, 0, 3100) for name in NAMES}
    x = rng.standard_normal((1, 2, 32)).astype(np.float32)
    model = _linears(3100, 32, packed=True)
    found = _run(model, LowerToIntegers(sources, grid), tmp_path, x=x)[0]
    values = np.concatenate([row_values(round_rows(grid.matrix(name))) for name in NAMES])
    np.testing.assert_allclose(found, x @ values.T, atol=2e-3)
    products = [node for node in model.graph if node.op_type == "MatMulIntegerToFloat"]
    assert [node.inputs[1].shape[1] for node in products] == [3072, 3072, 56]


@pytest.mark.parametrize("quant", ["int4", "int8"])
@pytest.mark.parametrize("vocab", [33, 6150])
def test_tied_head_reads_the_rows_of_the_embedding(quant: str, vocab: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    table = rng.standard_normal((vocab, 64)).astype(np.float32)
    grid = plan_grid(TorchCheckpoint("c", {}, {TABLE: table}), parse_quant(quant))
    ids, weight, head = (
        _value("ids", ["batch", "n"], ir.DataType.INT64),
        _value(TABLE, [vocab, 64]),
        _value("lm_head.weight", [vocab, 64]),
    )
    gather = ir.node("Gather", [weight, ids], num_outputs=1)
    linear = ir.node(LINEAR, [gather.outputs[0], head], domain=LINEAR_DOMAIN, num_outputs=1)
    outputs = [_output(gather, "rows", ["batch", "n", 64]), _output(linear, "logits", ["batch", "n", vocab])]
    graph = ir.Graph([ids], outputs, nodes=[gather, linear], initializers=[weight, head], opset_imports={"": 21})
    lower = LowerToIntegers({key: WeightSource(TABLE, 0, vocab) for key in (TABLE, "lm_head.weight")}, grid)
    wanted = np.array([[0, vocab - 1, 5]])
    rows, logits = _run(ir.Model(graph, ir_version=10), lower, tmp_path, ids=wanted)
    values = row_values(round_rows(grid.matrix(TABLE)))
    np.testing.assert_allclose(rows, values[wanted], atol=1e-6)
    np.testing.assert_allclose(logits, values[wanted] @ values.T, atol=5e-3)
    stored = (tmp_path / "m.bin").stat().st_size
    assert stored < vocab * 64 + vocab * 4 + 3 * 4096, "the head has no copy of its own in the file"


def test_floats_are_left_to_the_other_pass(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    weights = {name: rng.standard_normal((8, 16)).astype(np.float32) for name in NAMES}
    grid = plan_grid(TorchCheckpoint("c", {}, weights), parse_quant("none"))
    sources = {name: WeightSource(name, 0, 8) for name in NAMES}
    model, integers = _linears(8, 16, packed=True), LowerToIntegers(sources, grid)
    integers(model)
    assert not integers.payloads
    assert [node.op_type for node in model.graph] == [LINEAR]
    lower = LowerLinears(sources, grid, 4, as_floats=True)
    lower(model)
    emit(model, lower.payloads, tmp_path, "m.onnx", "m.bin")
    assert {node.op_type for node in model.graph} == {"MatMul"}


def test_level_0_multiplies_with_the_values_of_the_grid_themselves(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    weights = {name: rng.standard_normal((24, 64)).astype(np.float32) for name in NAMES}
    grid = _grid(QuantSpec(4), **weights)
    sources = {name: WeightSource(name, 0, 24) for name in NAMES}
    model, lower = _linears(24, 64, packed=True), LowerLinears(sources, grid, 0, as_floats=True)
    lower(model)
    emit(model, lower.payloads, tmp_path, "m.onnx", "m.bin")
    x = rng.standard_normal((1, 3, 64)).astype(np.float32)
    found = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, x @ np.concatenate([grid.value(name) for name in NAMES]).T, atol=1e-4)
