"""Merging by measurement: for each layer merge with the export's own bits, merge at int8, or keep factored.

Grid, PEFT folder, AutoMerge, Build -> Parts
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgelora.adapter.survival import find_survival, summarize
from edgelora.artifact.build import Build
from edgelora.artifact.parts import Parts
from edgelora.data.probes import probe_prompts
from edgelora.grid.make import Grid
from edgelora.merging.candidates import Candidates, make_candidates
from edgelora.merging.merge_all import SAMPLED_ROWS, survival_record
from edgelora.merging.merge_policy import FACTORED, Decision, Limits, Option, check_budgets, choose
from edgelora.merging.trial import Taken, Trial
from edgelora.progress import SILENT, Progress
from edgelora.torch_model.merge_kl import MergeKl
from edgelora_runtime.files import temporary_folder

_MORE_ATTEMPTS = 2  # after a choice whose measured size or time is over


@dataclass(frozen=True)
class AutoMerge:
    """How to choose."""

    limits: Limits = field(default_factory=Limits)
    prompts: Sequence[Sequence[int]] = ()  # token ids; without any, the probe prompts
    progress: Progress = SILENT


def merge_auto(grid: Grid, folder: Path, settings: AutoMerge, build: Build) -> Parts:
    """Choose for each layer and put the result together; candidates are built only where a budget asks.

    Everything is compared with the grid and the adapter factored beside it, which is what an artifact with slots
    answers; an adapter is merged onto the values of that grid. Raises AdapterError for an adapter that was trained on
    another grid, ConfigError for a grid without codes and for budgets that cannot be met.
    """
    limits = settings.limits
    candidates = make_candidates(grid, folder)
    divergence = MergeKl(grid, candidates.by_module, settings.prompts or probe_prompts(grid.checkpoint))
    kl = _kl_by_layer(candidates, divergence, settings.progress)
    with temporary_folder(Path(tempfile.gettempdir())) as scratch:
        trial = Trial(build, limits, scratch)
        labels = (FACTORED, *candidates.merged) if trial.is_asked else ()
        uniform = trial.run({label: candidates.uniform(label) for label in labels})
        options, rest = _share_out(candidates, kl, uniform)
        decision, found = _decide(candidates, options, rest, divergence, trial)
    if found is not None:
        check_budgets(limits, found.bytes, found.ms, decision.kl)
    survival = survival_record(summarize(find_survival(grid, candidates.by_module, max_rows=SAMPLED_ROWS)))
    record = {
        "adapter": folder.name,
        "policy": "auto",
        "kl": round(decision.kl, 6),
        **_limits_record(limits),
        **_taken_record(uniform, found),
        "survival": survival,  # of merging all with the export's own bits
        "layers": {layer: asdict(item) for layer, item in decision.layers.items()},
    }
    return dataclasses.replace(candidates.parts(decision.choices), record=record)


def _kl_by_layer(candidates: Candidates, divergence: MergeKl, progress: Progress) -> Mapping[str, Mapping[str, float]]:
    """Layer -> label -> KL with that layer alone merged."""
    return {
        layer: {
            label: divergence(dict.fromkeys(candidates.layers[layer], merged))
            for label, merged in candidates.merged.items()
        }
        for layer in progress.track(list(candidates.layers), "merge", "layer")
    }


def _share_out(
    candidates: Candidates, kl: Mapping[str, Mapping[str, float]], uniform: Mapping[str, Taken]
) -> tuple[Mapping[str, Mapping[str, Option]], Option]:
    """Options of each layer and what the rest takes; what was measured of all layers is shared out by their sizes."""
    factors, own = candidates.factors, candidates.own
    sizes = {name: 4 * (item.a.size + item.b.size) for name, item in factors.items()}
    weights = {name: item.b.shape[0] * item.a.shape[1] for name, item in factors.items()}
    whole = sum(sizes.values())
    taken = {label: candidates.bytes_of(label) for label in candidates.merged}  # label -> layer -> bytes
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


def _decide(
    candidates: Candidates,
    options: Mapping[str, Mapping[str, Option]],
    rest: Option,
    divergence: MergeKl,
    trial: Trial,
) -> tuple[Decision, Taken | None]:
    """A choice and what it was found to take; one that is over its budgets is made again with tighter ones."""

    def decide(limits: Limits) -> Decision:
        return choose(options, limits, lambda choices: divergence(candidates.replaced(choices)), rest)

    def look(decision: Decision) -> Taken:
        return trial.run({"chosen": candidates.parts(decision.choices)})["chosen"]

    target = trial.limits
    decision = decide(target)
    if not trial.is_asked:
        return decision, None
    found = look(decision)
    for _ in range(_MORE_ATTEMPTS):
        tighter = _tighten(target, trial.limits, found)
        if tighter == target:
            break
        target, again = tighter, decide(tighter)
        if again.choices == decision.choices:
            break
        decision, found = again, look(again)
    return decision, found


def _tighten(target: Limits, limits: Limits, found: Taken) -> Limits:
    """Ask for as much less as the measured candidate is over its budgets."""
    if limits.max_bytes is not None and target.max_bytes is not None and found.bytes > limits.max_bytes:
        target = dataclasses.replace(target, max_bytes=max(0, target.max_bytes - (found.bytes - limits.max_bytes)))
    if limits.max_ms is not None and target.max_ms is not None and found.ms is not None and found.ms > limits.max_ms:
        target = dataclasses.replace(target, max_ms=target.max_ms * limits.max_ms / found.ms)
    return target


def _limits_record(limits: Limits) -> Mapping[str, float]:
    budgets = {"budget_mb": limits.max_bytes and limits.max_bytes / 1e6, "budget_ms": limits.max_ms}
    return {"max_kl": limits.max_kl, **{name: value for name, value in budgets.items() if value is not None}}


def _taken_record(uniform: Mapping[str, Taken], chosen: Taken | None) -> Mapping[str, Any]:
    """Sizes and times of every layer factored, every layer merged, and the choice."""
    every = {**uniform, **({} if chosen is None else {"chosen": chosen})}
    result: dict[str, Any] = {}
    if every:
        result["mb"] = {label: round(item.bytes / 1e6, 3) for label, item in every.items()}
    if any(item.ms is not None for item in every.values()):
        result["ms"] = {label: item.ms for label, item in every.items()}
    return result
