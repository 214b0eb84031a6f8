"""Factors that adapters share, read by the native runtime as Python reads them, and refused in the same words."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.safetensors import Stored, map_stored, read_safetensors, write_safetensors, write_stored
from tests.native.asking import Readers
from tests.native.test_adapter_folders import WEIGHTS, both
from tests.test_refuse import FOLDER

SHARED = FOLDER / "tiny-shared"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    artifact = Path(shutil.copytree(SHARED, tmp_path / "inside"))
    return artifact / "adapters/twin"


def shared_file(folder: Path) -> Path:
    (info,) = (info for info in read_manifest(folder.parents[1]).adapters if info.name == folder.name)
    return folder.parent / f"{info.shared}.safetensors"


def refer(sha256: str | None, key: str) -> Callable[[Path], object]:
    """Let one factor stand for another tensor, or for one of another file."""

    def change(folder: Path) -> None:
        tensors = {name: Stored(item.dtype, item.shape, bytes(item.data)) for name, item in stored(folder).items()}
        name = next(name for name, item in tensors.items() if item.dtype == "U8")
        digits = tensors[name].data[:32].hex() if sha256 is None else sha256
        tensors[name] = Stored("U8", (64,), bytes.fromhex(digits + key))
        write_stored(folder / WEIGHTS, tensors)

    return change


def stored(folder: Path) -> dict[str, Stored]:
    return map_stored(folder / WEIGHTS)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: shared_file(folder).unlink(), ", which is missing; copy the whole artifact, or take"),
    "another": (
        lambda folder: shared_file(folder).write_bytes(shared_file(folder).read_bytes()[:-1] + b"x"),
        ", which has sha256 ",
    ),
    "empty": (lambda folder: shared_file(folder).write_bytes(b""), ", which has sha256 e3b0c44298fc; copy or export"),
    "no such tensor": (refer(None, "ab" * 32), ".safetensors, which holds no tensor abababababab; copy or export"),
    "no such file": (refer("cd" * 32, "ab" * 32), f"../{'cd' * 32}.safetensors, which is missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_shared_file_that_is_not_what_it_was_is_refused_in_the_same_words(
    readers: Readers, folder: Path, name: str
) -> None:
    change, line = REFUSED[name]
    change(folder)
    told = both(readers, folder, SHARED)["message"]
    assert line in told
    assert "\n" not in told


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_shared_factors_of_any_type_are_read_alike(readers: Readers, folder: Path, dtype: type) -> None:
    from edgelora.artifact.sharing import share_factors

    plain = folder.parent / "plain"
    shutil.copytree(FOLDER / "tiny-float/adapters/four", plain)
    tensors = {name: value.astype(dtype) for name, value in read_safetensors(plain / WEIGHTS).items()}
    write_safetensors(plain / WEIGHTS, tensors)
    expected = both(readers, plain, SHARED)
    assert share_factors(plain, "a", plain.parent, 1) is not None
    assert both(readers, plain, SHARED) == expected
    assert both(readers, Path(f"{plain}/"), SHARED) == expected


def test_a_hash_of_64_bytes_that_is_no_factor_is_refused(readers: Readers, folder: Path) -> None:
    """A tensor of a shared file is a tensor, and stands for no other one."""
    from edgelora.artifact.sharing import share_factors

    tensors = read_safetensors(FOLDER / "tiny-float/adapters/four" / WEIGHTS)
    name = next(name for name in tensors if ".lora_A." in name)
    write_safetensors(folder / WEIGHTS, {**tensors, name: np.arange(64, dtype=np.uint8)})
    sha256 = share_factors(folder, "a", folder.parent, 1)
    assert sha256 is not None
    found = readers.ask("adapter", folder=folder, artifact=SHARED)
    assert "expected two dimensions of floats" in found["message"]
