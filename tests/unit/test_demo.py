"""The demonstration's plan, its memory of finished steps, and its verdict.

Knows nothing about training: the commands are recorded instead of run.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from examples.demo import ADAPTERS, collect, plan_steps
from examples.demo_encoder import MEANING, encoder_rows, plan_encoder
from examples.page import plan_page
from examples.report import SCORES, judge, table_lines
from examples.steps import DemoError, Step, run_edgelora, run_steps


class Recorder:
    """Stands for the command line: writes the product of a step and remembers what it was asked."""

    def __init__(self, steps: Sequence[Step], fail: str = "") -> None:
        self.products = {step.arguments: step.product for step in steps}
        self.fail = fail
        self.seen: list[str] = []

    def __call__(self, arguments: Sequence[str], output: Path | None) -> None:
        extra = [word for word in arguments if word in ("--resume", "--overwrite")] if arguments[0] == "train" else []
        product = self.products[tuple(word for word in arguments if word not in extra)]
        product.parent.mkdir(parents=True, exist_ok=True)
        if self.fail and self.fail in " ".join(arguments):
            raise DemoError("stopped")
        product.write_text("{}", encoding="utf-8")
        self.seen.append(" ".join([arguments[0], *extra]))


def steps_in(folder: Path) -> list[Step]:
    return plan_steps(folder / "base.gguf", folder / "data", folder)


def test_the_plan_trains_exports_adds_and_scores_everything(tmp_path: Path) -> None:
    steps = steps_in(tmp_path)
    verbs = [step.arguments[0] for step in steps]
    assert verbs == ["train", "train", "export", "adapter", "verify", *["eval"] * 6, "bench"]
    assert len({step.product for step in steps}) == len(steps)
    evals = {(step.arguments[2].split("/")[-2], step.arguments[4]) for step in steps if step.arguments[0] == "eval"}
    assert evals == {(data, adapter) for data in ADAPTERS for adapter in ("none", *ADAPTERS)}
    quants = [step.arguments[step.arguments.index("--quant") + 1] for step in steps if "--quant" in step.arguments]
    assert quants == ["int4"] * 3  # trained on the grid that ships
    assert all(step.keeps_output == ("--json" in step.arguments) for step in steps)


def test_a_second_run_does_nothing_and_a_lost_product_redoes_what_follows(tmp_path: Path) -> None:
    steps, log = steps_in(tmp_path), tmp_path / "steps.json"
    first = Recorder(steps)
    seconds = run_steps(steps, log, first)
    assert len(first.seen) == len(steps) == len(seconds)
    second = Recorder(steps)
    run_steps(steps, log, second)
    assert second.seen == []
    (tmp_path / "artifact/manifest.json").unlink()
    third = Recorder(steps)
    run_steps(steps, log, third)
    assert [line.split()[0] for line in third.seen] == ["export", "adapter", "verify", *["eval"] * 6, "bench"]


def test_interrupted_training_is_resumed(tmp_path: Path) -> None:
    steps, log = steps_in(tmp_path), tmp_path / "steps.json"
    with pytest.raises(DemoError):
        run_steps(steps, log, Recorder(steps, fail="adapters/icd"))
    again = Recorder(steps)
    run_steps(steps, log, again)
    assert again.seen[0] == "train --resume"
    assert sum(line.startswith("train") for line in again.seen) == 1


def test_training_with_other_options_starts_over(tmp_path: Path) -> None:
    steps, log = steps_in(tmp_path), tmp_path / "steps.json"
    run_steps(steps, log, Recorder(steps))
    other = [replace(steps[0], arguments=(*steps[0].arguments, "--epochs", "2")), *steps[1:]]
    again = Recorder(other)
    run_steps(other, log, again)
    assert again.seen[:2] == ["train --overwrite", "export"]  # the other adapter stays as it is


def test_a_failing_command_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DemoError, match="edgelora nonsense"):
        run_edgelora(["nonsense"], tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    assert capfd.readouterr().err


def scores(base: float, found: float) -> dict[str, dict[str, dict[str, float]]]:
    def row(value: float) -> dict[str, dict[str, float]]:
        return {name: {"n": 10, **{score: value for _, data, score in SCORES if data == name}} for name in ADAPTERS}

    return {"none": row(base), "addresses": row(found), "icd": row(found)}


def test_the_verdict_asks_for_a_clear_distance() -> None:
    assert judge(scores(0.1, 0.5)) == []
    short = judge(scores(0.4, 0.5))
    assert len(short) == 3
    assert "icd accuracy is 0.500, expected at least 0.2 over the base's 0.400" in short


def test_collected_results_fit_the_table(tmp_path: Path) -> None:
    files = {"weights.bin": 70_000_000, "adapters/addresses/x": 2_000_000, "adapters/icd/x": 3_000_000}
    manifest = {"files": {name: {"bytes": size, "sha256": ""} for name, size in files.items()}}
    bench = {
        "decode_ms": {"none": {"median": 20.0}, "addresses": {"median": 25.0}},
        "prefill_tokens_per_s": 400.0,
        "swap_ms": {"median": 0.05},
    }
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact/manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    written = {"verify": {"passed": True}, "bench": bench}
    written |= {
        f"eval-{adapter}-{data}": value for adapter, row in scores(0.1, 0.5).items() for data, value in row.items()
    }
    for name, value in written.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    results = collect(tmp_path, {"export": 3.0})
    assert results["bytes"] == {"base": 70_000_000, "addresses": 2_000_000, "icd": 3_000_000}
    text = "\n".join(table_lines(results))
    for expected in ("icd adapter", "50.0 %", "70.0 MB", "0.050 ms", "40.0 tokens/s", "400 tokens/s", "10 addresses"):
        assert expected in text


def test_the_page_takes_the_adapters_of_the_demonstration_and_trains_them_alike(tmp_path: Path) -> None:
    whole = plan_page(tmp_path / "base.gguf", tmp_path / "data", tmp_path, short=False)
    assert whole[:2] == steps_in(tmp_path)[:2]  # so neither trains what the other has trained
    assert whole[2].arguments[whole[2].arguments.index("--target") + 1] == "web-wasm"
    assert [word for word in whole[2].arguments if "=" in word] == [
        f"{name}={tmp_path / 'adapters' / name}" for name in ADAPTERS
    ]
    short = plan_page(tmp_path / "base.gguf", tmp_path / "data", tmp_path, short=True)
    assert short[2] == whole[2]
    assert [step.arguments[step.arguments.index("--max-steps") + 1] for step in short[:2]] == ["10", "10"]


def test_the_second_screen_sets_the_grid_beside_a_merge_of_the_same_float_adapter(tmp_path: Path) -> None:
    steps = plan_encoder(tmp_path / "encoder", tmp_path / "data", tmp_path)
    assert [step.arguments[0] for step in steps] == ["train", "train", *["export", "eval"] * 3]
    by_name = {step.name: step for step in steps}
    merged, grid = by_name["export merged"].arguments, by_name["export grid"].arguments
    assert merged[merged.index("--merge") + 1] == str(by_name["train icd on float"].product.parent)
    assert grid[grid.index("--adapter") + 1] == f"icd={by_name['train icd on grid'].product.parent}"
    quants = [step.arguments[step.arguments.index("--quant") + 1] for step in steps if "--quant" in step.arguments]
    assert quants == ["none", "int4", "none", "int4", "int4"]
    arms = {name: {"scores": {"accuracy": 0.5, "macro_f1": 0.25}, "bytes": 25_000_000} for name in MEANING}
    rows = encoder_rows({"arms": arms})
    assert [len(row) for row in rows] == [4] * 4
    assert rows[-1] == (MEANING["grid"], "50.0 %", "25.0 %", "25.0")
