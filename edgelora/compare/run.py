"""A whole comparison: grids, adapters, scores, timing, and the three files of the report.

Checkpoint, Settings -> Compared

Reading this file tells what a comparison is.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora.artifact.exporter import Exporter
from edgelora.checkpoint.placing import head_modules
from edgelora.compare.adapters import obtain_adapters
from edgelora.compare.arms import Settings, list_arms
from edgelora.compare.artifacts import Workshop
from edgelora.compare.grids import make_grids
from edgelora.compare.plot import draw
from edgelora.compare.report import PLOT_FILE, to_json, to_markdown
from edgelora.compare.score import read_judging, score_arms
from edgelora.compare.storage import read_json, write_file
from edgelora.compare.summary import Summary, summarize
from edgelora.compare.timing import time_arms
from edgelora.errors import ConfigError
from edgelora.progress import Progress
from edgelora.values import Checkpoint
from edgelora_runtime.files import is_temporary, temporary_folder

JSON_FILE, MARKDOWN_FILE = "report.json", "report.md"
_OWN = {"adapters", "grids", "scores", JSON_FILE, MARKDOWN_FILE, PLOT_FILE}


@dataclass(frozen=True)
class Compared:
    """A finished comparison."""

    report: dict[str, Any]  # as report.json holds it
    summary: Summary
    trained: tuple[str, ...]  # adapters that were trained now; all others were there


def compare(
    checkpoint: Checkpoint, settings: Settings, output: Path, exporter: Exporter, progress: Progress
) -> Compared:
    """Fill ``output``: adapters, grids and scores that are there are used where they are the right ones.

    Raises ConfigError for a folder that holds something else or adapters of other options, DataError for unusable rows.
    """
    _check_output(output)
    read_judging(checkpoint.task.name, settings.eval_data)  # before hours of training
    task = checkpoint.task
    arms = list_arms(settings.better, [name for name, _ in settings.starts], not needs_head(checkpoint))
    if not task.generates and settings.decode:
        settings = dataclasses.replace(settings, decode=False)
        progress.say(f"no time of a token is measured: a model of {task.name} decodes none")
    grids = make_grids(checkpoint, settings, output / "grids", progress)
    adapters = obtain_adapters(checkpoint, grids, settings, output / "adapters", progress)
    with temporary_folder(output) as scratch:
        workshop = Workshop(checkpoint, grids, adapters, exporter, settings, scratch, progress)
        scores = score_arms(workshop, arms, output / "scores")
        decode_ms = time_arms(workshop, arms, output / "scores" / "decode.json") if settings.decode else {}
    found = summarize(arms, scores, decode_ms)
    report = to_json(settings, output, grids, adapters, found)
    name = f"{checkpoint.name}, {settings.quant}, trained on {'/'.join(settings.data.parts[-2:])}"
    # First the one by which the next run knows that all three are a comparison's.
    write_file(output / JSON_FILE, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_file(output / PLOT_FILE, draw(found, name))
    write_file(output / MARKDOWN_FILE, to_markdown(settings, output, grids, found))
    return Compared(report, found, tuple(name for name, item in adapters.items() if not item.reused))


def needs_head(checkpoint: Checkpoint) -> bool:
    """Whether only adapters can answer: the task has a head, and the base has no whole one."""
    has_head = bool(head_modules(checkpoint.config["model_type"], checkpoint.task.name))
    return not checkpoint.task.generates and has_head and checkpoint.task.head is None


def _check_output(output: Path) -> None:
    """Raise ConfigError for a folder that no comparison made."""
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file; choose a folder for the report")
    names = os.listdir(output) if output.exists() else []
    foreign = sorted(name for name in names if name not in _OWN and not is_temporary(name))
    reports = sorted({JSON_FILE, MARKDOWN_FILE, PLOT_FILE} & set(names))
    if reports and "arms" not in read_json(output / JSON_FILE):
        foreign += reports
    if foreign:
        raise ConfigError(f"{output} holds other files ({', '.join(foreign[:3])}); choose another folder")
