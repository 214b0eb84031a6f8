"""The safetensors reader against the reference package, and against damaged files; knows nothing about adapters."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.safetensors import map_safetensors, read_safetensors, write_safetensors

TENSORS = {
    "f32": np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32),
    "f16": np.arange(7, dtype=np.float16),
    "i64": np.array([[1], [-(2**40)]]),
    "scalar": np.array(2.5, np.float64),
    "empty": np.zeros((0, 4), np.float32),
    "bool": np.array([True, False]),
    "ünïcode": np.arange(3, dtype=np.uint8),
}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array)


def test_reads_what_the_package_writes_and_the_other_way_round(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "theirs", metadata={"format": "pt"})
    assert_same(read_safetensors(tmp_path / "theirs"), TENSORS)
    write_safetensors(tmp_path / "ours", {name: array.T.copy().T for name, array in TENSORS.items()})
    assert_same(load_file(tmp_path / "ours"), TENSORS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]


def test_bfloat16_comes_back_exact_as_float32(tmp_path: Path) -> None:
    values = torch.randn(4, 3).to(torch.bfloat16)
    save_torch({"x": values}, tmp_path / "x")
    assert np.array_equal(read_safetensors(tmp_path / "x")["x"], values.float().numpy())


def test_mapped_views_are_read_only_and_outlive_a_replaced_file(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_safetensors(tmp_path / "x", {"x": values})
    view = map_safetensors(tmp_path / "x")["x"]
    copy = read_safetensors(tmp_path / "x")["x"]
    write_safetensors(tmp_path / "x", {"x": -values})
    assert np.array_equal(view, values)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1
    copy[0, 0] = 1  # a copy is the reader's own


def test_headers_that_leave_the_data_unaligned_are_read(tmp_path: Path) -> None:
    values = np.arange(2, dtype=np.float32)
    for blanks in range(8):
        text = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode() + b" " * blanks
        (tmp_path / "x").write_bytes(len(text).to_bytes(8, "little") + text + values.tobytes())
        assert np.array_equal(read_safetensors(tmp_path / "x")["x"], values)
        assert np.array_equal(map_safetensors(tmp_path / "x")["x"], values)


def with_header(header: object, body: bytes = b"\0" * 8) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated: 0 bytes"),
        (b"\xff" * 20, "header of"),
        ((5).to_bytes(8, "little") + b"{nope", "not JSON"),
        (with_header([1]), "the header begins with"),
        (with_header({"x": 1}), "'x': expected dtype"),
        (with_header({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 16]}}), "expected 8 bytes"),
        (with_header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}), "'x': bytes 0 to 16 of 8"),
        (with_header({"x": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}), "not a list of whole numbers"),
        (with_header({"x": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}), "dtype is "),
        (with_header({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 12), "end at byte 8 of 12"),
        (with_header({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}), "expected to begin at 0"),
        (with_header({"x": {"dtype": "F32", "shape": [0, 10**30], "data_offsets": [0, 0]}}, b""), "beyond what"),
        (with_header({"x": {"dtype": "F32", "shape": [10**6] * 7, "data_offsets": [0, 8]}}), "beyond what"),
        (with_header({"x": {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}}, b"\0" * 4), "beyond what"),
        (
            with_header({"x": {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}}),
            "not a list of whole numbers",
        ),
        (with_header({"x\n": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}), "no name of a tensor"),
        (with_header({"__metadata__": {"a": 1}}, b""), "expected an object of texts"),
        (
            with_header({f"x{n}": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in range(6)}),
            "begin at 8",
        ),
        (with_header({"x": {"dtype": "F4", "shape": [2], "data_offsets": [0, 8]}}), "dtype is 'F4'"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_safetensors(tmp_path / "x")


def test_missing_file_and_unknown_dtype(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        read_safetensors(tmp_path / "x")
    with pytest.raises(ArtifactError, match="x is complex64"):
        write_safetensors(tmp_path / "x", {"x": np.zeros(2, np.complex64)})
    assert list(tmp_path.iterdir()) == []
