"""The ways in which each layer of one grid can take an adapter in, and what a choice among them is made of.

Grid, PEFT folder -> Candidates -> Parts
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgelora.artifact.parts import Parts
from edgelora.checkpoint.names import module_of
from edgelora.errors import AdapterError, ConfigError
from edgelora.grid.make import Grid, plan_grid
from edgelora.merging.merge import MergedCheckpoint, read_factors
from edgelora.merging.merge_all import plan_to_round
from edgelora.merging.merge_policy import FACTORED, Choices
from edgelora.values import QuantSpec
from edgelora_runtime.adapter import Factors
from edgelora_runtime.receipt import read_receipt

_LAYER = re.compile(r"(^|\.)(layers|h)\.(?P<layer>\d+)\.")
_WIDE = "int8"


@dataclass(frozen=True)
class Candidates:
    """The grid as it is, and for each way of merging the same grid with every adapted tensor merged that way."""

    grid: Grid
    factors: Mapping[str, Factors]  # by tensor name
    layers: Mapping[str, tuple[str, ...]]  # layer -> its adapted tensors
    merged: Mapping[str, Grid]  # label -> grid; the export's own bits first

    @property
    def own(self) -> str:
        """The label of the export's own bits."""
        return next(iter(self.merged))

    @property
    def by_module(self) -> Mapping[str, Factors]:
        """The factors by module name."""
        return {module_of(name): item for name, item in self.factors.items()}

    def replaced(self, choices: Choices) -> Mapping[str, Grid]:
        """Merged tensor -> the grid that has its value."""
        return {
            name: self.merged[choices[layer]]
            for layer, tensors in self.layers.items()
            for name in tensors
            if choices[layer] != FACTORED
        }

    def bytes_of(self, label: str) -> Mapping[str, int]:
        """Layer -> bytes of its adapted tensors, merged that way."""
        grid = self.merged[label]
        return {layer: sum(_stored_bytes(grid, name) for name in tensors) for layer, tensors in self.layers.items()}

    def uniform(self, label: str) -> Parts:
        """What is built when every layer chooses the same."""
        return self.parts(dict.fromkeys(self.layers, label))

    def parts(self, choices: Choices) -> Parts:
        """The grid and the factors of one choice for every layer; nothing is said of why."""
        merged = {name: self.factors[name] for name in self.replaced(choices)}
        overrides = dict(self.grid.plan.overrides)
        for name, found in self.replaced(choices).items():
            if name in self.grid.specs:
                overrides[name] = found.specs[name]
        kept = {module_of(name): item for name, item in self.factors.items() if name not in merged}
        plan = dataclasses.replace(plan_to_round(self.grid.plan), overrides=overrides)
        return Parts(plan_grid(MergedCheckpoint(self.grid.checkpoint, merged, self.grid), plan), kept or None, {})


def make_candidates(grid: Grid, folder: Path) -> Candidates:
    """Merge the PEFT folder in every way; raises AdapterError for one of another grid, ConfigError without codes."""
    factors = read_factors(grid.checkpoint, folder)
    if grid.plan.spec is None:
        raise ConfigError(
            f"--merge-policy auto weighs bits, and --quant {grid.plan.label} has none: a merge loses nothing there; "
            "use --merge-policy all"
        )
    receipt = read_receipt(folder)
    if receipt is not None and receipt.grid is not None and receipt.grid != grid.fingerprint:
        raise AdapterError(
            f"{folder} was trained on grid {receipt.grid[:12]}, this export makes {grid.fingerprint[:12]}; give the "
            "--quant, --block-size and --quant-method of the training: auto widens single layers where that helps"
        )
    layers: dict[str, tuple[str, ...]] = {}
    for name in factors:
        match = _LAYER.search(name)
        if match is None:
            raise AdapterError(f"{folder} adapts {name}, which is in no layer; merge it with --merge-policy all")
        layers[match["layer"]] = (*layers.get(match["layer"], ()), name)
    everything = MergedCheckpoint(grid.checkpoint, factors, grid)
    plan = plan_to_round(grid.plan)
    wide = {name: QuantSpec(8, grid.specs[name].block_size) for name in factors if name in grid.specs}
    merged = {plan.label: plan_grid(everything, plan)}
    if any(grid.specs[name].bits < 8 for name in wide):
        overrides = {**plan.overrides, **wide}
        merged[_WIDE] = plan_grid(everything, dataclasses.replace(plan, overrides=overrides))
    return Candidates(grid, factors, dict(sorted(layers.items(), key=lambda item: int(item[0]))), merged)


def _stored_bytes(grid: Grid, name: str) -> int:
    if name not in grid.matrices:
        return 4 * math.prod(grid.checkpoint.shape(name))
    matrix = grid.matrices[name]
    zero_points = 0 if matrix.zero_points is None else matrix.zero_points.nbytes
    return matrix.packed.nbytes + 2 * matrix.scales.size + zero_points  # scales are stored as bfloat16
