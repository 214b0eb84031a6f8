"""Merging by measurement: for each layer merge with the export's own bits, merge at int8, or keep factored.

Knows nothing about torch or graphs; KL divergences are asked of a function, sizes and times of exported candidates.
"""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgelora.adapter.survival import measure_survival, summarize
from edgelora.artifact.merge import MergedCheckpoint, read_factors
from edgelora.artifact.merge_all import SAMPLED_ROWS, Assembled, describe_survival, plan_to_round
from edgelora.artifact.merge_policy import FACTORED, Choices, Decision, Limits, Option, check_budgets, choose
from edgelora.checkpoint.names import module_of
from edgelora.data.probes import probe_prompts
from edgelora.errors import AdapterError, ConfigError
from edgelora.evaluation.timing import bind, measure, open_session
from edgelora.grid.make import Grid, MakeGrid, plan_grid
from edgelora.progress import SILENT, Progress
from edgelora.values import Checkpoint, QuantSpec
from edgelora_runtime.adapter import Factors
from edgelora_runtime.files import temporary_folder
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.names import NO_ADAPTER
from edgelora_runtime.receipt import read_receipt

MeasureKl = Callable[[Mapping[str, Grid]], float]  # tensor name -> the grid whose value replaces W + delta; nats
ExportCandidate = Callable[[Path, Assembled], None]  # writes an artifact into a folder that exists
OpenKl = Callable[[Grid, Mapping[str, Factors], Sequence[Sequence[int]]], MeasureKl]  # factors by module name

_LAYER = re.compile(r"(^|\.)(layers|h)\.(?P<layer>\d+)\.")
_WIDE = "int8"
_ROUNDS, _STEPS = 5, 16  # of timing: how often every candidate has its turn, tokens in a turn
_MORE_ATTEMPTS = 2  # after a choice whose measured size or time is over


@dataclass(frozen=True)
class AutoMerge:
    """How to choose. ``open_kl`` loads the exact model (PyTorch does) and measures candidates against it."""

    open_kl: OpenKl
    limits: Limits = field(default_factory=Limits)
    prompts: Sequence[Sequence[int]] | None = None  # token ids; None asks the probe prompts
    progress: Progress = SILENT


@dataclass(frozen=True)
class _Candidates:
    """The grid as it is, and for each way of merging the same grid with every adapted tensor merged that way."""

    grid: Grid
    factors: Mapping[str, Factors]  # by tensor name
    layers: Mapping[str, Sequence[str]]  # layer -> its adapted tensors
    merged: Mapping[str, Grid]  # label -> grid

    def replaced(self, choices: Choices) -> Mapping[str, Grid]:
        """Merged tensor -> the grid that has its value."""
        return {
            name: self.merged[choices[layer]]
            for layer, tensors in self.layers.items()
            for name in tensors
            if choices[layer] != FACTORED
        }

    def bytes_of(self, grid: Grid) -> Mapping[str, int]:
        """Layer -> bytes of its adapted tensors as ``grid`` stores them."""
        return {layer: sum(_stored_bytes(grid, name) for name in tensors) for layer, tensors in self.layers.items()}

    def assemble(self, choices: Choices) -> Assembled:
        """The grid and the factors of one choice for every layer."""
        names = {name: choices[layer] for layer, tensors in self.layers.items() for name in tensors}
        overrides = dict(self.grid.plan.overrides)
        for name, label in names.items():
            if label != FACTORED and name in self.grid.specs:
                overrides[name] = self.merged[label].specs[name]
        merged = {name: item for name, item in self.factors.items() if names[name] != FACTORED}
        kept = {module_of(name): self.factors[name] for name in names if name not in merged}
        plan = dataclasses.replace(plan_to_round(self.grid.plan), overrides=overrides)
        return Assembled(plan_grid(MergedCheckpoint(self.grid.checkpoint, merged, self.grid), plan), kept or None)


@dataclass(frozen=True)
class _Measured:
    bytes: int  # of graph and weights
    ms: float | None  # of a decode step, median


def merge_auto(
    checkpoint: Checkpoint, folder: Path, make_grid: MakeGrid, settings: AutoMerge, export: ExportCandidate
) -> Assembled:
    """Choose for each layer and assemble the result; ``export`` serves to measure sizes and times of candidates.

    Everything is compared with the grid and the adapter factored beside it, which is what an artifact with slots
    answers; an adapter is merged onto the values of that grid. Raises AdapterError for an adapter that was trained on
    another grid, ConfigError for a grid without codes and for budgets that cannot be met.
    """
    factors = read_factors(checkpoint, folder)
    candidates = _make_candidates(make_grid(checkpoint), factors, folder)
    by_module = {module_of(name): item for name, item in factors.items()}
    measure_kl = settings.open_kl(candidates.grid, by_module, settings.prompts or probe_prompts(checkpoint))
    kl = _measure_layers(candidates, measure_kl, settings.progress)
    limits = settings.limits
    with temporary_folder(Path(tempfile.gettempdir())) as scratch:
        uniform = _measure_uniform(candidates, limits, export, scratch)
        decision, found = _decide(
            candidates,
            _cost(candidates, kl, uniform),
            limits,
            lambda choices: measure_kl(candidates.replaced(choices)),
            (lambda assembled: _measure(assembled, limits, export, scratch / "chosen")) if uniform else None,
        )
    if found is not None:
        check_budgets(limits, found.bytes, found.ms, decision.kl)
    assembled = candidates.assemble(decision.choices)
    survival = describe_survival(summarize(measure_survival(candidates.grid, by_module, max_rows=SAMPLED_ROWS)))
    record = {
        "adapter": folder.name,
        "policy": "auto",
        "kl": round(decision.kl, 6),
        **_describe_limits(limits),
        **_describe_measured(uniform, found),
        "survival": survival,  # of merging all with the export's own bits
        "layers": {layer: asdict(item) for layer, item in decision.layers.items()},
    }
    return dataclasses.replace(assembled, record=record)


def _make_candidates(grid: Grid, factors: Mapping[str, Factors], folder: Path) -> _Candidates:
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
    layers: dict[str, list[str]] = {}
    for name in factors:
        match = _LAYER.search(name)
        if match is None:
            raise AdapterError(f"{folder} adapts {name}, which is in no layer; merge it with --merge-policy all")
        layers.setdefault(match["layer"], []).append(name)
    everything = MergedCheckpoint(grid.checkpoint, factors, grid)
    plan = plan_to_round(grid.plan)
    wide = {name: QuantSpec(8, grid.specs[name].block_size) for name in factors if name in grid.specs}
    merged = {plan.label: plan_grid(everything, plan)}
    if any(grid.specs[name].bits < 8 for name in wide):
        overrides = {**plan.overrides, **wide}
        merged[_WIDE] = plan_grid(everything, dataclasses.replace(plan, overrides=overrides))
    return _Candidates(grid, factors, dict(sorted(layers.items(), key=lambda item: int(item[0]))), merged)


def _decide(
    candidates: _Candidates,
    costs: tuple[Mapping[str, Mapping[str, Option]], Option],
    limits: Limits,
    measure_kl: Callable[[Choices], float],
    measure_cost: Callable[[Assembled], _Measured] | None,
) -> tuple[Decision, _Measured | None]:
    """A choice and what it was found to take; one that is over its budgets is made again with tighter ones."""
    decision = choose(costs[0], limits, measure_kl, costs[1])
    if measure_cost is None:
        return decision, None
    found, target = measure_cost(candidates.assemble(decision.choices)), limits
    for _ in range(_MORE_ATTEMPTS):
        tighter = _tighten(target, limits, found)
        if tighter == target:
            break
        target, again = tighter, choose(costs[0], tighter, measure_kl, costs[1])
        if again.choices == decision.choices:
            break
        decision, found = again, measure_cost(candidates.assemble(again.choices))
    return decision, found


def _measure_layers(
    candidates: _Candidates, measure_kl: MeasureKl, progress: Progress
) -> Mapping[str, Mapping[str, float]]:
    """Layer -> label -> KL with that layer alone merged."""
    return {
        layer: {
            label: measure_kl(dict.fromkeys(candidates.layers[layer], merged))
            for label, merged in candidates.merged.items()
        }
        for layer in progress.track(list(candidates.layers), "merge", "layer")
    }


def _measure_uniform(
    candidates: _Candidates, limits: Limits, export: ExportCandidate, scratch: Path
) -> Mapping[str, _Measured]:
    """What each choice takes when every layer makes it; nothing without a budget that asks."""
    if limits.max_bytes is None and limits.max_ms is None:
        return {}
    for label in (FACTORED, *candidates.merged):
        (scratch / label).mkdir()
        export(scratch / label, candidates.assemble(dict.fromkeys(candidates.layers, label)))
    return _measure_artifacts([scratch / label for label in (FACTORED, *candidates.merged)], limits.max_ms is not None)


def _cost(
    candidates: _Candidates, kl: Mapping[str, Mapping[str, float]], uniform: Mapping[str, _Measured]
) -> tuple[Mapping[str, Mapping[str, Option]], Option]:
    """Options of each layer and what the rest takes; what was measured of all layers is shared out by their sizes."""
    factors, own = candidates.factors, next(iter(candidates.merged))
    sizes = {name: 4 * (item.a.size + item.b.size) for name, item in factors.items()}
    weights = {name: item.b.shape[0] * item.a.shape[1] for name, item in factors.items()}
    whole = sum(sizes.values())
    taken = {label: candidates.bytes_of(grid) for label, grid in candidates.merged.items()}  # label -> layer -> bytes
    merged_ms = uniform[own].ms or 0.0 if uniform else 0.0
    extra = uniform[FACTORED].bytes - uniform[own].bytes if uniform else whole
    options: dict[str, dict[str, Option]] = {}
    for layer, names in candidates.layers.items():
        share = sum(weights[name] for name in names) / sum(weights.values())
        ms = {label: ((item.ms or 0.0) - merged_ms) * share for label, item in uniform.items()}
        factored = taken[own][layer] + round(extra * sum(sizes[name] for name in names) / whole)
        options[layer] = {FACTORED: Option(0.0, factored, ms.get(FACTORED, 0.0))}
        for label in candidates.merged:
            options[layer][label] = Option(kl[layer][label], taken[label][layer], ms.get(label, 0.0))
    rest = uniform[own].bytes - sum(taken[own].values()) if uniform else 0
    return options, Option(0.0, rest, merged_ms)


def _stored_bytes(grid: Grid, name: str) -> int:
    if name not in grid.matrices:
        return 4 * math.prod(grid.checkpoint.shape(name))
    matrix = grid.matrices[name]
    zero_points = 0 if matrix.zero_points is None else matrix.zero_points.nbytes
    return matrix.packed.nbytes + 2 * matrix.scales.size + zero_points  # scales are stored as bfloat16


def _measure(assembled: Assembled, limits: Limits, export: ExportCandidate, folder: Path) -> _Measured:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    export(folder, assembled)
    return _measure_artifacts([folder], limits.max_ms is not None)[folder.name]


def _measure_artifacts(folders: Sequence[Path], timed: bool) -> Mapping[str, _Measured]:
    """Folder name -> size and, in turns inside one process, time."""
    manifests = {folder: read_manifest(folder) for folder in folders}
    sizes = {
        folder.name: sum(manifest.files[name].bytes for name in (manifest.graph.file, manifest.graph.weights))
        for folder, manifest in manifests.items()
    }
    if not timed:
        return {name: _Measured(size, None) for name, size in sizes.items()}
    subjects = [bind(*open_session(folder), folder, NO_ADAPTER, folder.name) for folder in folders]
    vocab_size = next(iter(manifests.values())).model.vocab_size
    times = measure(subjects, _ROUNDS, _STEPS, vocab_size).decode_ms
    return {name: _Measured(size, times[name].median) for name, size in sizes.items()}


def _tighten(target: Limits, limits: Limits, found: _Measured) -> Limits:
    """Ask for as much less as the measured candidate is over its budgets."""
    if limits.max_bytes is not None and target.max_bytes is not None and found.bytes > limits.max_bytes:
        target = dataclasses.replace(target, max_bytes=max(0, target.max_bytes - (found.bytes - limits.max_bytes)))
    if limits.max_ms is not None and target.max_ms is not None and found.ms is not None and found.ms > limits.max_ms:
        target = dataclasses.replace(target, max_ms=target.max_ms * limits.max_ms / found.ms)
    return target


def _describe_limits(limits: Limits) -> Mapping[str, float]:
    budgets = {"budget_mb": limits.max_bytes and limits.max_bytes / 1e6, "budget_ms": limits.max_ms}
    return {"max_kl": limits.max_kl, **{name: value for name, value in budgets.items() if value is not None}}


def _describe_measured(uniform: Mapping[str, _Measured], chosen: _Measured | None) -> Mapping[str, Any]:
    """Sizes and times of every layer factored, every layer merged, and the choice."""
    every = {**uniform, **({} if chosen is None else {"chosen": chosen})}
    result: dict[str, Any] = {}
    if every:
        result["mb"] = {label: round(item.bytes / 1e6, 3) for label, item in every.items()}
    if any(item.ms is not None for item in every.values()):
        result["ms"] = {label: item.ms for label, item in every.items()}
    return result
