"""Replays the answers of a receipt: does the adapter of an encoder do here what it did where its receipt was written?

Receipt, a model -> AnswerResult
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
from edgelora_runtime.receipt import Receipt, hold_to_receipt

DoubleArray = npt.NDArray[np.float64]

_NO_EFFECT = 1e-6  # of the numbers' own size; equal factors give equal numbers, so anything real lies above
_LEAST_SHARE = 0.1  # of the receipt's distance between with and without factors
_LARGEST_SHARE = 0.25  # of the distance that the factors must close
_NOISE = 4.0  # times the distance of both without factors: what arithmetic or another grid costs those as well
_OTHER_HEAD = 0.5  # of the numbers' size: a grid is nearer than this, another head is not
_ROUNDING = 1e-3  # of the numbers' size


class Answering(Protocol):
    """What replaying needs of a loaded model."""

    manifest: Manifest

    def outputs(
        self, rows: Sequence[Sequence[int]], *, adapter: str | list[str] | None = ...
    ) -> list[npt.NDArray[np.float32]]:
        """The output for each row of token ids."""


@dataclass(frozen=True)
class AnswerResult:
    """``reason`` says in one line what was found; effects are the root mean square of what the factors change."""

    passed: bool
    reason: str
    effect_found: float
    effect_expected: float
    seconds: float


def check_answers(model: Answering, name: str, folder: Path) -> AnswerResult | None:
    """Hold a loaded adapter to the receipt in ``folder``; None where there is nothing to replay.

    Raises AdapterError with the adapter's name and the reason.
    """
    receipt = hold_to_receipt(name, folder, model.manifest)
    if receipt is None or not receipt.answers:
        return None
    result = replay_answers(model, name, receipt)
    if not result.passed:
        raise AdapterError(f"adapter {name!r} ({folder}): {result.reason}")
    return result


def replay_answers(model: Answering, name: str, receipt: Receipt) -> AnswerResult:
    """Compute every answer of the receipt with the adapter's factors and without them, its head there in both.

    Raises AdapterError for answers that this model cannot give.
    """
    started = time.perf_counter()
    info = model.manifest.model
    for answer in receipt.answers:
        if max(answer.input_ids) >= info.vocab_size or len(answer.input_ids) > info.context_length:
            raise AdapterError(
                f"the receipt's answers cannot be read here (token ids up to {max(answer.input_ids)} of "
                f"{info.vocab_size}, {len(answer.input_ids)} tokens of {info.context_length}); train the adapter again"
            )
    rows = [answer.input_ids for answer in receipt.answers]
    found, base = (_joined(model.outputs(rows, adapter=spec)) for spec in (name, f"{name}:0"))
    told = np.array([number for answer in receipt.answers for number in answer.output])
    told_base = np.array([number for answer in receipt.answers for number in answer.base])
    if len(found) != len(told):
        passed = False
        reason = (
            f"it gives {len(found)} numbers for the texts of its receipt, which has {len(told)}; is the receipt of "
            "another head?"
        )
    else:
        passed, reason = _judge(told, told_base, found, base)
    return AnswerResult(passed, reason, _rms(found - base), _rms(told - told_base), time.perf_counter() - started)


def _judge(told: DoubleArray, told_base: DoubleArray, found: DoubleArray, base: DoubleArray) -> tuple[bool, str]:
    advice = "re-measure it with `edgelora adapter receipt` if that is meant, else train or copy it again"
    size = _rms(told_base) + _rms(told)
    expected, effect = _rms(told - told_base), _rms(found - base)
    if _rms(base - told_base) > _OTHER_HEAD * _rms(told_base) + _ROUNDING * size:
        return False, (
            f"without its factors it is {_rms(base - told_base):.3g} away from what its receipt says "
            f"({_rms(told_base):.3g}): is its head that of another adapter? {advice}"
        )
    if expected > _NO_EFFECT * size and not effect > _NO_EFFECT * size:
        return False, f"it does nothing here: the answers are those without its factors; {advice}"
    if effect < _LEAST_SHARE * expected:
        return False, (
            f"it does next to nothing here: its factors change the answers by {effect:.3g}, its receipt says "
            f"{expected:.3g}; {advice}"
        )
    apart = _rms(found - told)
    allowed = _LARGEST_SHARE * _rms(told - base) + _NOISE * _rms(told_base - base) + _ROUNDING * size
    if not apart <= allowed:
        return False, (
            f"it does not do what its receipt says: its answers are {apart:.3g} away from the recorded ones, at most "
            f"{allowed:.3g} are expected; {advice}"
        )
    return True, f"{apart:.3g} from its receipt, {allowed:.3g} allowed"


def _joined(outputs: Sequence[npt.NDArray[np.float32]]) -> DoubleArray:
    return np.concatenate([output.reshape(-1) for output in outputs]).astype(np.float64)


def _rms(values: DoubleArray) -> float:
    return float(np.sqrt(np.mean(values**2)))
