"""Makes an adapter smaller: one threshold over the singular values of all its modules.

Adapter, a limit -> Adapter, ModuleCost
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora.adapter.plain import PREFIX, PlainAdapter, with_ranks, write_plain
from edgelora.adapter.spectrum import Spectrum, find_spectra
from edgelora.errors import AdapterError, ConfigError
from edgelora_runtime.adapter import Adapter

_HEADER_BYTES = 96  # of one tensor in a safetensors header beside its name: dtype, shape, offsets
_BYTES = 4  # of one float32


@dataclass(frozen=True)
class ModuleCost:
    """What truncation took from one module."""

    rank_before: int
    rank_after: int
    energy_kept: float  # share of the squared singular values
    relative_error: float  # Frobenius norm of what was cut over that of the whole product


def truncate(
    adapter: Adapter, *, energy: float | None = None, rank: int | None = None, max_bytes: int | None = None
) -> Adapter:
    """Keep the largest singular values over all modules at once, and at least rank 1 in each.

    ``energy``: until this share of all squared singular values is kept. ``rank``: at most this many a module on
    average. ``max_bytes``: as many as ``adapter_model.safetensors`` has room for. The result has scaling 1 everywhere.
    By Eckart and Young (1936) no other choice of as many directions is nearer to the adapter.
    Raises ConfigError for a bound that cannot be met and AdapterError for an adapter that changes nothing.
    """
    if sum(choice is not None for choice in (energy, rank, max_bytes)) != 1:
        raise ConfigError("truncate needs exactly one of energy, rank and a number of bytes")
    spectra = find_spectra(adapter.factors)
    total = sum(spectrum.energy for spectrum in spectra.values())
    if not total > 0:
        raise AdapterError("the adapter changes nothing: every product B A is zero; there is nothing to truncate")
    modules = list(spectra)
    values = np.concatenate([spectra[module].values.astype(np.float64) for module in modules])
    owners = np.repeat(np.arange(len(modules)), [len(spectra[module].values) for module in modules])
    first = np.concatenate([np.arange(len(spectra[module].values)) == 0 for module in modules])
    # Falling values with the first of every module in front: each keeps one, whatever the threshold is.
    order = np.lexsort((-values, ~first))
    if energy is not None:
        count = _count_for_energy(values, first, order, energy, total)
    elif rank is not None:
        if rank < 1:
            raise ConfigError(f"rank is {rank}, expected a whole number from 1")
        count = min(len(order), rank * len(modules))
    else:
        assert max_bytes is not None
        count = _count_for_bytes(spectra, modules, owners[order], max_bytes)
    ranks = np.bincount(owners[order[:count]], minlength=len(modules))
    factors = {module: spectra[module].cut(int(kept)) for module, kept in zip(modules, ranks, strict=True)}
    return dataclasses.replace(adapter, factors=factors)


def cost_of_cut(before: Adapter, after: Adapter) -> dict[str, ModuleCost]:
    """What a truncation cost, module by module; both have the same modules."""
    costs = {}
    for module, spectrum in find_spectra(before.factors).items():
        kept = int(after.factors[module].a.shape[0])
        share = (
            float(np.sum(spectrum.values[:kept].astype(np.float64) ** 2)) / spectrum.energy if spectrum.energy else 1
        )
        rank = int(before.factors[module].a.shape[0])
        costs[module] = ModuleCost(rank, kept, min(1.0, share), math.sqrt(max(0.0, 1 - share)))
    return costs


def write_adapter(folder: Path, adapter: Adapter, config: Mapping[str, Any]) -> None:
    """Write a PEFT folder that gives exactly these factors, and this head, back.

    ``config`` is the ``adapter_config.json`` that it began as.

    Ranks and scalings go into ``rank_pattern`` and ``alpha_pattern`` under full module names.
    """
    write_plain(folder, PlainAdapter(adapter, with_ranks(config, adapter)))


def _count_for_energy(
    values: npt.NDArray[np.float64],
    first: npt.NDArray[np.bool_],
    order: npt.NDArray[np.int64],
    energy: float,
    total: float,
) -> int:
    if not 0 < energy <= 1:
        raise ConfigError(f"energy is {energy:g}, expected a share above 0 and at most 1")
    kept = np.cumsum(values[order] ** 2)
    # Rounding may leave the last sum a hair below the total.
    enough = int(np.searchsorted(kept, energy * total * (1 - 1e-9))) + 1
    return min(len(order), max(enough, int(first.sum())))


def _count_for_bytes(
    spectra: Mapping[str, Spectrum], modules: list[str], owners: npt.NDArray[np.int64], max_bytes: int
) -> int:
    header = 16 + sum(2 * (len(f"{PREFIX}{module}.lora_A.weight") + _HEADER_BYTES) for module in modules)
    widths = np.array([spectra[module].u.shape[0] + spectra[module].v.shape[1] for module in modules])
    sizes = header + _BYTES * np.cumsum(widths[owners])
    if sizes[len(modules) - 1] > max_bytes:
        raise ConfigError(
            f"{max_bytes / 1e6:g} MB hold no adapter of {len(modules)} modules: rank 1 in each takes "
            f"{sizes[len(modules) - 1] / 1e6:.3f} MB"
        )
    return int(np.searchsorted(sizes, max_bytes, side="right"))
