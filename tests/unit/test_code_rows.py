"""Factors stored as codes: the same numbers as their products, a quarter of the bytes, and bad rows refused by name."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgelora.adapter.narrow import narrow, narrow_file
from edgelora.adapter.plain import read_plain, write_plain
from edgelora_runtime.adapter import WEIGHTS_FILE, read_adapter
from edgelora_runtime.code_rows import join_rows
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
from tests.tiny import write_adapter

A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize("rank", [1, 5, 64])
def test_a_file_of_codes_gives_the_rounded_factors(rank: int, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", rank=rank)
    before = (folder / WEIGHTS_FILE).stat().st_size
    expected = narrow(read_adapter(folder), "int8")
    narrow_file(folder / WEIGHTS_FILE, "int8")
    found = read_adapter(folder)
    assert found.factors.keys() == expected.factors.keys()
    for module, item in expected.factors.items():
        np.testing.assert_array_equal(found.factors[module].a, item.a)
        np.testing.assert_array_equal(found.factors[module].b, item.b)
    numbers = sum(item.a.size + item.b.size for item in expected.factors.values())
    assert (folder / WEIGHTS_FILE).stat().st_size < before - 2.5 * numbers
    assert {str(value.dtype) for value in read_safetensors(folder / WEIGHTS_FILE).values()} == {"int8"}


def test_codes_stay_as_they_are_when_they_are_rounded_again_and_become_halves(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", rank=3)
    narrow_file(folder / WEIGHTS_FILE, "int8")
    once = (folder / WEIGHTS_FILE).read_bytes()
    narrow_file(folder / WEIGHTS_FILE, "int8")
    assert (folder / WEIGHTS_FILE).read_bytes() == once
    expected = read_adapter(folder)
    write_plain(tmp_path / "plain", read_plain(folder))
    assert {str(value.dtype) for value in read_safetensors(tmp_path / "plain" / WEIGHTS_FILE).values()} == {"float16"}
    found = read_adapter(tmp_path / "plain")
    for module, item in expected.factors.items():
        np.testing.assert_array_equal(found.factors[module].delta(), item.delta())


def change(folder: Path, tensor: npt.NDArray[np.int8]) -> None:
    write_safetensors(folder / WEIGHTS_FILE, {**read_safetensors(folder / WEIGHTS_FILE), A: tensor})


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(scale: float, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", rank=2)
    change(folder, join_rows(np.ones((2, 64), np.int8), np.array([1, scale], np.float32)))
    with pytest.raises(AdapterError, match=f"cannot be used: {A} has a scale that is no number above 0; expected"):
        read_adapter(folder)


def test_a_code_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", rank=2)
    change(folder, join_rows(np.full((2, 64), -128, np.int8), np.ones(2, np.float32)))
    with pytest.raises(AdapterError, match=f"{A} has the code -128, expected -127 to 127"):
        read_adapter(folder)


@pytest.mark.parametrize("shape", [(2, 68), (2, 68, 2), (2, 4, 1), (1, 2, 68, 1)])
def test_bytes_of_another_shape_are_no_factor(shape: tuple[int, ...], tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", rank=2)
    change(folder, np.ones(shape, np.int8))
    with pytest.raises(AdapterError, match=r"is int8 \(.*\), expected two dimensions of floats"):
        read_adapter(folder)
