"""Decides what to merge: when a merge is refused, and for each layer the cheapest choice that its budgets allow.

Option by layer, Limits -> Decision

Sizes, times and KL divergences are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgelora.adapter.survival import Survival
from edgelora.errors import AdapterError, ConfigError

FACTORED = "factored"
# Below the square root of 1/2, more of what a merge changes is rounding than adapter. Measured on SmolLM2's address
# adapter: 0.08 at int4, where it is lost (loss 1.51 instead of 0.12), and 0.93 at int8.
LEAST_CORRELATION = 0.7

Choices = Mapping[str, str]  # layer -> the label of its option


@dataclass(frozen=True)
class Option:
    """One way to ship a layer. ``kl`` is that of this layer alone, all others factored."""

    kl: float  # nats
    bytes: int
    ms: float = 0.0  # of a decode step; 0 where time is not measured


@dataclass(frozen=True)
class Limits:
    """What a choice must keep; without any budget, as many bytes are saved as ``max_kl`` allows."""

    max_kl: float = 0.05  # nats, mean over positions
    max_bytes: int | None = None  # of graph and weights
    max_ms: float | None = None  # of a decode step

    def __post_init__(self) -> None:
        for option, value in (("max-kl", self.max_kl), ("budget-mb", self.max_bytes), ("budget-ms", self.max_ms)):
            if value is not None and not value >= 0:
                raise ConfigError(f"--{option} is {value}, expected a number from 0")


@dataclass(frozen=True)
class LayerChoice:
    """What was chosen for a layer, what it costs alone, and why."""

    choice: str
    kl: float  # of this choice in this layer alone, nats
    reason: str


@dataclass(frozen=True)
class Decision:
    """A choice for every layer; ``kl`` was measured with all of them together."""

    layers: Mapping[str, LayerChoice]
    kl: float
    bytes: int  # predicted from the options
    ms: float

    @property
    def choices(self) -> Choices:
        """Layer -> label."""
        return {layer: item.choice for layer, item in self.layers.items()}


@dataclass(frozen=True)
class _Move:
    layer: str
    label: str
    kl: float  # predicted addition
    bytes: int  # saved
    ms: float  # saved
    worth: float  # what is saved, relative to what must be


def refuse_lossy(survival: Survival, name: str) -> None:
    """Raise AdapterError when a merge would round away what was trained; ``name`` is the adapter's."""
    if survival.correlation >= LEAST_CORRELATION:
        return
    raise AdapterError(
        f"merging {name} rounds away what was trained: the change that is left correlates {survival.correlation:.2f} "
        f"with the adapter (at least {LEAST_CORRELATION}), {100 * survival.codes_changed:.1f} % of the codes change, a "
        f"step is {survival.step_to_delta:.1f} times the delta; use --merge-policy auto, --quant int8, or --adapter "
        "to keep it factored, or insist with --accept-lossy-merge"
    )


def choose(
    options: Mapping[str, Mapping[str, Option]],
    limits: Limits,
    kl_of: Callable[[Choices], float],
    fixed: Option,
) -> Decision:
    """Start with every layer factored and take, one at a time, the move that saves most for each nat of KL.

    ``options`` has FACTORED for every layer; ``fixed`` is what the rest of the model takes. A move is kept where
    ``kl_of`` (KL of all choices together) stays within ``limits``. With budgets, moves end when all are met, so that
    no more is given away than was asked for; without any, when nothing more can be saved.
    """
    chosen = dict.fromkeys(options, FACTORED)
    reasons: dict[str, str] = {}
    dropped: set[tuple[str, str]] = set()
    kl = 0.0
    while not _met(options, chosen, limits, fixed):
        moves = [move for move in _moves(options, chosen, limits, fixed) if (move.layer, move.label) not in dropped]
        if not moves:
            break
        move = max(moves, key=lambda item: item.worth / max(item.kl, 1e-9))
        predicted = kl + move.kl
        found = kl_of({**chosen, move.layer: move.label}) if predicted <= limits.max_kl else predicted
        if found > limits.max_kl:
            dropped.add((move.layer, move.label))
            continue
        chosen[move.layer], kl = move.label, found
        saved = f"{move.bytes / 1e6:.3f} MB" + (f" and {move.ms:.3f} ms" if limits.max_ms is not None else "")
        reasons[move.layer] = f"saves {saved} for about {max(move.kl, 0.0):.2g} nats"
    met = _met(options, chosen, limits, fixed)
    size, ms = _totals(options, chosen, fixed)
    layers = {
        layer: LayerChoice(
            label,
            round(options[layer][label].kl, 6),
            reasons.get(layer) or _why_factored(options[layer], layer, dropped, met, limits),
        )
        for layer, label in chosen.items()
    }
    return Decision(layers, kl, size, ms)


def check_budgets(limits: Limits, size: int, ms: float | None, kl: float) -> None:
    """Raise ConfigError naming every budget that the best choice within ``max_kl`` does not meet."""
    missed = []
    if limits.max_bytes is not None and size > limits.max_bytes:
        missed.append(f"--budget-mb {limits.max_bytes / 1e6:g}: reached {size / 1e6:.3f} MB")
    if limits.max_ms is not None and ms is not None and ms > limits.max_ms:
        missed.append(f"--budget-ms {limits.max_ms:g}: reached {ms:.3f} ms")
    if missed:
        raise ConfigError(
            f"no choice of layers to merge meets {' and '.join(missed)}, with a KL of {kl:.4f} nats of --max-kl "
            f"{limits.max_kl:g}; raise the budget or --max-kl, or choose fewer bits with --quant"
        )


def _moves(
    options: Mapping[str, Mapping[str, Option]], chosen: Choices, limits: Limits, fixed: Option
) -> Iterator[_Move]:
    """Every change of one layer that saves what is still missing and breaks no budget that is met."""
    size, ms = _totals(options, chosen, fixed)
    for layer, labels in options.items():
        now = labels[chosen[layer]]
        for label, option in labels.items():
            saved_bytes, saved_ms = now.bytes - option.bytes, now.ms - option.ms
            if label in (chosen[layer], FACTORED) or _breaks(limits, size, size - saved_bytes, ms, ms - saved_ms):
                continue
            worth = _worth(limits, size, saved_bytes, ms, saved_ms)
            if worth > 0:
                yield _Move(layer, label, option.kl - now.kl, saved_bytes, saved_ms, worth)


def _worth(limits: Limits, size: int, saved_bytes: int, ms: float, saved_ms: float) -> float:
    """Savings relative to what each unmet budget still misses; bytes where no budget was given."""
    if limits.max_bytes is None and limits.max_ms is None:
        return float(saved_bytes)
    worth = 0.0
    if limits.max_bytes is not None and size > limits.max_bytes:
        worth += saved_bytes / (size - limits.max_bytes)
    if limits.max_ms is not None and ms > limits.max_ms:
        worth += saved_ms / (ms - limits.max_ms)
    return worth


def _breaks(limits: Limits, size: int, new_size: int, ms: float, new_ms: float) -> bool:
    over_bytes = limits.max_bytes is not None and size <= limits.max_bytes < new_size
    return over_bytes or (limits.max_ms is not None and ms <= limits.max_ms < new_ms)


def _met(options: Mapping[str, Mapping[str, Option]], chosen: Choices, limits: Limits, fixed: Option) -> bool:
    if limits.max_bytes is None and limits.max_ms is None:
        return False  # nothing says how much is enough
    size, ms = _totals(options, chosen, fixed)
    return (limits.max_bytes is None or size <= limits.max_bytes) and (limits.max_ms is None or ms <= limits.max_ms)


def _totals(options: Mapping[str, Mapping[str, Option]], chosen: Choices, fixed: Option) -> tuple[int, float]:
    taken = [options[layer][label] for layer, label in chosen.items()]
    return fixed.bytes + sum(item.bytes for item in taken), fixed.ms + sum(item.ms for item in taken)


def _why_factored(
    labels: Mapping[str, Option], layer: str, dropped: set[tuple[str, str]], met: bool, limits: Limits
) -> str:
    parts = []
    for label, option in labels.items():
        if label == FACTORED:
            continue
        more = option.bytes - labels[FACTORED].bytes
        if (layer, label) in dropped:
            parts.append(
                f"{label} alone costs {option.kl:.2g} nats, which --max-kl {limits.max_kl:g} leaves no room for"
            )
        elif more >= 0:
            parts.append(f"{label} takes {more / 1e6:.3f} MB more than the factors")
        elif not met:
            parts.append(f"{label} costs {option.kl:.2g} nats and saves nothing that is missing")
    return "; ".join(parts) or "the budgets are met without merging it"
