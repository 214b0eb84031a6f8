"""Scales take the narrowest exact type, and the Cast in front of them costs no bit of the answer and no kernel."""

from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgelora.grid.blocks import quantize
from edgelora.grid.make import Grid, GridSpec, plan_grid
from edgelora.values import FloatArray, QuantizedMatrix, QuantSpec
from edgelora_onnx.decoder_graph import LINEAR, LINEAR_DOMAIN, WeightSource
from edgelora_onnx.emit import emit
from edgelora_onnx.passes.lower_linears import LowerLinears
from edgelora_onnx.scale_storage import storage_type
from tests.parity.architectures import TorchCheckpoint

ROWS, COLUMNS = 48, 96
NAME = "layer.up_proj.weight"


@dataclass(frozen=True)
class KeptCodes(TorchCheckpoint):
    """A checkpoint whose file has codes of its own, as GGUF does."""

    matrix: QuantizedMatrix | None = None

    def packed(self, name: str) -> QuantizedMatrix | None:
        return self.matrix


def _scales(kind: str) -> FloatArray:
    """Scales as ``quantize`` makes them, as GGUF has them, or of all bits."""
    values = np.random.default_rng(0).uniform(0.01, 0.02, (ROWS, COLUMNS // 32)).astype(np.float32)
    if kind == "float16":
        values[0] = 2.0**-24 * 3  # GGUF writes subnormal ones for tensors of tiny numbers
        return values.astype(np.float16).astype(np.float32)
    return values.astype(ml_dtypes.bfloat16).astype(np.float32) if kind == "bfloat16" else values


STORED = {"bfloat16": "float16", "float16": "float16", "float32": "float32"}


def _grid_with(scales: FloatArray, bits: int = 4) -> Grid:
    spec = QuantSpec(bits, 32)
    weight = np.random.default_rng(1).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    packed = quantize(weight, spec).packed
    matrix = QuantizedMatrix(packed, scales, None, spec, COLUMNS)
    return plan_grid(KeptCodes("c", {}, {NAME: weight}, matrix=matrix), GridSpec("test", spec))


def _lowered(grid: Grid, level: int, folder: Path) -> Path:
    """A graph with one linear of the grid."""
    x = ir.Value(name="x", shape=ir.Shape(["batch", COLUMNS]), type=ir.TensorType(ir.DataType.FLOAT))
    weight = ir.Value(name=NAME, shape=ir.Shape([ROWS, COLUMNS]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node(LINEAR, [x, weight], domain=LINEAR_DOMAIN, num_outputs=1)
    node.outputs[0].name, node.outputs[0].type = "y", x.type
    node.outputs[0].shape = ir.Shape(["batch", ROWS])
    graph = ir.Graph([x], [node.outputs[0]], nodes=[node], initializers=[weight], opset_imports={"": 21})
    model = ir.Model(graph, ir_version=10)
    lower = LowerLinears({NAME: WeightSource(NAME, 0, ROWS)}, grid, level)
    lower(model)
    emit(model, lower.payloads, folder, "m.onnx", "m.bin")
    return folder / "m.onnx"


def _plain(grid: Grid, level: int) -> bytes:
    """The same product with float32 scales, spelled by hand."""
    matrix = grid.matrix(NAME)
    spec = matrix.spec
    inputs = {"codes": matrix.packed, "scales": matrix.scales, "zeros": matrix.zero_points}
    constants = {name: array for name, array in inputs.items() if array is not None}
    options = {"K": COLUMNS, "N": ROWS, "bits": spec.bits, "block_size": spec.block_size, "accuracy_level": level}
    node = helper.make_node("MatMulNBits", ["x", *constants], ["y"], domain="com.microsoft", **options)
    graph = helper.make_graph(
        [node],
        "plain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", COLUMNS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", ROWS])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString())


def _run(model: Path | bytes, x: FloatArray) -> FloatArray:
    source = model if isinstance(model, bytes) else str(model)
    found: FloatArray = ort.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float32"])
def test_the_narrowest_exact_type_is_stored(kind: str, tmp_path: Path) -> None:
    scales = _scales(kind)
    stored_as = STORED[kind]
    assert storage_type([scales]).name == stored_as
    grid = _grid_with(scales)
    path = _lowered(grid, 0, tmp_path)
    stored = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    assert (f"layer.up_proj.scales.{stored_as}" if stored_as != "float32" else "layer.up_proj.scales") in stored
    codes = grid.matrix(NAME).packed.nbytes
    assert stored["layer.up_proj.codes"].raw_data == grid.matrix(NAME).packed.tobytes()
    assert (tmp_path / "m.bin").stat().st_size == codes + scales.size * (4 if kind == "float32" else 2)
    x = np.random.default_rng(2).standard_normal((5, COLUMNS)).astype(np.float32)
    assert np.array_equal(_run(path, x), _run(_plain(grid, 0), x)), "the values of the grid may not change"


def test_a_wider_neighbour_widens_a_packed_linear() -> None:
    assert storage_type([_scales("float16"), _scales("bfloat16")]).name == "float16"
    for beyond in (2.0**40, 2.0**-17):  # too large, and with bits below the smallest
        assert storage_type([_scales("float16"), _scales("bfloat16") * np.float32(beyond)]).name == "float32"
    assert storage_type([_scales("bfloat16"), _scales("float32")]).name == "float32"


@pytest.mark.parametrize("level", [0, 4])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_kernel_answers_bit_for_bit_as_with_float32_scales(
    bits: int, symmetric: bool, level: int, tmp_path: Path
) -> None:
    weight = np.random.default_rng(3).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    grid = plan_grid(TorchCheckpoint("c", {}, {NAME: weight}), GridSpec("test", QuantSpec(bits, 32, symmetric)))
    path = _lowered(grid, level, tmp_path)
    assert storage_type([grid.matrix(NAME).scales]).name == "float16"
    for rows in (1, 40):  # decode and prefill take different kernels
        x = np.random.default_rng(rows).standard_normal((rows, COLUMNS)).astype(np.float32)
        assert np.array_equal(_run(path, x), _run(_plain(grid, level), x))


def test_onnxruntime_folds_the_cast_so_that_the_kernel_prepacks(tmp_path: Path) -> None:
    path = _lowered(_grid_with(_scales("bfloat16")), 4, tmp_path)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimized.onnx").graph
    assert [node.op_type for node in graph.node] == ["MatMulNBits"]
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert kinds[graph.node[0].input[2]] == TensorProto.FLOAT
