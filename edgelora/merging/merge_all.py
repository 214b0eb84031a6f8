"""Merging a whole adapter, and the figures that tell whether anything is left of it once the sum is rounded.

Checkpoint, PEFT folder -> Parts
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelora.adapter.survival import Survival, find_survival, summarize
from edgelora.artifact.parts import Parts
from edgelora.checkpoint.names import module_of
from edgelora.grid.make import CALIBRATED, Grid, GridSpec, MakeGrid, plan_grid
from edgelora.merging.merge import MergedCheckpoint, merge_adapter
from edgelora.merging.merge_policy import refuse_lossy
from edgelora.values import Checkpoint, QuantSpec
from edgelora_runtime.adapter import Factors
from edgelora_runtime.receipt import read_receipt

SAMPLED_ROWS = 256  # of each module; rows are rounded on their own


def merge_all(checkpoint: Checkpoint, folder: Path, make_grid: MakeGrid, accept_lossy: bool) -> Parts:
    """Merge every module; raises AdapterError when rounding would lose the adapter, unless that is accepted."""
    receipt = read_receipt(folder)
    if receipt is None or receipt.quantization is None:
        merged = merge_adapter(checkpoint, folder, None)
        grid = make_grid(merged)
    else:
        own = make_grid(checkpoint)
        merged = merge_adapter(checkpoint, folder, own)
        # What made the base's grid may need the base itself (a calibration, for one); its specs need nothing.
        grid = plan_grid(merged, plan_to_round(own.plan))
    survival = _survival(merged, grid)
    if survival is not None and not accept_lossy:
        refuse_lossy(survival, str(folder))
    record: dict[str, Any] = {"adapter": folder.name, "policy": "all"}
    return Parts(grid, record=record | ({} if survival is None else {"survival": survival_record(survival)}))


def plan_to_round(plan: GridSpec) -> GridSpec:
    """The plan for weights that have moved: a calibrated method has seen other ones, so each is rounded alone."""
    return dataclasses.replace(plan, method="rtn") if plan.method in CALIBRATED else plan


def survival_record(survival: Survival) -> Mapping[str, float]:
    """The figures of a merge for the manifest."""
    return {
        "correlation": round(survival.correlation, 4),
        "codes_changed": round(survival.codes_changed, 5),
        "step_to_delta": round(survival.step_to_delta, 3),
    }


def _survival(merged: MergedCheckpoint, grid: Grid) -> Survival | None:
    """Over all merged modules that are rounded, None where none is (floats keep a merge whole)."""
    by_spec: dict[QuantSpec, dict[str, Factors]] = {}
    for name, item in merged.factors.items():
        if name in grid.specs:
            by_spec.setdefault(grid.specs[name], {})[module_of(name)] = item
    before = merged.trained_on or dataclasses.replace(grid, checkpoint=merged.base)
    found: dict[str, Survival] = {}
    for spec, factors in by_spec.items():
        found |= find_survival(before, factors, spec=spec, from_float=merged.trained_on is None, max_rows=SAMPLED_ROWS)
    return summarize(found) if found else None
