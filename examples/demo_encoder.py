"""The second screen of ``make demo``: the same question, asked of another base and kind of model.

Does an adapter that was trained on the values that ship keep what one merged into rounded weights loses? Here the base
is a text encoder, and the adapter brings a classifier's head. Every step but the data is an ``edgelora`` command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples import prepare_icd, prepare_minilm
from examples.steps import Step, run_edgelora, run_steps

FLOAT, MERGED, GRID = "float", "merged", "grid"
MEANING = {
    FLOAT: "LoRA on float weights, float32",
    MERGED: "the same, merged, then int4",
    GRID: "LoRA on the int4 values that ship",
}
TRAINING = ("--task", "classification", "--rank", "8", "--max-steps", "150", "--batch-size", "16", "--max-length", "64",
            "--learning-rate", "2e-3", "--seed", "0")  # fmt: skip
_NAME = "icd"


def plan_encoder(model: Path, data: Path, build: Path) -> list[Step]:
    """Two trainings, three artifacts, and what each answers."""
    trained = {name: build / "adapters" / name for name in (FLOAT, GRID)}
    quants = {FLOAT: "none", MERGED: "int4", GRID: "int4"}
    steps = [
        Step(
            f"train {_NAME} on {name}",
            ("train", str(model), str(data / "train.jsonl"), "-o", str(folder), "--quant", quants[name], *TRAINING),
            folder / "adapter_model.safetensors",
            resumes=True,
        )
        for name, folder in trained.items()
    ]
    for name in MEANING:
        artifact = build / "artifacts" / name
        given = ("--merge", str(trained[FLOAT]), "--accept-lossy-merge") if name == MERGED else (
            "--adapter", f"{_NAME}={trained[name]}")  # fmt: skip
        export = ("export", str(model), "-o", str(artifact), "--task", "classification", "--quant", quants[name])
        steps.append(Step(f"export {name}", (*export, "--overwrite", *given), artifact / "manifest.json"))
        asked = ("eval", str(artifact), str(data / "heldout.jsonl"), "--json")
        spec = () if name == MERGED else ("--adapter", _NAME)
        steps.append(Step(f"eval {name}", (*asked, *spec), build / f"eval-{name}.json", keeps_output=True))
    return steps


def run_encoder(build: Path) -> dict[str, Any]:
    """Everything of the second screen, as ``results.json`` holds it; raises DemoError when a command fails."""
    build.mkdir(parents=True, exist_ok=True)
    model = prepare_minilm.prepare(build / prepare_minilm.NAME)
    prepare_icd.prepare(build / "data", question="", held_out_cap=prepare_icd.HELD_OUT_OF_AN_ENCODER)
    seconds = run_steps(plan_encoder(model, build / "data", build), build / "steps.json", run_edgelora)
    arms = {}
    for name in MEANING:
        manifest = _read(build / "artifacts" / name / "manifest.json")
        size = sum(info["bytes"] for info in manifest["files"].values())
        arms[name] = {"scores": _read(build / f"eval-{name}.json"), "bytes": size}
    return {"arms": arms, "seconds": seconds}


def encoder_rows(results: Mapping[str, Any]) -> list[Sequence[str]]:
    """The cells of the second table, its heads first."""
    rows: list[Sequence[str]] = [("ICD chapters, text encoder", "accuracy", "macro F1", "MB")]
    for name, arm in results["arms"].items():
        scores = [f"{100 * arm['scores'][figure]:.1f} %" for figure in ("accuracy", "macro_f1")]
        rows.append((MEANING[name], *scores, f"{arm['bytes'] / 1e6:.1f}"))
    return rows


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
