"""``python -m benchmarks.quality``: every way to ship an adapter, on three real tasks that share their bases.

Knows nothing about training or scores: it prepares data, runs ``edgelora quantize`` and ``edgelora compare``, and keeps
their reports.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora_runtime.files import write_atomically
from examples import prepare_addresses, prepare_icd, prepare_names
from examples.demo import link_base
from examples.download import DatasetError, write_rows
from examples.steps import DemoError, run_edgelora

RESULTS = Path(__file__).parent / "results" / "quality"
NARROW = "mixed2"  # the 2-bit grid: its most sensitive linears have 4 bits, 3.0 on average
REPAIRED = "repaired"  # int4, and an adapter distilled on it from which those of the tasks start
_GPTQ = ("--symmetric", "--block-size", "32", "--quant-method", "gptq")
GRIDS: Mapping[str, tuple[str, ...]] = {
    NARROW: ("--quant", "int2", *_GPTQ, "--budget-bits", "3"),
    REPAIRED: ("--quant", "int4", *_GPTQ),
}
CALIBRATION_ROWS = 43  # of each task, evenly spread: one base must serve all tasks
REPAIR_ROWS = {"addresses": 400, "icd": 800, "names": 400}
REPAIR_OPTIONS = ("--rank", "8", "--max-steps", "100", "--batch-size", "8", "--eval-every", "0")
# How long a token takes depends on shapes alone: one step of training and a few rows do for all tasks.
DECODE = "decode"
DECODE_TRAINING = ("--max-steps", "1", "--batch-size", "4", "--max-length", "192", "--learning-rate", "2e-3")
DECODE_ROWS = 4


@dataclass(frozen=True)
class Task:
    """Real data and how long is trained on it; every arm and seed is trained alike."""

    prepare: Callable[[Path], None]
    training: tuple[str, ...]
    answered: int  # held-out rows that are answered; the loss is of all


TASKS: Mapping[str, Task] = {
    "addresses": Task(
        prepare_addresses.prepare,
        ("--max-steps", "120", "--batch-size", "4", "--max-length", "192", "--learning-rate", "2e-3"),
        60,
    ),
    "icd": Task(
        prepare_icd.prepare,
        ("--max-steps", "60", "--batch-size", "16", "--max-length", "128", "--learning-rate", "1e-3"),
        110,
    ),
    "names": Task(
        prepare_names.prepare,
        ("--max-steps", "120", "--batch-size", "4", "--max-length", "192", "--learning-rate", "2e-3"),
        60,
    ),
}


def base_commands(model: Path, build: Path) -> list[tuple[str, ...]]:
    """The ``edgelora`` commands that make what all tasks share; what is there is not made again."""
    listed: list[tuple[str, ...]] = []
    for name, options in GRIDS.items():
        grid = grid_file(build, name)
        if not grid.is_file():
            listed.append(
                (
                    "quantize", str(model), "-o", str(grid), *options,
                    "--calibration", str(build / "calibration.jsonl"),
                )
            )  # fmt: skip
    adapter = build / "recovery"
    if not (adapter / "receipt.json").is_file():
        texts, quant = str(build / "repair.jsonl"), ("--quant", str(grid_file(build, REPAIRED)))
        listed.append(("recover", str(model), texts, *quant, "-o", str(adapter), *REPAIR_OPTIONS, "--resume"))
    return listed


def compare_command(model: Path, build: Path, name: str, seeds: str, threads: int) -> tuple[str, ...]:
    """``edgelora compare`` of a task's losses, or for DECODE of the time that each arm takes for a token."""
    training: tuple[str, ...]
    if name == DECODE:
        data, training, answered = build / "data" / "addresses", DECODE_TRAINING, 1
        heldout, seeds, how = build / "few.jsonl", "0", "--decode"
    else:
        data, training, answered = build / "data" / name, TASKS[name].training, TASKS[name].answered
        heldout, how = data / "heldout.jsonl", "--no-decode"
    better = [word for grid in GRIDS for word in ("--grid", f"{grid}={grid_file(build, grid)}")]
    return (
        "compare", str(model), str(data / "train.jsonl"), "--eval-data", str(heldout), "-o", str(build / name),
        "--quant", "int4", "--symmetric", "--method", "gptq", *better, "--from", f"{REPAIRED}={build / 'recovery'}",
        "--seeds", seeds, "--rank", "8", *training, "--limit", str(answered), "--threads", str(threads), how,
    )  # fmt: skip


def grid_file(build: Path, name: str) -> Path:
    """Where a grid that all tasks share is kept."""
    return build / f"{name}.safetensors"


def prepare_data(build: Path) -> None:
    """Data of every task, and rows of all of them in one file to calibrate on; what is there is left alone."""
    for name, task in TASKS.items():
        if not (build / "data" / name / "heldout.jsonl").is_file():
            task.prepare(build / "data" / name)
    lines = {name: (build / "data" / name / "train.jsonl").read_text(encoding="utf-8").splitlines() for name in TASKS}
    spread: list[dict[str, Any]] = []
    first: list[dict[str, Any]] = []
    for name, found in lines.items():
        spread += [json.loads(found[index * len(found) // CALIBRATION_ROWS]) for index in range(CALIBRATION_ROWS)]
        first += [json.loads(line) for line in found[: REPAIR_ROWS[name]]]
    heldout = (build / "data" / "addresses" / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    few = [json.loads(line) for line in heldout[:DECODE_ROWS]]
    for file, rows in (("calibration.jsonl", spread), ("repair.jsonl", first), ("few.jsonl", few)):
        if not (build / file).is_file():
            write_rows(build / file, rows)


def overview(reports: Mapping[str, Mapping[str, Any]], times: Mapping[str, Any]) -> str:
    """One table over all tasks: difference to float LoRA seed by seed and task metric, median and range; size, time."""
    heads = [f"{task}: loss over float LoRA | {report['metric']}" for task, report in reports.items()]
    lines = ["| arm | " + " | ".join([*heads, "MB", "decode ms"]) + " |"]
    lines.append("|---|" + "---:|---:|" * len(reports) + "---:|---:|")
    names = dict.fromkeys(arm["name"] for report in reports.values() for arm in report["arms"])
    for name in names:
        found = [_arm(report, name) for report in reports.values()]
        cells = []
        for report, arm in zip(reports.values(), found, strict=True):
            # The arm that all are compared with shows its own loss.
            compared = arm.get("loss_over_float")
            cells.append(_spread(compared, "{:+.3f}") if compared else _spread(arm.get("loss"), "{:.3f}"))
            cells.append(_spread(arm.get("figures", {}).get(report["metric"]), "{:.2f}"))
        size = next(arm["bytes"] for arm in found if arm)
        time = times.get(name)
        cells += [f"{size / 1e6:.1f}", "" if time is None else f"{time['median']:.2f}"]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _arm(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next((arm for arm in report["arms"] if arm["name"] == name), {})


def _spread(value: Mapping[str, float] | None, form: str) -> str:
    if value is None:
        return ""
    median = form.format(value["median"])
    if value["least"] == value["most"]:
        return median
    return f"{median} ({form.format(value['least'])} to {form.format(value['most'])})"


def keep_reports(build: Path, results: Path) -> str:
    """Copy every finished report out of ``build`` and return the overview of all that are kept."""
    reports = {}
    times = results / "decode.json"
    results.mkdir(parents=True, exist_ok=True)
    for name in TASKS:
        if (build / name / "report.json").is_file():
            for suffix in ("json", "md"):
                text = (build / name / f"report.{suffix}").read_text(encoding="utf-8")
                write_atomically(results / f"{name}.{suffix}", text.replace("quality_over_size.png", f"{name}.png"))
            shutil.copyfile(build / name / "quality_over_size.png", results / f"{name}.png")
        if (results / f"{name}.json").is_file():  # of this run, or of an earlier one
            reports[name] = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    if (build / DECODE / "report.json").is_file():
        measured = json.loads((build / DECODE / "report.json").read_text(encoding="utf-8"))
        found = {name: measured[name] for name in ("model", "command", "decode", "versions", "machine")}
        found["decode_ms"] = {arm["name"]: arm["decode_ms"] for arm in measured["arms"]}
        write_atomically(times, json.dumps(found, indent=1) + "\n")
    decode_ms = json.loads(times.read_text(encoding="utf-8"))["decode_ms"] if times.is_file() else {}
    text = overview(reports, decode_ms)
    write_atomically(results / "overview.md", text)
    return text


def main() -> int:
    """Run what is not there yet; finished adapters and scores in the build folder are used again."""
    parser = argparse.ArgumentParser(description="Compare the ways to ship an adapter on three real tasks.")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/quality"))
    names = ",".join((*TASKS, DECODE))
    parser.add_argument("--tasks", default=names, help=f"Some of {names}; {DECODE} needs a quiet machine.")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    build, tasks = given.output, given.tasks.split(",")
    try:
        build.mkdir(parents=True, exist_ok=True)
        model = link_base(build)
        prepare_data(build)
        compared = [compare_command(model, build, name, given.seeds, given.threads) for name in tasks]
        for arguments in (*base_commands(model, build), *compared):
            print("$ edgelora " + " ".join(arguments), flush=True)
            run_edgelora(arguments, None)
    except (DemoError, DatasetError, OSError) as error:
        print(f"quality: {error}", file=sys.stderr)
        return 2
    print(keep_reports(build, RESULTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
