"""``edgelora compare`` on a tiny random model: every arm is there, nothing is trained twice or taken from elsewhere."""

import hashlib
import json
import math
import shutil
from pathlib import Path

import peft
import pytest
import torch

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.cli import main
from edgelora.data.encode import encode_rows
from edgelora.data.rows import read_rows
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora.training.loss import completion_loss
from tests import tiny

ARMS = ["base-float", "base-grid", "float", "float-merged", "float-factored", "grid", "grid-gptq"]
OPTIONS = ("--seeds", "0,1", "--max-steps", "3", "--rank", "2", "--batch-size", "3", "--learning-rate", "0.02")
WORDS = ("one", "two", "drei", "vier", "five", "six")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A base, rows to learn from and rows held out; the answers are JSON."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = [{"prompt": f"say {word}", "completion": json.dumps({"w": word.upper()})} for word in WORDS]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    return tiny.write_checkpoint(folder / "tiny"), folder / "rows.jsonl", folder / "held.jsonl"


def command(inputs, output, *more):
    base, rows, held = inputs
    return ["compare", str(base), str(rows), "--eval-data", str(held), "-o", str(output), "--threads", "1",
            "--limit", "2", *OPTIONS, *map(str, more)]  # fmt: skip


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    """A report folder; tests copy it before they change it."""
    output = tmp_path_factory.mktemp("reports") / "report"
    assert main(command(inputs, output)) == 0
    return output


@pytest.fixture
def report(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "report"))


def test_every_arm_is_in_all_three_files(inputs, finished):
    found = json.loads((finished / "report.json").read_text())
    assert [arm["name"] for arm in found["arms"]] == ARMS
    arms = {arm["name"]: arm for arm in found["arms"]}
    assert found["metric"] == "field_f1"
    assert (found["rows"], found["answered"], found["seeds"]) == (3, 2, [0, 1])
    for name, arm in arms.items():
        seeds = [None] if name.startswith("base") else [0, 1]
        losses = [score["loss"] for score in arm["by_seed"]]
        assert [score["seed"] for score in arm["by_seed"]] == seeds
        assert arm["loss"]["median"] == pytest.approx(sum(losses) / len(losses))
        assert (arm["loss"]["least"], arm["loss"]["most"]) == (min(losses), max(losses))
        assert set(arm["figures"]) == {"exact_match", "json_valid", "field_f1"}
        assert arm["decode_ms"]["median"] > 0
    # Differences are paired: each seed with the same seed of the float arm.
    apart = [a["loss"] - b["loss"] for a, b in zip(arms["grid"]["by_seed"], arms["float"]["by_seed"], strict=True)]
    assert arms["grid"]["loss_over_float"]["least"] == pytest.approx(min(apart))
    assert arms["grid"]["loss_over_float"]["most"] == pytest.approx(max(apart))
    assert arms["float"]["loss_over_float"] is None
    # The adapter is what a factored arm has over a merged or a bare one; floats are several times as large as codes.
    assert arms["grid"]["bytes"] == arms["float-factored"]["bytes"] > arms["base-grid"]["bytes"]
    assert arms["base-float"]["bytes"] > 2 * arms["base-grid"]["bytes"]
    assert arms["float-merged"]["by_seed"][0]["survival"]["correlation"] < 1
    assert len({grid["fingerprint"] for grid in found["grids"].values()}) == 3

    page = (finished / "report.md").read_text()
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == ARMS
    assert "quality_over_size.png" in page
    assert found["command"] in page
    plot = (finished / "quality_over_size.png").read_bytes()
    assert plot[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(plot[16:20], "big") == 800
    assert sorted(item.name for item in finished.iterdir()) == [
        "adapters", "grids", "quality_over_size.png", "report.json", "report.md", "scores",
    ]  # fmt: skip


def test_losses_are_those_of_pytorch_on_the_same_values(inputs, finished):
    base, _, held = inputs
    checkpoint = open_checkpoint(str(base))
    found = {arm["name"]: arm for arm in json.loads((finished / "report.json").read_text())["arms"]}
    examples = encode_rows(
        read_rows(held), open_tokenizer(checkpoint), checkpoint.eos_token_ids, 512, raw=False, where="held", context=512
    ).examples
    tokens = sum(len(example.ids) - example.prompt_length for example in examples)
    for arm, quant, adapter in (
        ("base-float", "none", None),
        ("float", "none", "float-seed0"),
        ("float-factored", "int4", "float-seed0"),
        ("grid", "int4", "grid-seed0"),
    ):
        model = load_torch(checkpoint, plan_grid(checkpoint, parse_quant(quant)))
        if adapter is not None:
            model = peft.PeftModel.from_pretrained(model, finished / "adapters" / adapter).base_model.model
        with torch.inference_mode():
            loss = float(completion_loss(model, examples, torch.device("cpu"))) / tokens
        assert found[arm]["by_seed"][0]["loss"] == pytest.approx(loss, abs=1e-3), arm
    assert not math.isclose(found["float"]["by_seed"][0]["loss"], found["float-factored"]["by_seed"][0]["loss"])


def test_a_grid_file_takes_part_with_adapters_of_its_own(inputs, report, tmp_path, capsys):
    base, _, _ = inputs
    grid = tmp_path / "narrow.safetensors"
    assert main(["quantize", str(base), "-o", str(grid), "--quant", "int2", "--block-size", "16"]) == 0
    capsys.readouterr()
    assert main([*command(inputs, report, "--grid", f"narrow={grid}", "--no-decode"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trained"] == ["narrow-seed0", "narrow-seed1"]
    arms = {arm["name"]: arm for arm in found["arms"]}
    assert list(arms) == [*ARMS, "grid-narrow"]
    assert arms["grid-narrow"]["bytes"] < arms["grid"]["bytes"]
    assert main(command(inputs, report, "--grid", f"gptq={grid}")) == 2
    assert "--grid names are gptq" in capsys.readouterr().err
    assert main(command(inputs, report, "--grid", f"narrow={tmp_path}/absent.safetensors")) == 2
    assert "is not a file" in capsys.readouterr().err


def test_adapters_of_a_grid_file_may_start_from_one_that_repairs_it(inputs, report, tmp_path, capsys):
    base, rows, _ = inputs
    grid, repaired = tmp_path / "narrow.safetensors", tmp_path / "repaired"
    assert main(["quantize", str(base), "-o", str(grid), "--quant", "int2", "--block-size", "16"]) == 0
    recover = ["recover", str(base), str(rows), "--quant", str(grid), "-o", str(repaired), "--max-steps", "2"]
    assert main([*recover, "--rank", "2"]) == 0
    options = ("--grid", f"narrow={grid}", "--from", f"narrow={repaired}", "--no-decode")
    capsys.readouterr()
    assert main([*command(inputs, report, *options), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained"] == ["narrow-seed0", "narrow-seed1"]
    receipt = json.loads((report / "adapters" / "narrow-seed0" / "receipt.json").read_text())
    weights = hashlib.sha256((repaired / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert receipt["training"]["start_from"] == weights
    found = json.loads((report / "report.json").read_text())
    assert "repairs" in found["arms"][-1]["what"]
    assert f"--from narrow={repaired}" in found["command"]

    assert main(command(inputs, report, *options[:2], "--no-decode")) == 2  # the same grid, adapters from nothing
    said = _one_line(capsys)
    assert "narrow-seed0 holds an adapter of another training" in said
    assert f"start_from {weights}, now None" in said
    assert main(command(inputs, report, "--from", f"narrow={repaired}")) == 2
    assert "--from names are narrow" in _one_line(capsys)
    assert main(command(inputs, report, *options, "--rank", "3")) == 2
    assert "--rank is 3, it has 2" in _one_line(capsys)
    assert main(command(inputs, report, "--from", "narrow")) == 2
    assert "expected NAME=ADAPTER_DIR" in _one_line(capsys)


def test_a_second_run_trains_and_scores_nothing(inputs, report, capsys, monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("called again")

    for what in ("adapters.train_adapter", "artifacts.export_artifact", "grids.write_grid"):
        monkeypatch.setattr(f"edgelora.compare.{what}", refuse)
    before = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    first = json.loads((report / "report.json").read_text())
    assert main([*command(inputs, report), "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["trained"] == []
    assert [arm["name"] for arm in result["arms"]] == ARMS
    assert "6 of 6 adapters are there already" in said.err
    second = json.loads((report / "report.json").read_text())
    assert {key for key in first if first[key] != second[key]} == {"command"}  # it names another folder
    kept = [path for path in before if path.parent != report]
    assert len(kept) > 30
    assert all(path.read_bytes() == before[path] for path in kept)


def test_a_stopped_comparison_goes_on_with_what_is_missing(inputs, report, capsys):
    first = json.loads((report / "report.json").read_text())
    shutil.rmtree(report / "adapters" / "grid-seed1")
    missing = [report / "scores" / name for name in ("grid-seed1.json", "base-grid.json")]
    kept = {path: path.stat().st_mtime_ns for path in (report / "scores").iterdir() if path not in missing}
    for path in missing:
        path.unlink()
    left = report / ".edgelora-0123456789abcdef.tmp"  # of a run that was killed
    (left / "grid-level0").mkdir(parents=True)
    assert main([*command(inputs, report), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained"] == ["grid-seed1"]
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    second = json.loads((report / "report.json").read_text())
    assert second["arms"] == first["arms"]
    assert not left.exists()


def test_another_training_is_refused_and_left_alone(inputs, report, tmp_path, capsys):
    base, rows, held = inputs
    other = tmp_path / "other.jsonl"
    other.write_text(rows.read_text() + '{"prompt": "say ten", "completion": "{}"}\n')
    before = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    without_gptq = ("--method", "none")
    refused = {
        (*without_gptq, "--learning-rate", "0.03"): "float-seed0 holds an adapter of another training: learning_rate",
        (*without_gptq, "--quant", "int8"): "grid-seed0 holds an adapter of another training: grid",
        ("--quant", "int8"): "gptq.safetensors was made with another",
    }
    for more, reason in refused.items():
        assert main(command(inputs, report, *more)) == 2
        assert reason in _one_line(capsys)
    assert main(command((base, other, held), report, *without_gptq)) == 2
    said = _one_line(capsys)
    assert "rows 6, now 7" in said
    assert "data_sha256" in said
    (report / "adapters" / "float-seed0" / "receipt.json").unlink()
    assert main(command(inputs, report)) == 2
    assert "no receipt" in _one_line(capsys)
    assert all(path.read_bytes() == content for path, content in before.items() if path.name != "receipt.json")


def test_bad_requests_are_one_line_before_any_work(inputs, tmp_path, capsys):
    base, rows, _ = inputs
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    refused = {
        ("--seeds", "0,0"): "different whole numbers",
        ("--seeds", "a"): "--seeds is 'a'",
        ("--method", "rtn"): "--method is rtn",
        ("--quant", "none"): "nothing to compare",
    }
    for more, reason in refused.items():
        assert main(command(inputs, tmp_path / "new", *more)) == 2
        assert reason in _one_line(capsys)
    assert main(command(inputs, foreign)) == 2
    assert "holds other files (thesis.txt)" in _one_line(capsys)
    for name, text in (("report.md", "years of work"), ("report.json", '{"mine": 1}'), ("report.json", "[]")):
        own = tmp_path / "own"
        own.mkdir()
        (own / name).write_text(text)
        assert main(command(inputs, own)) == 2
        assert name in _one_line(capsys)
        assert (own / name).read_text() == text
        shutil.rmtree(own)
    assert main(command((base, rows, tmp_path / "none.jsonl"), tmp_path / "new")) == 2
    assert "is not a file" in _one_line(capsys)
    assert not (tmp_path / "new").exists()


def _one_line(capsys) -> str:
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("edgelora: ")]
    assert said, "nothing was said"
    return said[-1]
