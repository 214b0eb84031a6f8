"""``edgelora quantize`` as it is typed, and its file in ``train`` and ``export``: one grid in all three."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.grid.file import read_grid
from edgelora.torch_model.choose_grid import GridChoice, grid_maker, read_sequences
from edgelora.torch_model.sensitivity import open_sensitivity
from tests.tiny import write_adapter, write_checkpoint

MIXED = ("--quant", "int2", "--budget-bits", "3.2")
TRAIN = ("--max-steps", "2", "--batch-size", "2", "--rank", "2", "--save-every", "0")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("quantize") / "base")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    texts = [f"number {index} of {index * index}" for index in range(6)]
    path.write_text("".join(json.dumps({"prompt": text, "completion": text[::-1]}) + "\n" for text in texts))
    return path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command that succeeds; its JSON."""

    def run(*arguments: object) -> Any:
        code = main([*map(str, arguments), "--json"])
        said = capsys.readouterr()
        assert code == 0, said.err
        return json.loads(said.out)

    return run


def test_one_file_gives_one_grid_to_train_and_export(base: Path, rows: Path, tmp_path: Path, call: Any) -> None:
    file = tmp_path / "made" / "tiny.safetensors"
    said = call("quantize", base, "-o", file, *MIXED, "--calibration", rows)
    call("train", base, rows, "-o", tmp_path / "adapter", "--quant", file, *TRAIN)
    receipt = json.loads((tmp_path / "adapter" / "receipt.json").read_text())
    call("export", base, "-o", tmp_path / "a", "--quant", file, "--adapter", f"x={tmp_path / 'adapter'}")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert said["fingerprint"] == receipt["base"]["grid"] == manifest["base"]["grid"]
    assert said["base"] == receipt["base"]["fingerprint"] == manifest["base"]["fingerprint"]
    overrides = receipt["quantization"]["overrides"]
    assert overrides and overrides == manifest["quantization"]["overrides"]
    assert main(["verify", str(tmp_path / "a")]) == 0


def test_quantize_reports_what_it_wrote(base: Path, tmp_path: Path, call: Any) -> None:
    file = tmp_path / "grid"
    said = call("quantize", base, "-o", file, *MIXED)
    grid = read_grid(file, open_checkpoint(str(base)))
    assert said["fingerprint"] == grid.fingerprint
    assert said["bytes"] == file.stat().st_size
    assert said["tensors_per_bits"] == {str(k): v for k, v in Counter(s.bits for s in grid.specs.values()).items()}
    assert said["bits_per_weight"] == dict(grid.bits_by_kind())
    assert said["bits_per_weight"]["linears"] == pytest.approx(said["budget"]["reached"], abs=1e-3)
    assert said["budget"]["reached"] <= 3.2
    assert 0 < said["mean_relative_error"] <= said["worst_relative_error"] < 1
    assert said["worst_tensor"] in grid.specs
    assert sum(len(item["tensors"]) for item in said["budget"]["choices"]) == 14
    assert main(["quantize", str(base), "-o", str(file), *MIXED, "--overwrite"]) == 0


def test_people_are_told_what_was_widened(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", str(base), "-o", str(tmp_path / "grid"), *MIXED]) == 0
    said = capsys.readouterr().out
    assert "int2 by rtn; bits per weight: linears 3." in said
    assert "of 3.2 bits for a linear weight" in said
    assert "  4 bits: model.layers." in said


@pytest.mark.parametrize("megabytes", [0.11, 0.13])
def test_the_weights_of_an_export_fit_the_budget_in_megabytes(
    base: Path, tmp_path: Path, call: Any, megabytes: float
) -> None:
    out = tmp_path / "a"
    call("export", base, "-o", out, "--quant", "int2", "--budget-mb", megabytes)
    manifest = json.loads((out / "manifest.json").read_text())
    assert 0.7 * megabytes * 1e6 < (out / "weights.bin").stat().st_size <= megabytes * 1e6
    assert manifest["quantization"]["overrides"]


@pytest.mark.parametrize("options", [(), ("--quant-method", "gptq"), ("--symmetric",), ("--embedding-bits", "4")])
def test_equal_options_give_one_grid_to_train_quantize_and_export(
    base: Path, rows: Path, tmp_path: Path, call: Any, options: tuple[str, ...]
) -> None:
    """Whatever the default is and whatever it is calibrated on, an adapter meets the grid that it was trained on."""
    said = call("quantize", base, "-o", tmp_path / "grid", *options)
    assert len(said["calibration"]) == 64
    call("train", base, rows, "-o", tmp_path / "adapter", *options, *TRAIN)
    receipt = json.loads((tmp_path / "adapter" / "receipt.json").read_text())
    assert receipt["base"]["grid"] == said["fingerprint"]
    assert receipt["quantization"]["calibration"] == said["calibration"]
    call("export", base, "-o", tmp_path / "a", *options, "--adapter", f"x={tmp_path / 'adapter'}")
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["base"]["grid"] == said["fingerprint"]
    with_cache = ("--kv-cache", "int8", "--calibration", rows)
    if "gptq" not in options:  # rows of the cache are none of the grid's
        call("export", base, "-o", tmp_path / "b", *options, *with_cache, "--adapter", f"x={tmp_path / 'adapter'}")


def test_rows_of_the_user_calibrate_gptq_where_they_are_named(
    base: Path, rows: Path, tmp_path: Path, call: Any
) -> None:
    named = ("--quant-method", "gptq", "--calibration", rows)
    said, built_in = (
        call("quantize", base, "-o", tmp_path / str(index), "--quant-method", "gptq", *more)
        for index, more in enumerate((named[2:], ()))
    )
    assert said["calibration"] != built_in["calibration"]
    call("train", base, rows, "-o", tmp_path / "adapter", *named, *TRAIN)
    receipt = json.loads((tmp_path / "adapter" / "receipt.json").read_text())
    assert receipt["base"]["grid"] == said["fingerprint"]


def test_a_receipt_is_enough_to_make_the_default_grid_again(base: Path, rows: Path, tmp_path: Path, call: Any) -> None:
    call("train", base, rows, "-o", tmp_path / "adapter", *TRAIN)
    first = json.loads((tmp_path / "adapter" / "receipt.json").read_text())
    (tmp_path / "adapter" / "receipt.md").unlink()
    call("adapter", "receipt", base, tmp_path / "adapter")
    again = json.loads((tmp_path / "adapter" / "receipt.json").read_text())
    assert again["base"] == first["base"]


def test_a_merged_base_can_be_calibrated_too(base: Path, rows: Path, tmp_path: Path, call: Any) -> None:
    adapter = write_adapter(tmp_path / "adapter", size=0.5)
    said = call("export", base, "-o", tmp_path / "a", "--merge", adapter, *MIXED, "--calibration", rows)
    assert said["slots"] == 0
    assert said["quantization"]["overrides"]


def test_equal_choices_give_equal_grids(base: Path, rows: Path) -> None:
    choice = GridChoice("int2", budget_bits=3.2, calibration=rows)
    first, second = (grid_maker(choice)(open_checkpoint(str(base))) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    other = grid_maker(GridChoice("int2", budget_bits=3.6, calibration=rows))(open_checkpoint(str(base)))
    assert other.fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("command", "options", "line"),
    [
        ("quantize", ["--quant", "int3"], "--quant is 'int3'; choose one of none, fp16"),
        ("quantize", ["--quant", "none"], "--quant none keeps floats and has no codes to write"),
        ("quantize", ["--quant", "nowhere.safetensors"], "nowhere.safetensors is a grid file already"),
        ("quantize", ["--quant-method", "magic"], "--quant-method is 'magic'; choose one of rtn, ranges, gptq"),
        ("quantize", ["--calibration", "nowhere.jsonl"], "--calibration changes nothing here"),
        ("quantize", ["--budget-bits", "5", "--calibration", "nowhere.jsonl"], "nowhere.jsonl is not a file"),
        ("quantize", ["--budget-bits", "5", "--budget-mb", "5"], "not both"),
        ("quantize", ["--budget-bits", "4"], "takes at least 4.5 bits for a linear weight with --quant int4"),
        ("quantize", ["--quant", "int2", "--budget-mb", "0.01"], "--budget-mb is 0.01, but base takes at least 0."),
        ("export", ["--quant", "fp16", "--budget-mb", "5"], "chooses bits, but --quant fp16 keeps floats"),
        ("export", ["--target", "web-wasm", "--budget-mb", "5"], "--target web-wasm stores every linear in 8 bits"),
        (
            "export",
            ["--target", "web-wasm", "--budget-bits", "5"],
            "leave out --budget-mb and --budget-bits, or choose",
        ),
        ("export", ["--quant", "nowhere.safetensors"], "nowhere.safetensors is not a file; expected a grid file"),
        ("export", ["--quant", "x.safetensors", "--block-size", "16"], "is a grid file and decides --block-size"),
    ],
)
def test_bad_options_end_in_one_line(
    base: Path, command: str, options: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(base), "-o", str(tmp_path / "out"), *options]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, said
    assert line in said[0]
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = tmp_path / "notes.txt"
    plain.write_text("mine")
    for target, options, line in (
        (plain, [], "exists; choose another name, or replace it with --overwrite"),
        (plain, ["--overwrite"], "no safetensors file"),
        (tmp_path, ["--overwrite"], "is a folder; choose a file name"),
    ):
        assert main(["quantize", str(base), "-o", str(target), *options]) == 2
        assert line in capsys.readouterr().err
    assert plain.read_text() == "mine"


def test_a_grid_file_belongs_to_its_base(
    base: Path, tmp_path: Path, call: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "grid"
    call("quantize", base, "-o", file)
    other = write_checkpoint(tmp_path / "other", seed=5)
    assert main(["export", str(other), "-o", str(tmp_path / "a"), "--quant", str(file)]) == 2
    assert "is a grid of another base (base) than other" in capsys.readouterr().err
    merge = ["--merge", str(write_adapter(tmp_path / "adapter"))]
    assert main(["export", str(base), "-o", str(tmp_path / "a"), "--quant", str(file), *merge]) == 2
    assert "holds the codes of the base, which --merge changes" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_sensitivity_is_the_divergence_of_the_answers(base: Path, rows: Path) -> None:
    checkpoint = open_checkpoint(str(base))
    measure = open_sensitivity(checkpoint, read_sequences(checkpoint, rows))
    name = "model.layers.0.mlp.down_proj.weight"
    weight = checkpoint.read(name)
    assert measure({name: weight}) == 0.0
    small, large = (measure({name: weight * np.float32(factor)}) for factor in (1.01, 1.5))
    assert 0 < small < large
    assert measure({name: weight}) == 0.0  # the model is put back as it was


def test_the_embedding_may_have_more_bits_than_the_linears(base: Path, tmp_path: Path, call: Any, capsys: Any) -> None:
    file = tmp_path / "wide.safetensors"
    said = call("quantize", base, "-o", file, "--quant", "int4", "--embedding-bits", "8")
    assert said["bits_per_weight"]["embedding"] == 8.5
    assert said["bits_per_weight"]["linears"] == pytest.approx(4.63, abs=0.01)
    call("export", base, "-o", tmp_path / "a", "--quant", file, "--accuracy-level", "0")
    assert main(["verify", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    for wrong, expected in (
        (("--quant", "int4", "--embedding-bits", "2"), "--embedding-bits is 2 with --quant int4; give 4 or 8"),
        (("--quant", "fp16", "--embedding-bits", "8"), "fp16"),
        (("--embedding-bits", "8", "--budget-mb", "9"), "--budget-mb decides the bits of the embedding too"),
    ):
        assert main(["quantize", str(base), "-o", str(tmp_path / "no.safetensors"), *wrong]) == 2
        assert expected in capsys.readouterr().err
    assert not (tmp_path / "no.safetensors").exists()
