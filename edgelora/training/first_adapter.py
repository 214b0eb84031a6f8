"""An adapter that another one starts from: read, and held to the base and the grid that it was trained on.

PEFT folder, Receipt -> FirstAdapter
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgelora.errors import AdapterError, ConfigError
from edgelora.training.recipe import Recipe
from edgelora.values import FloatArray
from edgelora_runtime.adapter import WEIGHTS_FILE, Factors, read_adapter
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.receipt import Receipt, read_receipt


@dataclass(frozen=True, eq=False)
class FirstAdapter:
    """The factors to begin with, and what names them in a receipt."""

    folder: Path
    sha256: str  # of adapter_model.safetensors
    factors: Mapping[str, Factors]  # by module
    head: Mapping[str, FloatArray]  # tensors of the head that came with it
    receipt: Receipt | None
    invocation: tuple[int, ...] = ()  # of an activated one

    @property
    def rank(self) -> int:
        """The largest rank of any module."""
        return max(int(item.a.shape[0]) for item in self.factors.values())

    @property
    def alpha(self) -> float:
        """What gives the modules of the largest rank their scaling."""
        widest = next(item for item in self.factors.values() if item.a.shape[0] == self.rank)
        return round(widest.scaling * self.rank, 9)

    @property
    def target_modules(self) -> tuple[str, ...]:
        """The last parts of the adapted modules' names, sorted."""
        return tuple(sorted({module.rsplit(".", 1)[-1] for module in self.factors}))


def read_first_adapter(folder: Path) -> FirstAdapter:
    """Read a PEFT folder to start from; raises AdapterError when it is no plain LoRA or cannot be read."""
    adapter = read_adapter(folder, with_head=True)
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    return FirstAdapter(folder, digest, adapter.factors, adapter.head, read_receipt(folder), adapter.invocation)


def check_invocation(first: FirstAdapter, invocation: tuple[int, ...]) -> None:
    """Raise ConfigError unless the adapter acts where this run's does: on every token, or from one invocation on."""
    if first.invocation != invocation:
        found, asked = (
            f"acts from token ids {join_some(map(str, ids), ', ')} on" if ids else "acts on every token"
            for ids in (first.invocation, invocation)
        )
        raise ConfigError(
            f"--from {first.folder} {found}, what this run trains {asked}; give --activated and --invocation as it "
            "was trained with, or leave them out"
        )


def check_first_adapter(first: FirstAdapter, ours: Receipt, labels: tuple[str, ...] = ()) -> None:
    """Raise AdapterError when the receipt names another base or grid than this run's; without a receipt all goes.

    A head that comes along must have the ``labels`` of this run in their order.
    """
    theirs = first.receipt
    known = () if theirs is None or theirs.head is None else theirs.head.labels
    if first.head and known and known != labels:
        raise AdapterError(
            f"--from {first.folder} has a head for {join_some(known, ', ')}, the rows have "
            f"{join_some(labels, ', ') or 'no labels'}; start from an adapter with the same labels in the same order"
        )
    if theirs is None:
        return
    if theirs.fingerprint != ours.fingerprint:
        raise AdapterError(
            f"--from {first.folder} was trained on another base: {theirs.name or 'unnamed'} "
            f"({theirs.fingerprint[:12]}), this one is {ours.name} ({ours.fingerprint[:12]}); start from an adapter "
            "of this base"
        )
    if theirs.grid != ours.grid:
        raise AdapterError(
            f"--from {first.folder} was trained on another grid of {ours.name}: {_short(theirs.grid)}, this run uses "
            f"{_short(ours.grid)}; give the same --quant, --block-size and --quant-method as it was trained with"
        )


def check_shape(first: FirstAdapter, options: Recipe) -> None:
    """Raise ConfigError unless the options ask for what the adapter is; target modules by their last parts."""
    modules = sorted({name.rsplit(".", 1)[-1] for name in options.target_modules})
    wrong = [
        f"{option} is {asked}, it has {found}"
        for option, asked, found in (
            ("--rank", options.rank, first.rank),
            ("--alpha", options.alpha, first.alpha),
            ("--target-modules", ",".join(modules), ",".join(first.target_modules)),
        )
        if asked != found
    ]
    if wrong:
        raise ConfigError(f"--from {first.folder}: {'; '.join(wrong)}; leave them out to take the adapter's own")


def _short(grid: str | None) -> str:
    return "the float weights" if grid is None else grid[:12]
