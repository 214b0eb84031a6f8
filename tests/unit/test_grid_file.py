"""A grid comes back from its file exactly, over its own base alone, and never from a damaged file."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from edgelora.errors import ArtifactError, ConfigError
from edgelora.grid.file import check_is_grid, read_grid, write_grid
from edgelora.grid.make import Grid, GridSpec, parse_quant, plan_grid
from edgelora.values import QuantSpec
from tests.parity.architectures import TorchCheckpoint

Q, DOWN, FUSED = (
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.mlp.down_proj.weight",
    "transformer.h.0.attn.c_attn.weight",
)
MIXED = GridSpec("int2", QuantSpec(2, 32, False), overrides={Q: QuantSpec(8), DOWN: QuantSpec(4, 16, False)})


def base(seed: int = 0, hidden: int = 64) -> TorchCheckpoint:
    rng = np.random.default_rng(seed)
    shapes = {
        "model.embed_tokens.weight": (20, hidden),
        Q: (16, hidden),
        DOWN: (hidden, 80),  # the last block of 32 is not full
        "model.layers.0.mlp.up_proj.weight": (80, hidden),
        FUSED: (hidden, 48),  # (in_features, out_features)
        "model.norm.weight": (hidden,),
    }
    return TorchCheckpoint(
        "c", {}, {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    )


def same(first: Grid, second: Grid) -> None:
    assert first.fingerprint == second.fingerprint
    assert first.base_fingerprint == second.base_fingerprint
    assert first.record() == second.record()
    assert first.errors == second.errors
    assert first.specs == second.specs
    for name in first.checkpoint.names():
        assert (first.value(name) == second.value(name)).all(), name


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_grid(tmp_path / "grid", plan_grid(base(), MIXED))
    return tmp_path / "grid"


def change_header(path: Path, **fields: str) -> None:
    with safe_open(path, framework="np") as file:
        header = dict(file.metadata())
    save_file(load_file(path), path, header | fields)


@pytest.mark.parametrize("plan", [MIXED, parse_quant("int4"), parse_quant("int8", 16, False)], ids=["mixed", "4", "8"])
def test_a_grid_comes_back_exactly(plan: GridSpec, tmp_path: Path) -> None:
    grid = plan_grid(base(), plan)
    write_grid(tmp_path / "grid", grid)
    back = read_grid(tmp_path / "grid", base())
    same(back, grid)
    assert back.checkpoint.packed(Q) is None  # the base itself, not the reader's view of it
    assert [path.name for path in tmp_path.iterdir()] == ["grid"]


def test_a_calibrated_grid_keeps_its_method_and_calibration(tmp_path: Path) -> None:
    made = plan_grid(base(), MIXED)
    grid = Grid(
        made.checkpoint,
        GridSpec("int2", MIXED.spec, method="gptq", overrides=MIXED.overrides),
        made.matrices,
        made.errors,
        made.base_fingerprint,
        made.fingerprint,
        calibration="ab" * 32,
    )
    write_grid(tmp_path / "grid", grid)
    same(read_grid(tmp_path / "grid", base()), grid)


def test_scales_take_two_bytes_and_no_bit_is_lost(written: Path, tmp_path: Path) -> None:
    assert {str(array.dtype) for name, array in load_file(written).items() if name.endswith(".scales")} == {"bfloat16"}
    grid = plan_grid(base(), MIXED)
    halves = {  # GGUF's own scales are float16, and no bfloat16 as a rule
        name: dataclasses.replace(matrix, scales=np.float32(np.float16(0.1)) * np.sign(matrix.scales))
        for name, matrix in grid.matrices.items()
    }
    own = TorchCheckpoint("c", {}, base().tensors)
    object.__setattr__(own, "packed", halves.get)
    kept = plan_grid(own, MIXED)
    write_grid(tmp_path / "halves", kept)
    assert {str(a.dtype) for n, a in load_file(tmp_path / "halves").items() if n.endswith(".scales")} == {"float16"}
    same(read_grid(tmp_path / "halves", base()), kept)
    assert kept.errors == {}


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (base(seed=1), "is a grid of another base (c) than c: its weights are"),
        (base(hidden=96), "it belongs to another base or is damaged"),
        (TorchCheckpoint("d", {}, {"model.norm.weight": np.ones(4, np.float32)}), "than d: there is no tensor"),
    ],
)
def test_another_base_is_refused(written: Path, other: TorchCheckpoint, line: str) -> None:
    with pytest.raises((ConfigError, ArtifactError)) as told:
        read_grid(written, other)
    assert line in str(told.value)


def test_a_base_that_differs_in_a_norm_alone_is_refused(written: Path) -> None:
    other = base()
    other.tensors["model.norm.weight"][3] += 1
    with pytest.raises(ConfigError, match="another base"):
        read_grid(written, other)


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(written: Path, keep: float) -> None:
    content = written.read_bytes()
    written.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ArtifactError, match="truncated or no safetensors file"):
        read_grid(written, base())


@pytest.mark.parametrize("part", ["codes", "scales", "zero_points"])
def test_an_altered_file_is_refused(written: Path, part: str) -> None:
    with safe_open(written, framework="np") as file:
        header = dict(file.metadata())
    tensors = load_file(written)
    raw = tensors[f"{DOWN}.{part}"].view(np.uint16 if part == "scales" else np.uint8)
    raw.reshape(-1)[7] ^= 1
    save_file(tensors, written, header)
    with pytest.raises(ArtifactError, match="was altered"):
        read_grid(written, base())


def test_missing_and_misshapen_tensors_are_named(written: Path) -> None:
    with safe_open(written, framework="np") as file:
        header = dict(file.metadata())
    tensors = load_file(written)
    del tensors[f"{DOWN}.zero_points"]
    save_file(tensors, written, header)
    with pytest.raises(ArtifactError, match=rf"{DOWN}\.zero_points is missing, c needs \[64, 3\]"):
        read_grid(written, base())


def test_other_versions_and_other_files_are_refused(written: Path, tmp_path: Path) -> None:
    change_header(written, format_version="2")
    with pytest.raises(ArtifactError, match="format version '2', this edgelora reads 1"):
        read_grid(written, base())
    assert check_is_grid(written)["format_version"] == "2"  # one that --overwrite may replace
    save_file({"x": np.zeros(2, np.float32)}, tmp_path / "plain")
    with pytest.raises(ArtifactError, match="no grid file"):
        read_grid(tmp_path / "plain", base())
    with pytest.raises(ArtifactError, match="is not a file"):
        read_grid(tmp_path / "nowhere", base())


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ("{", "is not JSON"),
        ("[]", "is list, expected an object"),
        ("{}", "needs the texts label"),
        ({"errors": 1}, "no object of numbers"),
        ({"spec": {"bits": 3}}, "does not say how tensors are quantized (bits is 3"),
        ({"tensors": None}, "does not say how tensors are quantized"),
        ({"tensors": {}}, "was altered"),
        ({"overrides": {}}, "was altered"),
    ],
)
def test_a_damaged_record_is_refused(written: Path, record: str | dict[str, object], line: str) -> None:
    with safe_open(written, framework="np") as file:
        found = json.loads(file.metadata()["grid"])
    change_header(written, grid=record if isinstance(record, str) else json.dumps(found | record))
    with pytest.raises(ArtifactError) as told:
        read_grid(written, base())
    assert line in str(told.value)


def test_float_grids_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keeps floats"):
        write_grid(tmp_path / "grid", plan_grid(base(), parse_quant("fp16")))
    assert not list(tmp_path.iterdir())
