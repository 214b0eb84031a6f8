"""Replays a probe of a receipt: does the adapter do here what it did where its receipt was written?

Receipt, Probe, a model -> ProbeResult
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgelora_runtime.errors import AdapterError
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.receipt import Probe, Receipt, TopTokens, hold_to_receipt
from edgelora_runtime.sampling import log_softmax

DoubleArray = npt.NDArray[np.float64]

_NO_EFFECT = 1e-9  # nats; equal graphs give equal numbers, so anything real lies above
_LEAST_SHARE = 0.1  # of the receipt's KL between base and adapted
_LARGEST_SHARE = 0.25  # of the distance that the adapter must close between the base and what the receipt says
_NOISE = 4.0  # times the distance of both bases: what the kernels' arithmetic or another grid costs the base as well
_ROUNDING = 1e-3  # nats; stored log-probabilities are rounded, and 8-bit activations move small effects
_TINY = 1e-6  # probabilities below cannot be told from rounded ones


class Answering(Protocol):
    """What a probe needs of a loaded model."""

    manifest: Manifest

    def logits(
        self, ids: Sequence[int], *, adapter: str | None = ..., positions: Sequence[int] | None = ...
    ) -> npt.NDArray[np.float32]:
        """Logits (n_positions, vocab_size)."""


@dataclass(frozen=True)
class ProbeResult:
    """``reason`` says in one line what was found; the KL is that between base and adapted, in nats."""

    passed: bool
    reason: str
    kl_found: float
    kl_expected: float
    seconds: float


def replay(model: Answering, name: str, receipt: Receipt) -> ProbeResult:
    """Run the probe with the largest effect with and without the adapter and compare with the receipt.

    Raises AdapterError when the receipt has no probe or one that this model cannot take.
    """
    started = time.perf_counter()
    probe = max(check_probes(receipt, model.manifest.model.vocab_size), key=lambda item: item.kl)
    last = [len(probe.input_ids) - 1]
    base, adapted = (
        log_softmax(model.logits(probe.input_ids, adapter=spec, positions=last)[0]).astype(np.float64)
        for spec in ("none", name)
    )
    found = float(np.sum(np.exp(base) * (base - adapted)))
    passed, reason = _judge(probe, base, adapted, found)
    return ProbeResult(passed, reason, found, probe.kl, time.perf_counter() - started)


def check_adapter(model: Answering, name: str, folder: Path) -> ProbeResult | None:
    """Hold a loaded adapter to the receipt in ``folder``; None where there is nothing to replay.

    Raises AdapterError with the adapter's name and the reason.
    """
    receipt = hold_to_receipt(name, folder, model.manifest)
    if receipt is None or not receipt.probes:
        return None
    result = replay(model, name, receipt)
    if not result.passed:
        raise AdapterError(f"adapter {name!r} ({folder}): {result.reason}")
    return result


def check_probes(receipt: Receipt, vocab_size: int) -> tuple[Probe, ...]:
    """The probes of a receipt; raises AdapterError when there is none, or one is no probe of this vocabulary."""
    if not receipt.probes:
        raise AdapterError("the receipt has no probes; write one with `edgelora adapter receipt`")
    largest = max(max(ids) for probe in receipt.probes for ids in (probe.input_ids, probe.base.ids, probe.adapted.ids))
    if largest >= vocab_size:
        raise AdapterError(
            f"the receipt's probes cannot be read (token ids go up to {largest}, the vocabulary has {vocab_size}); "
            "train the adapter again"
        )
    return receipt.probes


def _judge(probe: Probe, base: DoubleArray, adapted: DoubleArray, found: float) -> tuple[bool, str]:
    """``base`` and ``adapted`` are log-probabilities (vocab_size,) of this graph, ``found`` their KL."""
    advice = "re-measure it with `edgelora adapter receipt` if that is meant, else train or copy it again"
    if not found > _NO_EFFECT:
        return False, f"it does nothing here: the answers are those of the base (KL {found:.2g} nats); {advice}"
    if found < _LEAST_SHARE * probe.kl:
        return False, (
            f"it does next to nothing here: KL between base and adapted is {found:.3g} nats, its receipt says "
            f"{probe.kl:.3g}; {advice}"
        )
    apart = _divergence(probe.adapted, adapted)
    allowed = _LARGEST_SHARE * _divergence(probe.adapted, base) + _NOISE * _divergence(probe.base, base) + _ROUNDING
    if not apart <= allowed:
        return False, (
            f"it does not do what its receipt says: its answer to the probe is {apart:.3g} nats away from the recorded "
            f"one, at most {allowed:.3g} are expected; {advice}"
        )
    return True, f"{apart:.3g} nats from its receipt, {allowed:.3g} allowed"


def _divergence(stored: TopTokens, logprobs: DoubleArray) -> float:
    """KL (nats) from the stored distribution to ``logprobs`` (vocab_size,), with all other tokens as one."""
    p, q = np.exp(np.asarray(stored.logprobs, np.float64)), np.exp(logprobs[list(stored.ids)])
    p = np.maximum(np.append(p, 1 - p.sum()), _TINY)
    q = np.maximum(np.append(q, 1 - q.sum()), _TINY)
    return max(0.0, float(np.sum(p * np.log(p / q))))
