"""Rotary tables as nodes: PyTorch's values, computed once when a graph is loaded, in next to no bytes."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

from edgelora_onnx.frontends.rope import add_rotary_tables


def write_graph(path: Path, head_dim: int, theta: float, factor: float, length: int) -> torch.Tensor:
    """A graph that looks positions up in both tables; returns the frequencies."""
    frequencies = 1 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    ids = ir.Value(name="ids", shape=ir.Shape(["n"]), type=ir.TensorType(ir.DataType.INT64))
    first = ir.node("Identity", [ids], num_outputs=1)  # tables come before every other node
    graph = ir.Graph([ids], [], nodes=[first], opset_imports={"": 21})
    for name, table in zip(
        ("cos", "sin"), add_rotary_tables(graph, "rotary", frequencies.numpy(), factor, length), strict=True
    ):
        node = ir.node("Gather", [table, first.outputs[0]], num_outputs=1)
        node.outputs[0].name, node.outputs[0].type = name, ir.TensorType(ir.DataType.FLOAT)
        graph.append(node)
        graph.outputs.append(node.outputs[0])
    ir.save(ir.Model(graph, ir_version=10), path)
    return frequencies


@pytest.mark.parametrize(
    ("head_dim", "theta", "factor", "length"), [(2, 1e4, 1.0, 16), (64, 1e4, 1.0, 8192), (256, 1e6, 1.1386, 32768)]
)
def test_the_tables_are_those_of_pytorch(
    head_dim: int, theta: float, factor: float, length: int, tmp_path: Path
) -> None:
    frequencies = write_graph(tmp_path / "graph.onnx", head_dim, theta, factor, length)
    assert (tmp_path / "graph.onnx").stat().st_size < 4 * frequencies.numel() + 2000
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    session = ort.InferenceSession(tmp_path / "graph.onnx", options, providers=["CPUExecutionProvider"])
    cos, sin = session.run(["cos", "sin"], {"ids": np.arange(length)})
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    np.testing.assert_allclose(cos, angles.cos().numpy() * factor, atol=3e-7, rtol=0)
    np.testing.assert_allclose(sin, angles.sin().numpy() * factor, atol=3e-7, rtol=0)
    left = {node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node}
    assert left <= {"Gather", "Identity"}, "the tables would be computed anew for every token"
