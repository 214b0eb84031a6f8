"""The grids of a comparison: the float values, the plain grid, and one for each better method, kept as a file.

Checkpoint, Settings -> Grid

A calibrated grid is kept because its codes depend on how a machine adds up: adapters that were trained on it must find
the very same one again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelora.compare.arms import FLOAT, GRID, Settings
from edgelora.compare.storage import read_json, write_file
from edgelora.errors import ConfigError
from edgelora.grid.file import read_grid, write_grid
from edgelora.grid.make import EMBEDDING_BITS, Grid, parse_quant, plan_grid
from edgelora.progress import Progress
from edgelora.torch_model.choose_grid import GridChoice, grid_maker
from edgelora.values import Checkpoint


def make_grids(checkpoint: Checkpoint, settings: Settings, folder: Path, progress: Progress) -> Mapping[str, Grid]:
    """FLOAT, GRID, every method and every grid file -> its grid; methods are read from ``folder`` where they are there.

    Raises ConfigError when a file there is another grid, or was calibrated on other rows, ArtifactError for a grid
    file that is damaged or of another base.
    """
    grids = {
        FLOAT: plan_grid(checkpoint, parse_quant("none"), progress),
        GRID: plan_grid(checkpoint, settings.plan(), progress),
    }
    for method in settings.methods:
        grids[method] = _kept_grid(checkpoint, settings, method, folder, progress)
    for name, path in settings.grid_files:
        grids[name] = read_grid(path, checkpoint, progress)
    return grids


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _kept_grid(checkpoint: Checkpoint, settings: Settings, method: str, folder: Path, progress: Progress) -> Grid:
    path, plan = folder / f"{method}.safetensors", settings.plan(method)
    assert plan.spec is not None  # Settings refused anything else
    calibrated = hash_file(settings.data) if method == "gptq" else None
    made: dict[str, Any] = {
        "model": checkpoint.name, "label": plan.label, "method": method, **dataclasses.asdict(plan.spec),
        "calibration_data_sha256": calibrated,
    }  # fmt: skip
    record = path.with_suffix(".json")
    if path.is_file():
        found = read_json(record)
        wrong = sorted(key for key in made if found.get(key) != made[key])
        if wrong:
            raise ConfigError(
                f"{path} was made with another {wrong[0]} ({found.get(wrong[0])}, now {made[wrong[0]]}); "
                "choose another report folder, or move the file away together with its adapters"
            )
        return read_grid(path, checkpoint, progress)
    progress.say(f"making the {method} grid")
    assert plan.spec is not None
    choice = GridChoice(
        settings.quant,
        settings.block_size,
        plan.spec.symmetric,
        method,
        calibration=settings.data if calibrated else None,
        embedding_bits=max(plan.spec.bits, min(EMBEDDING_BITS)),
    )
    grid = grid_maker(choice, progress)(checkpoint)
    write_file(record, json.dumps(made, indent=1) + "\n")  # first: a grid without it could not be told from another
    write_grid(path, grid)
    return grid
