"""Holds an artifact without a KV cache to its stored reference: the graph exactly, its rounding in figures.

artifact, Manifest -> Check, Closeness

PyTorch is not asked; its answers lie in the artifact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgelora.artifact.check import FUSED_TOLERANCE, TOLERANCE, Check
from edgelora.artifact.encoder_answers import read_reference
from edgelora.artifact.exact_encoder import ExactEncoder
from edgelora.artifact.exporter import find_exporter
from edgelora.errors import EdgeLoraError
from edgelora.values import EncoderReference, FloatArray
from edgelora_runtime import load
from edgelora_runtime.encoder_model import EncoderModel
from edgelora_runtime.find_operators import find_operators
from edgelora_runtime.manifest import EncoderInfo, Manifest
from edgelora_runtime.model import EncoderTask

_LEAST_COSINE = 0.5  # between what ships and exact answers: below, nothing of the model is left


@dataclass(frozen=True)
class Closeness:
    """What the device's arithmetic changes: cosine of exact and shipped outputs, and their largest difference."""

    outputs: int
    cosine_mean: float
    cosine_least: float
    largest_difference: float  # relative to the largest number of all


def verify_encoder(
    path: Path, manifest: Manifest, encoder: EncoderInfo, threads: int | None
) -> tuple[list[Check], Closeness | None]:
    """Every check but that of the files, in the order made, and figures where the graph could be run."""
    checks: list[Check] = []
    try:
        reference = read_reference(path, manifest, encoder)
        content = (path / manifest.graph.file).read_bytes()
        exact = ExactEncoder(
            find_exporter().exact(path / manifest.graph.file), path, manifest, encoder, reference.head, threads
        )
        shipped = ExactEncoder(content, path, manifest, encoder, reference.head, threads)
        model = _open(path, manifest, threads, False)
        names = ", ".join(info.name for info in manifest.adapters) or "none"
        checks.append(Check("graph", True, f"loads; {len(manifest.slots)} slots, adapters: {names}"))
    except EdgeLoraError as error:
        checks.append(Check("graph", False, str(error)))
        return checks, None
    checks += _compare_with_torch(exact, reference)
    closeness = _closeness(exact, shipped, reference)
    rounds = manifest.quantization.get("accuracy_level") == 4
    checks.append(_check_rounding(closeness, rounds))
    given = reference.inputs[0]
    checks += _check_adapters(model, given)
    library = find_operators(None, manifest)
    if library is not None and manifest.adapters:
        checks.append(_check_fused(path, manifest, model, given, library, threads))
    return checks, closeness


def _compare_with_torch(exact: ExactEncoder, reference: EncoderReference) -> Iterator[Check]:
    if not reference.outputs:
        yield Check("reference", True, "none was stored; nothing to compare with PyTorch")
    for index, (given, expected) in enumerate(zip(reference.inputs, reference.outputs, strict=False)):
        found = exact.output(given)
        if found.shape != expected.shape:
            yield Check(f"output {index}", False, f"is {found.shape}, PyTorch's is {expected.shape}")
            continue
        worst = float(np.abs(found - expected).max()) / (float(np.abs(expected).max()) or 1.0)
        detail = f"exact arithmetic: largest difference {worst:.1e} of the largest number (at most {TOLERANCE:.0e})"
        yield Check(f"output {index}", worst <= TOLERANCE, detail)


def _closeness(exact: ExactEncoder, shipped: ExactEncoder, reference: EncoderReference) -> Closeness:
    pairs = [(exact.output(given), shipped.output(given)) for given in reference.inputs]
    cosines = [_cosine(expected, found) for expected, found in pairs]
    largest = max(float(np.abs(expected).max()) for expected, _ in pairs) or 1.0
    apart = max(float(np.abs(expected - found).max()) for expected, found in pairs)
    return Closeness(len(pairs), float(np.mean(cosines)), min(cosines), apart / largest)


def _check_rounding(found: Closeness, is_rounded: bool) -> Check:
    apart = f"largest difference {found.largest_difference:.1e} of the largest number over {found.outputs} outputs"
    if not is_rounded:
        return Check("rounding", found.largest_difference <= TOLERANCE, f"none while it runs: {apart}")
    detail = f"cosine {found.cosine_mean:.5f} on average, {found.cosine_least:.5f} at least, {apart}"
    if found.cosine_least < _LEAST_COSINE:
        detail += "; nothing is left of the model: export with --accuracy-level 0 or more bits"
    return Check("rounding", found.cosine_least >= _LEAST_COSINE, detail)


def _check_adapters(model: EncoderModel, given: npt.NDArray[Any]) -> Iterator[Check]:
    """Every adapter moves what its own head says of the bare base, and answers alike after another was there."""
    names: Sequence[str] = model.adapters
    before = {name: _answer(model, given, name) for name in names}
    for name in names:
        bare = _answer(model, given, f"{name}:0")
        moved = float(np.abs(before[name] - bare).max())
        yield Check(f"adapter {name}", moved > 0, f"moves a number by up to {moved:.3g}")
        again = _answer(model, given, name)
        same = np.array_equal(again, before[name])
        yield Check(f"{name} again", same, "answers bit for bit as before" if same else "answers otherwise than before")


def _check_fused(
    path: Path, manifest: Manifest, model: EncoderModel, given: npt.NDArray[Any], library: Path, threads: int | None
) -> Check:
    """The fused graph answers like ``model``, which has slots, with each adapter."""
    try:
        fused = _open(path, manifest, threads, library)
        found = {name: _cosine(_answer(model, given, name), _answer(fused, given, name)) for name in model.adapters}
    except EdgeLoraError as error:
        return Check("fused", False, str(error))
    worst = min(found, key=lambda name: found[name])
    told = f"cosine {found[worst]:.6f} to the graph with slots ({worst})"
    return Check("fused", 1 - found[worst] <= FUSED_TOLERANCE, told)


def _open(path: Path, manifest: Manifest, threads: int | None, operator: bool | Path) -> EncoderModel:
    return load(path, task=cast(EncoderTask, manifest.task), threads=threads, operator=operator)


def _answer(model: EncoderModel, given: npt.NDArray[Any], spec: str) -> FloatArray:
    rows: Any = given[None] if given.ndim > 1 else [given.tolist()]
    return model.outputs(rows, adapter=spec)[0]


def _cosine(a: FloatArray, b: FloatArray) -> float:
    x, y = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length else float(np.array_equal(x, y))
