"""Weights as MatMulNBits has them, and one-node graphs that multiply with them.

Knows nothing about what is right; ``weights`` of a matrix are its values in float64.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnx import TensorProto, helper

from edgelora_runtime.fused import BLOCKS, FACTORS, WEIGHTS
from tests.operator_library import operator_library

Array = npt.NDArray[Any]
_TYPES = {"uint8": TensorProto.UINT8, "float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}

_GIVEN: dict[str, tuple[int, list[str] | None]] = {  # what a call brings, and its shape where that is known
    "x": (TensorProto.FLOAT, None),
    "ids": (TensorProto.INT64, None),
    FACTORS: (TensorProto.UINT8, ["bytes"]),
    BLOCKS: (TensorProto.INT64, ["n", "pieces", "slots"]),
    WEIGHTS: (TensorProto.FLOAT, ["n", "pieces"]),
}


@dataclass(frozen=True)
class Codes:
    """A quantized matrix in the layout of MatMulNBits."""

    bits: int
    block_size: int
    codes: Array  # (rows, blocks, block_size * bits / 8)
    scales: Array  # (rows, blocks)
    zero_points: Array | None  # (rows, packed blocks)
    weights: Array  # (rows, columns), float64
    reach: Array  # (rows, columns), float64: the largest magnitude that a code of its block can stand for


def make_codes(seed: int, rows: int, columns: int, bits: int, block_size: int, symmetric: bool, half: bool) -> Codes:
    random = np.random.default_rng(seed)
    blocks = -(-columns // block_size)
    codes = random.integers(0, 1 << bits, (rows, blocks, block_size)).astype(np.uint8)
    scales = (random.uniform(0.01, 0.03, (rows, blocks)) * random.choice([-1, 1], (rows, blocks))).astype(np.float16)
    zeros = np.full((rows, blocks), 1 << (bits - 1), np.uint8)
    if not symmetric:
        zeros = random.integers(0, 1 << bits, (rows, blocks)).astype(np.uint8)
    wide = scales.astype(np.float64)[..., None]
    weights = (codes.astype(np.float64) - zeros[..., None]) * wide
    reach = np.broadcast_to(np.abs(wide) * ((1 << bits) - 1), weights.shape)
    return Codes(
        bits,
        block_size,
        _pack(codes, bits),
        scales if half else scales.astype(np.float32),
        None if symmetric else _pack(zeros, bits),
        weights.reshape(rows, -1)[:, :columns],
        reach.reshape(rows, -1)[:, :columns],
    )


def linear(
    item: Codes, level: int, bias: Array | None = None, path: str = "", threads: int = 1
) -> ort.InferenceSession:
    """``Linear`` of the domain ``edgelora``."""
    inputs = _inputs(item) + ([] if bias is None else [("bias", bias)])
    attributes = _attributes(item, level) | ({"path": path} if path else {})
    return _session("Linear", "edgelora", ["x", *_places(inputs, 4)], dict(inputs), attributes, threads)


def linear_with_slot(
    item: Codes, columns: list[int], level: int, bias: Array | None = None, threads: int = 1, **attributes: Any
) -> ort.InferenceSession:
    """``Linear`` that does what ``LowRank`` would do behind it, for the second slot of the adapters."""
    inputs = _inputs(item) + ([] if bias is None else [("bias", bias)])
    names = ["x", *_places(inputs, 4)]
    given = _attributes(item, level) | {"columns": columns, "slot": 1} | attributes
    given = {name: value for name, value in given.items() if value is not None}
    adapters = [FACTORS, BLOCKS, WEIGHTS]
    return _session("Linear", "edgelora", [*names, *[""] * (5 - len(names)), *adapters], dict(inputs), given, threads)


def matmul_nbits(item: Codes, level: int, bias: Array | None = None) -> ort.InferenceSession:
    """onnxruntime's own operator over the same values."""
    inputs = [(name, array.astype(np.float32) if name == "scales" else array) for name, array in _inputs(item)]
    names = ["x", *_places(inputs, 3)]
    if bias is not None:
        inputs.append(("bias", bias))
        names = [*names, *[""] * (5 - len(names)), "bias"]  # behind g_idx
    return _session("MatMulNBits", "com.microsoft", names, dict(inputs), _attributes(item, level), 1)


def embed(item: Codes) -> ort.InferenceSession:
    """``Embed`` of the domain ``edgelora``."""
    inputs = _inputs(item)
    codes, scales, *zero_points = [name for name, _ in inputs]
    attributes = {"K": item.weights.shape[1], "bits": item.bits, "block_size": item.block_size}
    return _session("Embed", "edgelora", [codes, "ids", scales, *zero_points], dict(inputs), attributes, 1)


def _inputs(item: Codes) -> list[tuple[str, Array]]:
    inputs = [("codes", item.codes), ("scales", item.scales)]
    return inputs if item.zero_points is None else [*inputs, ("zero_points", item.zero_points)]


def _places(inputs: list[tuple[str, Array]], count: int) -> list[str]:
    """Names with an empty one for what is left out, and none at the end."""
    given = dict(inputs)
    names = [name if name in given else "" for name in ("codes", "scales", "zero_points", "bias")[:count]]
    return names if names[-1] else names[: names.index("")]


def _attributes(item: Codes, level: int) -> dict[str, Any]:
    rows, columns = item.weights.shape
    return {"K": columns, "N": rows, "bits": item.bits, "block_size": item.block_size, "accuracy_level": level}


def _session(
    op: str, domain: str, names: list[str], constants: dict[str, Array], attributes: dict[str, Any], threads: int
) -> ort.InferenceSession:
    initializers = [
        helper.make_tensor(name, _TYPES[array.dtype.name], array.shape, array.tobytes(), raw=True)
        for name, array in constants.items()
    ]
    node = helper.make_node(op, names, ["y"], domain=domain, **attributes)
    given = [(name, *_GIVEN[name]) for name in names if name in _GIVEN]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(*one) for one in given],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    imports = [helper.make_opsetid(name, version) for name, version in (("", 21), (domain, 1))]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    options.register_custom_ops_library(str(operator_library()))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _pack(values: Array, bits: int) -> Array:
    """The last axis in bytes, the first value in the lowest bits."""
    each = 8 // bits
    missing = -values.shape[-1] % each
    padded = np.concatenate([values, np.zeros((*values.shape[:-1], missing), np.uint8)], axis=-1)
    shifted = padded.reshape(*values.shape[:-1], -1, each) << (np.arange(each, dtype=np.uint8) * bits)
    packed: Array = np.bitwise_or.reduce(shifted, axis=-1).astype(np.uint8)
    return packed
