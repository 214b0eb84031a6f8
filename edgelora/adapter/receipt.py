"""Fills a receipt with what the factors tell: the modules that they cover, their spectra, what a merge would leave.

Adapter, Grid, Probe -> Receipt

Probes need the model and are handed in.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelora.adapter.spectrum import Spectrum, find_spectra
from edgelora.adapter.survival import Survival, find_survival
from edgelora.adapter.truncate import cost_of_cut
from edgelora.checkpoint.names import module_of, weight_of
from edgelora.grid.make import Grid
from edgelora.values import Checkpoint, QuantSpec
from edgelora_runtime.adapter import WEIGHTS_FILE, Adapter, Factors
from edgelora_runtime.manifest import file_info
from edgelora_runtime.receipt import Answer, LayerRecord, ModuleCount, Probe, Receipt, hash_text

_DEFAULT_MERGE = QuantSpec(4, 32, symmetric=True)  # what merging is judged by where the adapter knows no grid
_SAMPLED_ROWS = 96  # of each module: tens of thousands of weights, an error of well under a percent


def begin_receipt(grid: Grid) -> Receipt:
    """What is known of the base before there is an adapter."""
    spec, tokenizer = grid.plan.spec, grid.checkpoint.tokenizer
    template = None if tokenizer is None else tokenizer.chat_template
    return Receipt(
        name=grid.checkpoint.name,
        fingerprint=grid.base_fingerprint,
        grid=None if spec is None and not grid.plan.half else grid.fingerprint,
        quantization=None if spec is None else grid.record(),
        tokenizer=None if tokenizer is None else hash_text(tokenizer.tokenizer_json),
        chat_template=None if template is None else hash_text(template),
    )


def complete_receipt(
    receipt: Receipt,
    folder: Path,
    adapter: Adapter,
    grid: Grid,
    probes: Sequence[Probe] = (),
    answers: Sequence[Answer] = (),
) -> Receipt:
    """Add what was measured of the adapter that lies in ``folder``, read from there as ``adapter``."""
    spec = None if grid.plan.spec is not None else _DEFAULT_MERGE
    names = set(grid.checkpoint.names())
    stored = {module: item for module, item in adapter.factors.items() if weight_of(module) in names}  # no tied head
    survivals = find_survival(grid, stored, spec=spec, max_rows=_SAMPLED_ROWS)
    told = spec or grid.plan.spec
    return dataclasses.replace(
        receipt,
        weights=file_info(folder / WEIGHTS_FILE).sha256,
        modules=count_modules(grid.checkpoint, adapter),
        merge=None if told is None else dataclasses.asdict(told),
        layers=record_layers(adapter, survivals),
        probes=tuple(probes),
        answers=tuple(answers),
    )


def record_layers(adapter: Adapter, survivals: Mapping[str, Survival]) -> dict[str, LayerRecord]:
    """The record of every module; without a survival, what merging does stays open."""
    return {
        module: _layer_record(adapter.factors[module], spectrum, survivals.get(module))
        for module, spectrum in find_spectra(adapter.factors).items()
    }


def count_modules(checkpoint: Checkpoint, adapter: Adapter) -> ModuleCount:
    """Hold the adapter to the matrices of the base that its ``target_modules`` ask for."""
    modules = {module_of(name): name for name in checkpoint.names() if name.endswith(".weight")}
    matched = modules.keys() & adapter.factors.keys()
    wanted = {module for module, name in modules.items() if len(checkpoint.shape(name)) == 2 and adapter.claims(module)}
    missing = sorted(wanted - matched)
    return ModuleCount(len(matched), len(wanted | matched), tuple(missing))


def energy_curve(spectrum: Spectrum) -> dict[str, float]:
    """Share of the energy up to rank 1, 2, 4, ... and the last."""
    count, curve = len(spectrum.values), {}
    for rank in sorted({1 << power for power in range(count.bit_length())} | {count}):
        if rank <= count and spectrum.energy > 0:
            kept = float((spectrum.values[:rank].astype("float64") ** 2).sum())
            curve[str(rank)] = round(min(1.0, kept / spectrum.energy), 5)
    return curve


def _layer_record(factors: Factors, spectrum: Spectrum, survival: Survival | None) -> LayerRecord:
    measured: dict[str, Any] = {}
    if survival is not None:
        measured = {
            "step_to_delta": float(f"{survival.step_to_delta:.4g}"),
            "codes_changed": round(survival.codes_changed, 5),
            "correlation": round(survival.correlation, 5),
        }
    return LayerRecord(int(factors.a.shape[0]), round(spectrum.effective_rank, 3), energy_curve(spectrum), **measured)


def carry_over(receipt: Receipt, folder: Path, before: Adapter, after: Adapter, bound: Mapping[str, float]) -> Receipt:
    """The receipt of a truncated adapter that lies in ``folder``: what is known of it, and what the cut cost.

    Its probes stay those of the whole adapter, so that replaying one tells whether the cut went too far.
    """
    costs = cost_of_cut(before, after)
    total = sum(spectrum.energy for spectrum in find_spectra(before.factors).values())
    left = sum(spectrum.energy for spectrum in find_spectra(after.factors).values())
    share = min(1.0, left / total)
    layers = {}
    for module, layer in record_layers(after, {}).items():
        old = receipt.layers.get(module)
        if old is not None and old.step_to_delta is not None and costs[module].energy_kept > 0:
            step = float(f"{old.step_to_delta / math.sqrt(costs[module].energy_kept):.4g}")
            layer = dataclasses.replace(layer, step_to_delta=step)
        layers[module] = layer
    ranks = [(cost.rank_before, cost.rank_after) for cost in costs.values()]
    truncation = {
        "bound": dict(bound),
        "energy_kept": round(share, 6),
        "relative_error": round(math.sqrt(1 - share), 5),
        "mean_rank_before": round(sum(rank for rank, _ in ranks) / len(ranks), 2),
        "mean_rank_after": round(sum(rank for _, rank in ranks) / len(ranks), 2),
        "modules": {
            module: {
                "rank_before": cost.rank_before,
                "rank_after": cost.rank_after,
                "relative_error": round(cost.relative_error, 5),
            }
            for module, cost in costs.items()
        },
    }
    weights = file_info(folder / WEIGHTS_FILE).sha256
    return dataclasses.replace(receipt, weights=weights, layers=layers, truncation=truncation)
