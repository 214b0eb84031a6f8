"""``--config FILE``: a run repeats itself from the file beside its adapter; a file that cannot serve is one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from edgelora.cli import main
from edgelora.grid.file import check_is_grid
from edgelora_runtime.manifest import read_manifest
from tests.tiny import write_adapter, write_checkpoint


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("config") / "model")


@pytest.fixture(scope="module")
def rows(base: Path) -> Path:
    path = base.parent / "rows.jsonl"
    lines = [{"prompt": f"say {word}", "completion": word.upper()} for word in ("one", "two", "drei", "fier")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines * 3))
    return path


def edgelora(*arguments: object) -> int:
    return main([str(item) for item in arguments])


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def test_the_file_beside_an_adapter_repeats_its_run(base: Path, rows: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    options = ["--max-steps", 4, "--rank", 3, "--target-modules", "q_proj,v_proj", "--date", "2024-02-29", "--seed", 7]
    options += [
        "--template-var",
        "mood=false",
        "--template-var",
        'word="false"',
        "--eval-data",
        rows,
        "--quant",
        "int8",
    ]
    assert edgelora("train", base, rows, "-o", first, *options) == 0
    written = json.loads((first / "options.json").read_text())
    assert written["command"] == "train"
    assert (written["rank"], written["target_modules"], written["quant"]) == (3, ["q_proj", "v_proj"], "int8")
    assert written["template_var"] == {"mood": False, "word": "false"}
    assert not {"out", "overwrite", "resume", "json", "config"} & written.keys()
    assert edgelora("train", "--config", first / "options.json", "-o", tmp_path / "again") == 0
    for name in ("adapter_model.safetensors", "adapter_config.json", "receipt.json", "options.json"):
        assert (tmp_path / "again" / name).read_bytes() == (first / name).read_bytes()
    # The command line wins, arguments included.
    assert edgelora("train", base, "--config", first / "options.json", "-o", tmp_path / "other", "--seed", 8) == 0
    assert weights(tmp_path / "other") != weights(first)
    assert json.loads((tmp_path / "other/options.json").read_text()) == written | {"seed": 8}


def test_the_day_of_a_run_is_kept(base: Path, rows: Path, tmp_path: Path) -> None:
    assert edgelora("train", base, rows, "-o", tmp_path / "a", "--max-steps", 1) == 0
    receipt = json.loads((tmp_path / "a/receipt.json").read_text())
    assert json.loads((tmp_path / "a/options.json").read_text())["date"] == receipt["training"]["date"]


def test_recover_quantize_and_export_read_one_as_well(base: Path, rows: Path, tmp_path: Path) -> None:
    assert edgelora("recover", base, rows, "-o", tmp_path / "r", "--max-steps", 2) == 0
    assert edgelora("recover", "--config", tmp_path / "r/options.json", "-o", tmp_path / "again") == 0
    assert weights(tmp_path / "again") == weights(tmp_path / "r")

    grid = tmp_path / "grid.toml"
    grid.write_text(f'quant = "int2"\nblock-size = 16\nmodel = "{base}"\n')
    assert edgelora("quantize", "--config", grid, "-o", tmp_path / "a.safetensors") == 0
    plain = ["--quant", "int2", "--block-size", 16]
    assert edgelora("quantize", base, "-o", tmp_path / "b.safetensors", *plain) == 0
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in "ab")
    assert list(one) == list(other)
    assert all(np.array_equal(one[name], other[name]) for name in one)

    adapter = write_adapter(tmp_path / "1", targets=("q_proj", "v_proj"))
    file = tmp_path / "export.toml"
    file.write_text(
        f'model = "{base}"\noutput = "{tmp_path / "artifact"}"\noverwrite = false\nsymmetric = false\n'
        f'slots = ["q_proj", "v_proj"]\n[adapter]\none = "{adapter}"\n[template_var]\nword = "false"\n'
    )
    assert edgelora("export", "--config", file) == 0
    manifest = read_manifest(tmp_path / "artifact")
    assert [item.name for item in manifest.adapters] == ["one"]
    assert manifest.tokenizer.template_variables == {"word": "false"}


def test_the_file_in_an_artifact_repeats_its_export(base: Path, tmp_path: Path) -> None:
    adapters = {name: write_adapter(tmp_path / name, targets=("q_proj", "v_proj")) for name in ("one", "two")}
    options = ["--quant", "int8", "--block-size", 16, "--slots", "q_proj,k_proj,v_proj", "--target", "mobile"]
    options += ["--adapter", f"one={adapters['one']}", "--adapter", f"two={adapters['two']}", "--context-length", 64]
    options += ["--template-var", "mood=false", "--accuracy-level", 0]
    first = tmp_path / "first"
    assert edgelora("export", base, "-o", first, *options) == 0
    written = json.loads((first / "options.json").read_text())
    assert (written["command"], written["quant"], written["adapter"]["one"]) == ("export", "int8", str(adapters["one"]))
    assert not {"output", "overwrite", "json", "config"} & written.keys()
    assert edgelora("export", "--config", first / "options.json", "-o", tmp_path / "again") == 0
    made, again = (read_manifest(tmp_path / name) for name in ("first", "again"))
    assert (made.base, made.files, made.slots) == (again.base, again.files, again.slots)
    assert "options.json" not in made.files  # it names paths of this machine, and no device has a use for it
    assert edgelora("verify", first) == 0
    # Another export in its place has its own; what somebody else calls so is not replaced.
    assert edgelora("export", "--config", first / "options.json", "-o", first, "--overwrite", "--quant", "int4") == 0
    assert json.loads((first / "options.json").read_text()) == written | {"quant": "int4"}
    (first / "options.json").write_text('{"mine": 1}')
    assert edgelora("export", base, "-o", first, "--overwrite") == 2
    assert (first / "options.json").read_text() == '{"mine": 1}'


def test_an_export_that_merges_repeats_itself(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "strong", size=0.1)
    options = ["--merge", adapter, "--merge-policy", "auto", "--max-kl", 9]
    assert edgelora("export", base, "-o", tmp_path / "a", *options) == 0
    assert edgelora("export", "--config", tmp_path / "a/options.json", "-o", tmp_path / "b") == 0
    made, again = (read_manifest(tmp_path / name) for name in "ab")
    assert (made.base, made.merged) == (again.base, again.merged)


def test_the_file_beside_a_grid_repeats_it(
    base: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--quant", "int2", "--budget-bits", "3.5", "--calibration", rows, "--embedding-bits", 8]
    assert edgelora("quantize", base, "-o", tmp_path / "a.safetensors", *options) == 0
    file = tmp_path / "a.options.json"
    written = json.loads(file.read_text())
    assert (written["command"], written["budget_bits"], written["calibration"]) == ("quantize", 3.5, str(rows))
    assert edgelora("quantize", "--config", file, "-o", tmp_path / "b.safetensors") == 0
    made, again = (check_is_grid(tmp_path / f"{name}.safetensors") for name in "ab")
    assert made == again
    wider = ["--config", file, "-o", tmp_path / "a.safetensors", "--budget-bits", 4, "--overwrite"]
    assert edgelora("quantize", *wider) == 0
    assert json.loads(file.read_text()) == written | {"budget_bits": 4.0}
    file.write_text("{}")
    capsys.readouterr()
    assert edgelora("quantize", base, "-o", tmp_path / "a.safetensors", "--overwrite") == 2
    assert "a.options.json is not of `edgelora quantize`" in capsys.readouterr().err
    assert file.read_text() == "{}"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.toml",
            'rnak = 4\nout = "x"\nspeed = 1',
            "a.toml: unknown ['rnak', 'speed']; `edgelora train --help` lists",
        ),
        ("a.toml", "rank = ", "a.toml is not TOML"),
        ("a.json", "[1]", "a.json holds no JSON object"),
        ("a.json", "{", "a.json is not JSON"),
        ("a.yaml", "rank: 4", "a.yaml is named neither .toml nor .json"),
        ("a.toml", 'command = "recover"', "a.toml is of the command 'recover', this is train"),
        ("a.toml", "epochs = [1]", "epochs is [1], expected a number or a text"),
        ("a.toml", 'epochs = "many"', "Invalid value for '--epochs'"),
        ("a.toml", 'raw = "yes"', "raw is 'yes', expected true or false"),
        ("a.toml", "target_modules = 3", "target_modules is 3, expected what --help says"),
        ("a.toml", "rank = 1.5", "--rank is '1.5', expected a whole number"),
        ("a.toml", "json = true", "unknown ['json']"),
    ],
)
def test_a_file_that_cannot_serve_is_one_line(
    name: str, content: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    assert edgelora("train", "m", "d.jsonl", "-o", tmp_path / "out", "--config", tmp_path / name) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == 1


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("no.toml", "no.json"):
        assert edgelora("quantize", "m", "-o", "x", "--config", tmp_path / name) == 2
        assert f"{name} cannot be read" in capsys.readouterr().err
