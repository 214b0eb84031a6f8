"""Factors that lie in a file as codes of 8 bits are to the native runtime what they are as floats, bit for bit."""

import json
import shutil
from ctypes import c_int32
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.safetensors import write_safetensors
from tests.native.asking import Readers
from tests.native.interface import Library
from tests.native.test_adapter_folders import CONFIG, TINY, WEIGHTS, change_config
from tests.test_refuse import FOLDER

Tensors = dict[str, npt.NDArray[Any]]
MODULE = "model.layers.0.mlp.up_proj"
A, B = (f"base_model.model.{MODULE}.lora_{side}.weight" for side in "AB")


def draw(rank: int, n: int, seed: int) -> npt.NDArray[np.int8]:
    """Any codes with any scales (rank, n + 4, 1), the ends of codes among them; the last scale has the byte 128."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(-127, 128, (rank, n), np.int8)
    codes[0, 0], codes[-1, -1] = -127, 127
    scales = rng.uniform(1e-4, 1e-2, rank).astype("<f4")
    scales[0], scales[-1] = 1e-40, 2**-8
    return np.concatenate([codes, scales.view(np.int8).reshape(rank, 4)], axis=1)[:, :, None]


def widened(key: str, rows: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    scales = np.ascontiguousarray(rows[:, -4:, 0]).view("<f4")
    values = rows[:, :-4, 0].astype(np.float32) * scales
    return np.ascontiguousarray(values if "lora_A" in key else values.T)


def write(folder: Path, tensors: Tensors, **fields: Any) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    shutil.copy(TINY / "adapters/four" / CONFIG, folder / CONFIG)
    change_config(folder, **fields)
    write_safetensors(folder / WEIGHTS, tensors)
    return folder


def pair(folder: Path, tensors: Tensors, **fields: Any) -> tuple[Path, Path]:
    """A folder with these codes, and one with their numbers written out."""
    floats = {key: widened(key, rows) for key, rows in tensors.items()}
    return write(folder / "codes", tensors, **fields), write(folder / "floats", floats, **fields)


def codes_for(artifact: Path, rank: int, ending: str = ".weight") -> Tensors:
    tensors: Tensors = {}
    for slot in read_manifest(artifact).slots:
        for part in slot.parts:
            for side, n in (("A", slot.in_features), ("B", part.out_features)):
                key = f"base_model.model.{part.module}.lora_{side}{ending}"
                tensors[key] = draw(rank, n, len(tensors))
    return tensors


@pytest.mark.parametrize("ending", [".weight", ".default.weight"])
@pytest.mark.parametrize("rank", [1, 5])
@pytest.mark.parametrize("artifact", ["tiny-float", "tiny-int4"])
def test_an_adapter_answers_as_with_its_numbers_written_out(
    library: Library, tmp_path: Path, artifact: str, rank: int, ending: str
) -> None:
    model = library.load(FOLDER / artifact)
    folders = pair(tmp_path, codes_for(FOLDER / artifact, rank, ending), r=rank)
    prompt = list(range(3, 12))
    answers = []
    for folder in folders:
        library.call("load_adapter", model.handle, folder.name.encode(), str(folder).encode(), c_int32(0))
        answers.append(model.logits(prompt, folder.name, [4, 8]))
    assert answers[0] == answers[1] != model.logits(prompt, "none", [4, 8])


def odd_artifact(folder: Path, in_features: int, out_features: int) -> Path:
    """A copy whose manifest has one slot, of widths that no model has."""
    artifact = Path(shutil.copytree(TINY, folder))
    manifest = json.loads((artifact / "manifest.json").read_text())
    slot = {"a": "a", "b": "b", "name": MODULE, "in_features": in_features, "out_features": out_features}
    manifest["slots"] = [slot | {"parts": [{"module": MODULE, "offset": 0, "out_features": out_features}]}]
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    return artifact


@pytest.mark.parametrize(("in_features", "out_features"), [(1, 1), (7, 1), (1, 13), (33, 65)])
@pytest.mark.parametrize("rank", [1, 5])
def test_factors_of_odd_widths_are_the_same_numbers(
    readers: Readers, tmp_path: Path, rank: int, in_features: int, out_features: int
) -> None:
    artifact = odd_artifact(tmp_path / "inside", in_features, out_features)
    tensors = {A: draw(rank, in_features, 0), B: draw(rank, out_features, 2)}
    codes, floats = pair(tmp_path, tensors, r=rank, target_modules=["up_proj"])
    found = readers.ask("adapter", folder=codes, artifact=artifact)
    assert found["value"]["factors"][MODULE][0] == rank
    assert found == readers.ask("adapter", folder=floats, artifact=artifact)


@pytest.mark.parametrize("side", ["a", "b"])
def test_codes_lie_in_a_shared_file_too(readers: Readers, tmp_path: Path, side: str) -> None:
    from edgelora.artifact.sharing import share_factors

    tensors = codes_for(TINY, 5)
    same = {n: draw(5, n, n) for n in {rows.shape[1] - 4 for rows in tensors.values()}}  # one for all of a width
    codes, floats = pair(tmp_path, {key: same[rows.shape[1] - 4] for key, rows in tensors.items()}, r=5)
    assert share_factors(codes, side, codes.parent, 1) is not None
    found = readers.ask("adapter", folder=codes, artifact=TINY)
    assert "value" in found
    assert found == readers.ask("adapter", folder=floats, artifact=TINY)


def test_codes_beside_equal_floats_are_there_twice(readers: Readers, tmp_path: Path) -> None:
    tensors = codes_for(TINY, 5)
    folder = write(
        tmp_path / "codes", {**tensors, A.replace(".weight", ".default.weight"): widened(A, tensors[A])}, r=5
    )
    notes = readers.ask("adapter", folder=folder, artifact=TINY)["value"]["notes"]
    assert notes == [f"{MODULE} has lora_A twice, under two names"]


def refusal(readers: Readers, folder: Path, changed: Tensors) -> str:
    write(folder, {**codes_for(TINY, 5), **changed}, r=5)
    found = readers.ask("adapter", folder=folder, artifact=TINY)
    assert found["code"] == 3
    told: str = found["message"]
    beginning, end = f"{folder} cannot be used: ", "; expected plain LoRA"
    assert told.startswith(beginning) and end in told
    return told[len(beginning) : told.index(end)]


def with_scale(rows: npt.NDArray[np.int8], scale: float) -> npt.NDArray[np.int8]:
    changed = rows.copy()
    changed[-1, -4:, 0] = np.array([scale], "<f4").view(np.int8)
    return changed


def with_code(rows: npt.NDArray[np.int8], row: int, column: int) -> npt.NDArray[np.int8]:
    changed = rows.copy()
    changed[row, column, 0] = -128
    return changed


@pytest.mark.parametrize("scale", [0.0, -0.0, -1.0, -1e-40, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("key", [A, B])
def test_a_scale_that_is_no_number_above_0_is_refused(readers: Readers, tmp_path: Path, key: str, scale: float) -> None:
    changed = {key: with_scale(codes_for(TINY, 5)[key], scale)}
    assert refusal(readers, tmp_path / "x", changed) == f"{key} has a scale that is no number above 0"


@pytest.mark.parametrize(("row", "column"), [(0, 0), (4, 31)])
@pytest.mark.parametrize("key", [A, B])
def test_the_code_that_has_no_counterpart_is_refused(
    readers: Readers, tmp_path: Path, key: str, row: int, column: int
) -> None:
    changed = {key: with_code(codes_for(TINY, 5)[key], row, column)}
    assert refusal(readers, tmp_path / "x", changed) == f"{key} has the code -128, expected -127 to 127"


def test_products_beyond_float32_are_refused_as_such_floats_are(readers: Readers, tmp_path: Path) -> None:
    changed = {A: with_scale(codes_for(TINY, 5)[A], 3e38)}
    assert refusal(readers, tmp_path / "x", changed).startswith(f"{A} holds numbers that are not finite")


def test_all_that_is_wrong_is_told_together(readers: Readers, tmp_path: Path) -> None:
    rows = codes_for(TINY, 5)
    changed: Tensors = {A: with_scale(rows[A], 0), B: with_code(rows[B], 1, 1), "other": np.ones(1, np.float32)}
    assert refusal(readers, tmp_path / "x", changed) == "; ".join(
        [
            f"{A} has a scale that is no number above 0",
            f"{B} has the code -128, expected -127 to 127",
            "other is no LoRA factor",
        ]
    )


@pytest.mark.parametrize(
    "shape", [(5, 36), (5, 36, 2), (5, 36, 0), (5, 4, 1), (5, 3, 1), (5, 0, 1), (0, 36, 1), (180,)]
)
def test_whole_numbers_of_any_other_shape_are_no_codes(
    readers: Readers, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    told = refusal(readers, tmp_path / "x", {A: np.ones(shape, np.int8)})
    assert told.startswith(f"{A} is I8 ({', '.join(map(str, shape))}), expected two dimensions of floats")


def test_codes_of_other_tensors_are_no_codes(readers: Readers, tmp_path: Path) -> None:
    gain = A.replace("lora_A", "lora_gain")
    assert refusal(readers, tmp_path / "x", {gain: draw(5, 32, 0)}) == f"{gain} is no LoRA factor"
    unsigned = {A: draw(5, 32, 0).view(np.uint8)}
    assert refusal(readers, tmp_path / "x", unsigned).startswith(f"{A} is U8 (5, 36, 1), expected two dimensions")
