"""``python -m benchmarks.quality``: every way to ship an adapter, on three real tasks that share their bases.

Knows nothing about training or scores: it prepares data, runs ``edgelora quantize`` and ``edgelora compare``, and keeps
their reports.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples import prepare_addresses, prepare_icd, prepare_names
from examples.demo import DemoError, link_base, run_edgelora
from examples.download import DatasetError, write_rows

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


def commands(
    model: Path, build: Path, tasks: Sequence[str], seeds: str, threads: int, decode: bool
) -> list[tuple[str, ...]]:
    """The ``edgelora`` commands, in order; a grid file that is there is not made again."""
    listed: list[tuple[str, ...]] = []
    grids = {name: build / f"{name}.safetensors" for name in GRIDS}
    for name, grid in grids.items():
        if not grid.is_file():
            calibration = ("--calibration", str(build / "calibration.jsonl"))
            listed.append(("quantize", str(model), "-o", str(grid), *GRIDS[name], *calibration))
    adapter = build / "recovery"
    if not (adapter / "receipt.json").is_file():
        texts, quant = str(build / "repair.jsonl"), ("--quant", str(grids[REPAIRED]))
        listed.append(("recover", str(model), texts, *quant, "-o", str(adapter), *REPAIR_OPTIONS, "--resume"))
    better = [word for name, grid in grids.items() for word in ("--grid", f"{name}={grid}")]
    for name in tasks:
        data, task = build / "data" / name, TASKS[name]
        listed.append(
            (
                "compare", str(model), str(data / "train.jsonl"), "--eval-data", str(data / "heldout.jsonl"),
                "-o", str(build / name), "--quant", "int4", "--symmetric", "--method", "gptq",
                *better, "--from", f"{REPAIRED}={adapter}", "--seeds", seeds, "--rank", "8", *task.training,
                "--limit", str(task.answered), "--threads", str(threads), "--decode" if decode else "--no-decode",
            )
        )  # fmt: skip
    return listed


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
    for file, rows in (("calibration.jsonl", spread), ("repair.jsonl", first)):
        if not (build / file).is_file():
            write_rows(build / file, rows)


def overview(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """One table over all tasks: loss and its difference to float LoRA, seed by seed, median and range."""
    lines = ["| arm | " + " | ".join(f"{task}: loss | over float LoRA" for task in reports) + " |"]
    lines.append("|---|" + "---:|---:|" * len(reports))
    names = dict.fromkeys(arm["name"] for report in reports.values() for arm in report["arms"])
    for name in names:
        cells = []
        for report in reports.values():
            arm = next(
                (item for item in report["arms"] if item["name"] == name), {"loss": None, "loss_over_float": None}
            )
            cells += [_spread(arm["loss"], "{:.3f}"), _spread(arm["loss_over_float"], "{:+.3f}")]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


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
    results.mkdir(parents=True, exist_ok=True)
    for name in TASKS:
        if (build / name / "report.json").is_file():
            for suffix in ("json", "md"):
                text = (build / name / f"report.{suffix}").read_text(encoding="utf-8")
                (results / f"{name}.{suffix}").write_text(
                    text.replace("quality_over_size.png", f"{name}.png"), encoding="utf-8"
                )
            shutil.copyfile(build / name / "quality_over_size.png", results / f"{name}.png")
        if (results / f"{name}.json").is_file():  # of this run, or of an earlier one
            reports[name] = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    text = overview(reports)
    (results / "overview.md").write_text(text, encoding="utf-8")
    return text


def main() -> int:
    """Run what is not there yet; finished adapters and scores in the build folder are used again."""
    parser = argparse.ArgumentParser(description="Compare the ways to ship an adapter on three real tasks.")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/quality"))
    parser.add_argument("--tasks", default=",".join(TASKS), help="Some of them, with commas between.")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-decode", action="store_true", help="Leave the timing for a quiet machine.")
    given = parser.parse_args()
    build, tasks = given.output, given.tasks.split(",")
    try:
        build.mkdir(parents=True, exist_ok=True)
        model = link_base(build)
        prepare_data(build)
        for arguments in commands(model, build, tasks, given.seeds, given.threads, not given.no_decode):
            print("$ edgelora " + " ".join(arguments), flush=True)
            run_edgelora(arguments, None)
    except (DemoError, DatasetError, OSError) as error:
        print(f"quality: {error}", file=sys.stderr)
        return 2
    print(keep_reports(build, RESULTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
