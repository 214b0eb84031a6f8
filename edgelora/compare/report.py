"""What a comparison found, as JSON for programs and as a page of Markdown for people.

Settings, Summary -> JSON, Markdown
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelora.compare.adapters import Trained
from edgelora.compare.arms import FLOAT, GRID, Settings
from edgelora.compare.artifacts import EXACT_LEVEL, TARGET
from edgelora.compare.grids import hash_file
from edgelora.compare.score import versions
from edgelora.compare.summary import ArmSummary, Over, Summary
from edgelora.compare.timing import ROUNDS, STEPS
from edgelora.evaluation.timing import PROMPT_TOKENS
from edgelora.grid.make import Grid
from edgelora_runtime.graph import DEFAULT_THREADS

FORMAT_VERSION = 1
PLOT_FILE = "quality_over_size.png"
METRIC_NAMES = {
    "accuracy": "accuracy",
    "entity_f1": "entity F1",
    "recall_at_1": "recall at 1",
    "field_f1": "field F1",
    "exact_match": "exact match",
}
WITHOUT_LOSS = ("entity_f1", "recall_at_1")
_PACKAGES = ("edgelora", "torch", "transformers", "peft", "numpy", "onnxruntime")


def command_line(settings: Settings, output: Path) -> str:
    """The command that makes this report, every choice spelled out."""
    options = settings.options
    words = ["edgelora", "compare", settings.model, str(settings.data), "--eval-data", str(settings.eval_data)]
    words += [] if settings.task is None else ["--task", settings.task]
    words += ["-o", str(output), "--quant", settings.quant, "--block-size", str(settings.block_size)]
    if settings.symmetric is not None:
        words.append("--symmetric" if settings.symmetric else "--asymmetric")
    for method in settings.methods or ("none",):
        words += ["--method", method]
    for name, path in settings.grid_files:
        words += ["--grid", f"{name}={path}"]
    for name, path in settings.starts:
        words += ["--from", f"{name}={path}"]
    words += ["--seeds", ",".join(map(str, settings.seeds)), "--rank", str(options.rank)]
    words += ["--epochs", str(options.epochs)] if options.max_steps is None else ["--max-steps", str(options.max_steps)]
    words += ["--batch-size", str(options.batch_size), "--learning-rate", f"{options.learning_rate:g}"]
    words += ["--max-length", str(options.max_length)]
    words += [] if settings.limit is None else ["--limit", str(settings.limit)]
    words += [] if settings.threads is None else ["--threads", str(settings.threads)]
    words += [] if settings.decode else ["--no-decode"]
    return shlex.join(words)


def to_json(
    settings: Settings, output: Path, grids: Mapping[str, Grid], adapters: Mapping[str, Trained], found: Summary
) -> dict[str, Any]:
    """Everything that was found and all that it depends on."""
    decode = {
        "accuracy_level": TARGET.accuracy_level, "threads": settings.threads, "prompt_tokens": PROMPT_TOKENS,
        "rounds": ROUNDS, "steps": STEPS, "seed": settings.seeds[0],
    }  # fmt: skip
    return {
        "format_version": FORMAT_VERSION,
        "command": command_line(settings, output),
        "model": grids[FLOAT].checkpoint.name,
        "base": grids[FLOAT].base_fingerprint,
        "grids": {name: {"fingerprint": grid.fingerprint, **_grid_record(grid)} for name, grid in grids.items()},
        "data": {"file": settings.data.name, "sha256": hash_file(settings.data)},
        "eval_data": {"file": settings.eval_data.name, "sha256": hash_file(settings.eval_data)},
        "options": {key: value for key, value in settings.options.record().items() if key != "seed"},
        "seeds": list(settings.seeds),
        "accuracy_level": EXACT_LEVEL,
        "decode": decode if settings.decode else None,
        "metric": found.metric,
        "rows": found.rows,
        "answered": found.answered,
        "arms": [_arm_json(row) for row in found.arms],
        "adapters": {
            name: {"sha256": item.sha256, "bytes": item.bytes, "training": dict(item.training)}
            for name, item in adapters.items()
        },
        "versions": dict(versions(_PACKAGES)),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system()},
    }


def to_markdown(settings: Settings, output: Path, grids: Mapping[str, Grid], found: Summary) -> str:
    """The table, a paragraph on how it was made, and the command."""
    model, seeds = grids[FLOAT].checkpoint.name, len(settings.seeds)
    heads = ["arm", "what it is", "loss", "loss over float"]
    heads += [METRIC_NAMES[found.metric]] if found.metric else []
    heads += ["MB", "decode ms"] if settings.decode else ["MB"]
    lines = [f"# {model}: ways to ship one fine-tuned model", ""]
    lines += [_row(heads), _row(["---", "---", *["---:"] * (len(heads) - 2)])]
    lines += [_row(_cells(row, found.metric, settings.decode)) for row in found.arms]
    steps = settings.options.max_steps
    length = f"{settings.options.epochs} epochs" if steps is None else f"{steps} steps"
    generates = grids[FLOAT].checkpoint.task.generates
    answers = "" if found.metric is None else f", {METRIC_NAMES[found.metric]} that of {found.answered} greedy answers"
    loss = f"Loss is the mean over the answer tokens (nats) of the {found.rows} rows"
    if not generates:
        told = METRIC_NAMES.get(found.metric or "", "")
        loss = f"Loss is the mean (nats) over the {found.rows} rows"
        loss = f"Loss is what {told} lacks to 1, on the {found.rows} rows" if found.metric in WITHOUT_LOSS else loss
        answers = f", {told} that of the same rows"
    others = "".join(f"; `{name}` is {_name(grids[name])}" for name in settings.better)
    made = (
        f"Each adapter has rank {settings.options.rank} and learned from `{settings.data.name}` for {length} of "
        f"{settings.options.batch_size} rows at a learning rate of {settings.options.learning_rate:g}, with "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'} ({', '.join(map(str, settings.seeds))}) on each kind of values. "
        f"The quantized values are {_name(grids[GRID])}{others}. {loss} "
        f"of `{settings.eval_data.name}`{answers}. Figures are the median over the seeds, with the "
        'lowest and the highest in brackets; "loss over float" is the difference to the arm `float` with the same '
        "seed. Scores are from exported artifacts in onnxruntime with float32 activations (accuracy level "
        f"{EXACT_LEVEL}), so that grids and adapters are compared and not how a kernel rounds activations. "
        "MB are graph, weights and adapter."
    )
    if settings.decode:
        count = settings.threads
        threads = DEFAULT_THREADS if count is None else f"{count} {'thread' if count == 1 else 'threads'}"
        made += (
            f" Decode is the median time of one token after {PROMPT_TOKENS}, at the accuracy level that ships "
            f"({TARGET.accuracy_level}), on {threads}, all arms in turns in one process, with the adapters of seed "
            f"{settings.seeds[0]}."
        )
    lines += ["", f"![Quality over size]({PLOT_FILE})", "", made, "", "```", command_line(settings, output), "```", ""]
    return "\n".join(lines)


def _arm_json(row: ArmSummary) -> dict[str, Any]:
    return {
        "name": row.arm.name,
        "what": row.arm.what,
        "values": row.arm.values,
        "trained_on": row.arm.trained_on,
        "merged": row.arm.merged,
        "loss": dataclasses.asdict(row.loss),
        "loss_over_float": None if row.loss_over_float is None else dataclasses.asdict(row.loss_over_float),
        "figures": {name: dataclasses.asdict(value) for name, value in row.figures.items()},
        "bytes": row.bytes,
        "decode_ms": None if row.decode_ms is None else dataclasses.asdict(row.decode_ms),
        "by_seed": [
            {"seed": seed, **dataclasses.asdict(score)}
            for seed, score in sorted(row.by_seed.items(), key=lambda item: item[0] or 0)
        ],
    }


def _cells(row: ArmSummary, metric: str | None, decode: bool) -> list[str]:
    cells = [f"`{row.arm.name}`", row.arm.what, _over(row.loss, ".4f")]
    cells.append("" if row.loss_over_float is None else _over(row.loss_over_float, "+.4f"))
    if metric is not None:
        percent = row.figures[metric]
        cells.append(_over(Over(100 * percent.median, 100 * percent.least, 100 * percent.most), ".1f") + " %")
    cells.append(f"{row.bytes / 1e6:.1f}")
    if decode:
        cells.append("" if row.decode_ms is None else f"{row.decode_ms.median:.2f}")
    return cells


def _over(value: Over, spec: str) -> str:
    median = format(value.median, spec)
    if value.least == value.most:
        return median
    return f"{median} ({format(value.least, spec)} to {format(value.most, spec)})"


def _grid_record(grid: Grid) -> Mapping[str, Any]:
    return {**grid.record(), "bits_per_weight": grid.bits_per_weight()}


def _name(grid: Grid) -> str:
    spec = grid.plan.spec
    if spec is None:
        return grid.plan.label
    kind = "symmetric" if spec.symmetric else "asymmetric"
    bits = grid.bits_by_kind()
    mixed = f", {len(grid.plan.overrides)} tensors wider" if grid.plan.overrides else ""
    return (
        f"{grid.plan.label} by {grid.plan.method}, {kind}, blocks of {spec.block_size}{mixed} "
        f"({bits['linears']} bits for a weight of the linears, {bits['all']} for all)"
    )


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
