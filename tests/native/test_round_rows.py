"""The operator ``RoundRows`` against numpy and the standard operators that it stands for: every path, odd sizes."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from tests.operator_library import operator_library, paths

Array = npt.NDArray[np.float32]
COLUMNS = (1, 15, 16, 17, 37, 255, 384, 1500)
STEP = np.float32(1 / 127)


def open_node(path: str = "", threads: int = 1) -> ort.InferenceSession:
    node = helper.make_node("RoundRows", ["x"], ["codes", "scales"], domain="edgelora", path=path)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    outputs = [
        helper.make_tensor_value_info("codes", TensorProto.UINT8, None),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph([node], "one", inputs, outputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(operator_library()))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("edgelora", 1)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, x: Array) -> tuple[npt.NDArray[Any], Array]:
    codes, scales = session.run(None, {"x": x})
    return codes, scales


def draw(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("path", paths())
def test_rows_are_those_of_numpy(path: str) -> None:
    session = open_node(path)
    for columns, shape in itertools.product(COLUMNS, ((1, 1), (3, 5), (2, 0))):
        x = draw(*shape, columns)
        x[..., -1:] *= 40  # the last number of a row may be its largest
        codes, scales = run(session, x)
        assert codes.shape == x.shape and codes.dtype == np.uint8
        assert scales.shape == (*shape, 1)
        reach = np.abs(x).max(-1, keepdims=True) if x.size else scales
        np.testing.assert_allclose(scales, reach * STEP, rtol=1e-6)
        off = codes.astype(np.float64) - 128 - x.astype(np.float64) / np.maximum(scales, 1e-37)
        assert np.abs(off).max(initial=0) < 0.5 + 1e-4, f"{columns} columns"
        largest = np.take_along_axis(codes, np.abs(x).argmax(-1)[..., None], -1) if x.size else codes
        assert set(largest.reshape(-1).tolist()) <= {1, 255}


@pytest.mark.parametrize("path", paths())
def test_every_path_gives_the_same_codes(path: str) -> None:
    x = draw(40, 384)
    expected, found = run(open_node("plain"), x), run(open_node(path), x)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("path", paths())
def test_zeros_stay_zeros_and_what_is_no_number_shows(path: str) -> None:
    for columns in (5, 16, 384):
        x = np.zeros((3, columns), np.float32)
        x[1, 0] = np.nan
        x[2, -1] = np.inf
        codes, scales = run(open_node(path), x)
        assert (codes[0] == 128).all() and 0 < scales[0, 0] < 1e-30
        assert np.isnan(scales[1, 0]) and not np.isfinite(scales[2, 0])


def test_threads_change_nothing() -> None:
    x = draw(300, 384)
    for alone, shared in zip(run(open_node(), x), run(open_node(threads=3), x), strict=True):
        np.testing.assert_array_equal(shared, alone)


def test_what_makes_no_sense_is_refused() -> None:
    errors = (Fail, InvalidArgument, RuntimeException)
    with pytest.raises(errors, match="path is none"):
        open_node("none")
    with pytest.raises(errors, match="scalar"):
        run(open_node(), np.array(1, np.float32))
    with pytest.raises(errors, match="no numbers"):
        run(open_node(), np.zeros((2, 0), np.float32))
