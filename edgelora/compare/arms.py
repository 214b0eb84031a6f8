"""The ways to ship a fine-tuned model that are compared, and what a comparison is asked for.

names of methods -> Arm, Settings
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelora.errors import ConfigError
from edgelora.grid.make import QUANT_METHODS, GridSpec, parse_quant
from edgelora.training.first_adapter import FirstAdapter
from edgelora.training.recipe import Recipe

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
FLOAT, GRID = "float", "grid"  # the values of a base: as they are, or on the plain grid; a method names its own grid
REFERENCE_ARM = "float"  # what every other arm is held to, seed by seed


@dataclass(frozen=True)
class Arm:
    """One row of the table."""

    name: str
    values: str  # of the base that ships: FLOAT, GRID, a method or the name of a grid file
    trained_on: str | None  # the values that its adapter has learned on; None for the base without an adapter
    merged: bool  # the adapter is added to the float weights, and the sum is rounded
    what: str  # for people


@dataclass(frozen=True)
class Settings:
    """What is compared, on what. Nothing here says where the report goes."""

    model: str
    data: Path
    eval_data: Path
    options: Recipe  # its seed is replaced by each of ``seeds``
    seeds: tuple[int, ...]
    quant: str = "int4"
    block_size: int = 32
    symmetric: bool | None = None
    methods: tuple[str, ...] = ("gptq",)  # better grids, each with adapters of its own
    grid_files: tuple[tuple[str, Path], ...] = ()  # names and files of grids that `edgelora quantize` wrote, likewise
    starts: tuple[tuple[str, Path], ...] = ()  # names of grid files, and the adapter that all of theirs start from
    limit: int | None = None  # rows that are answered; the loss is that of all
    threads: int | None = None  # for one matrix product of onnxruntime; None is the runtime's default
    decode: bool = True
    task: str | None = None  # a command's word for it; None is what the model is for

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"--seeds is {self.seeds}, expected different whole numbers from 0, such as 0,1,2")
        known = [method for method in QUANT_METHODS if method != "rtn"]
        wrong = [method for method in self.methods if method not in known]
        if wrong or len(set(self.methods)) != len(self.methods):
            raise ConfigError(f"--method is {', '.join(self.methods)}; give each of {', '.join(known)} at most once")
        names = [name for name, _ in self.grid_files]
        taken = {FLOAT, GRID, *QUANT_METHODS}
        bad = [name for name in names if name in taken or not _NAME.fullmatch(name)]
        if bad or len(set(names)) != len(names):
            raise ConfigError(
                f"--grid names are {', '.join(names)}; give different ones of small letters, digits and '-', "
                f"none of {', '.join(sorted(taken))}"
            )
        started = [name for name, _ in self.starts]
        if len(set(started)) != len(started) or not set(started) <= set(names):
            raise ConfigError(
                f"--from names are {', '.join(started)}; give each name of a --grid at most once, "
                f"of {', '.join(names) or 'none'}"
            )
        if self.plan().spec is None:
            raise ConfigError(f"--quant {self.quant} keeps floats, which leaves nothing to compare; give int4 or int2")

    @property
    def better(self) -> tuple[str, ...]:
        """Every grid beyond the plain one, in the order of the table."""
        return (*self.methods, *(name for name, _ in self.grid_files))

    def plan(self, method: str = "rtn") -> GridSpec:
        """The grid of the arms that are quantized, by one method."""
        return parse_quant(self.quant, self.block_size, self.symmetric, method)

    def options_of(self, seed: int, first: FirstAdapter | None = None) -> Recipe:
        """The training of one seed; an adapter to start from brings its own modules."""
        modules = self.options.target_modules if first is None else first.target_modules
        return dataclasses.replace(self.options, seed=seed, target_modules=modules)


def list_arms(better: Sequence[str], repaired: Collection[str] = (), base_answers: bool = True) -> tuple[Arm, ...]:
    """Every arm, in the order of the table; ``better`` names the grids beyond the plain one.

    Adapters of the grids in ``repaired`` start from one that gives back what the grid took. A base that lacks a head
    cannot answer without an adapter.
    """
    bases = (
        Arm("base-float", FLOAT, None, False, "the base, no adapter"),
        Arm("base-grid", GRID, None, False, "the quantized base, no adapter"),
    )
    return (
        *(bases if base_answers else ()),
        Arm("float", FLOAT, FLOAT, False, "LoRA on the float base"),
        Arm("float-merged", GRID, FLOAT, True, "the same LoRA, merged in float and then quantized"),
        Arm("float-factored", GRID, FLOAT, False, "the same LoRA beside the quantized base"),
        Arm("grid", GRID, GRID, False, "LoRA trained on the quantized values, beside them"),
        *(Arm(f"grid-{name}", name, name, False, _caption(name, name in repaired)) for name in better),
    )


def _caption(grid: str, is_repaired: bool) -> str:
    after = ", from an adapter that repairs it" if is_repaired else ""
    return f"LoRA trained on the {grid} grid{after}, beside it"


def adapter_name(trained_on: str, seed: int) -> str:
    """Name of an adapter, as a folder and inside an artifact."""
    return f"{trained_on}-seed{seed}"
