"""Mixed precision: how many bits each linear gets so that a budget holds, chosen by what rounding it costs.

Checkpoint, GridSpec, Budget -> BitPlan
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgelora.checkpoint.names import ONE_INPUT, is_vocabulary, turned, turned_shape
from edgelora.errors import ConfigError
from edgelora.grid.blocks import dequantize, quantize
from edgelora.grid.hull import hull, spend
from edgelora.grid.make import GridSpec, choose_spec
from edgelora.grid.moments import Calibration
from edgelora.progress import SILENT, Progress
from edgelora.values import Checkpoint, FloatArray, QuantSpec

# Values for some tensors, as the state dict orients them -> nats that the model's answers then diverge by.
MeasureChange = Callable[[Mapping[str, FloatArray]], float]

_WIDTHS = (2, 4, 8)
_SCALE_BYTES = 2  # an artifact stores scales at 16 bits
_PAGE_BYTES = 4096  # an array of a page or more starts on a page of weights.bin, a smaller one on 64 bytes
_SMALL_BYTES = 64
_PACKED_TOGETHER = re.compile(rf"\.({'|'.join(leaf for leaves in ONE_INPUT for leaf in leaves)})\.weight$")


@dataclass(frozen=True)
class Budget:
    """What the quantized weights may take: exactly one of the two limits.

    ``megabytes`` (10 ** 6 bytes) is all of ``weights.bin`` that comes from the checkpoint; ``bits`` is the average for
    one weight of the decoder layers' linears, scales and zero points counted.
    """

    megabytes: float | None = None
    bits: float | None = None

    def __post_init__(self) -> None:
        if (self.megabytes is None) == (self.bits is None):
            raise ConfigError("give --budget-mb (of the weights file) or --budget-bits (for a linear weight), not both")
        limit = self.bits if self.megabytes is None else self.megabytes
        if limit is None or not math.isfinite(limit) or limit <= 0:
            raise ConfigError(f"{self.option} is {limit}, expected a number above 0")

    @property
    def option(self) -> str:
        """The option that a message names."""
        return "--budget-bits" if self.megabytes is None else "--budget-mb"


@dataclass(frozen=True)
class BitChoice:
    """What one linear got, or the linears that an artifact packs into one, and why."""

    tensors: tuple[str, ...]
    bits: int
    errors: Mapping[int, float]  # bits -> what rounding to them costs, in the unit of BitPlan.unit
    costs: Mapping[int, int]  # bits -> bits of storage, or bytes under a budget in megabytes
    reason: str


@dataclass(frozen=True)
class BitPlan:
    """The answer to a budget: the grid to make and how it came about."""

    plan: GridSpec
    choices: tuple[BitChoice, ...]  # in the order of the checkpoint
    error: float  # sum over all choices
    unit: str  # of every error: "nats" of KL divergence, or "energy", the share of outputs' energy that is disturbed
    reached: float  # megabytes, or bits for a linear weight
    budget: Budget


@dataclass(frozen=True)
class _Group:
    tensors: tuple[str, ...]
    weights: int
    specs: Mapping[int, QuantSpec]  # bits -> how
    errors: Mapping[int, float]
    costs: Mapping[int, int]


def plan_bits(
    checkpoint: Checkpoint,
    plan: GridSpec,
    budget: Budget,
    symmetric: bool | None = None,
    calibration: Calibration | None = None,
    change: MeasureChange | None = None,
    progress: Progress = SILENT,
) -> BitPlan:
    """Give each linear 2, 4 or 8 bits, ``plan.spec.bits`` at least, so that ``budget`` holds; deterministic.

    The error of a tensor is sum(dW H dW^T) / sum(W H W^T) with H = mean of x x^T from ``calibration``, the share of
    its output's energy that rounding disturbs; without one, H is the identity. Where that error is made matters more
    than its size, the outermost layers most, so with ``change`` the narrowest width of each group costs what the whole
    model diverges by when it alone is rounded, and wider ones their share of that by energy. Codes are rounded to
    nearest here, whatever ``plan.method`` says: this ranks the groups, it does not foretell the final error.

    The budget is spent greedily along each group's lower convex hull, most error removed for a byte first, and what no
    longer fits is passed over: a larger budget never gives a larger error. ``symmetric`` None keeps the default of each
    width: 2 bits asymmetric, 4 and 8 symmetric. q/k/v and gate/up are decided together, because an artifact packs each
    into one linear only where their specs are equal. A budget in bits leaves the embedding and the head at what
    ``plan`` gives them.

    Raises ConfigError, with the smallest budget that can be met, when this one cannot.
    """
    if plan.spec is None:
        raise ConfigError(f"{budget.option} chooses bits, but --quant {plan.label} keeps floats; give --quant int2")
    groups = _weigh_groups(checkpoint, plan, budget, symmetric, calibration, change, progress)
    fixed, limit = _limit(checkpoint, groups, budget, plan)
    smallest = fixed + sum(group.costs[min(group.costs)] for group in groups)
    if smallest > limit:
        raise ConfigError(_too_small(checkpoint, groups, smallest, budget, plan))
    bits, last_rate = spend(groups, limit - fixed)
    spent = fixed + sum(group.costs[width] for group, width in zip(groups, bits, strict=True))
    overrides = dict(plan.overrides)
    for group, width in zip(groups, bits, strict=True):
        for name in group.tensors:
            if choose_spec(name, checkpoint.shape(name), plan) != group.specs[width]:
                overrides[name] = group.specs[width]
    return BitPlan(
        plan=dataclasses.replace(plan, overrides=overrides),
        choices=tuple(
            _explain(group, width, last_rate, change is not None) for group, width in zip(groups, bits, strict=True)
        ),
        error=sum(group.errors[width] for group, width in zip(groups, bits, strict=True)),
        unit="energy" if change is None else "nats",
        reached=spent / 1e6 if budget.bits is None else spent / sum(group.weights for group in groups),
        budget=budget,
    )


def group_tensors(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Names in their order, those that an artifact packs into one linear together; gate/up and q/k/v are."""
    groups: dict[str, list[str]] = {}
    for name in names:
        found = _PACKED_TOGETHER.search(name)
        kind = None if found is None else ("mlp" if found[1] in ("gate_proj", "up_proj") else "attention")
        groups.setdefault(name if found is None else f"{name[: found.start()]}|{kind}", []).append(name)
    return tuple(tuple(members) for members in groups.values())


def _weigh_groups(
    checkpoint: Checkpoint,
    plan: GridSpec,
    budget: Budget,
    symmetric: bool | None,
    calibration: Calibration | None,
    change: MeasureChange | None,
    progress: Progress,
) -> list[_Group]:
    shapes = {name: checkpoint.shape(name) for name in checkpoint.names()}
    open_ones = [
        name
        for name, shape in shapes.items()
        if choose_spec(name, shape, plan) is not None and (budget.bits is None or not is_vocabulary(name))
    ]
    if not open_ones:
        raise ConfigError(f"{checkpoint.name} has no linear to give bits to; leave {budget.option} out")
    groups = group_tensors(open_ones)
    specs = {members: _candidates(members[0], plan, symmetric) for members in groups}
    errors: dict[str, Mapping[int, float]] = {}
    scales = dict.fromkeys(groups, 1.0)  # group -> what its errors are multiplied with
    narrow: dict[str, FloatArray] = {}  # the group's tensors at their fewest bits
    for members, name in zip(
        _owners(groups), progress.track([name for group in groups for name in group], "grid", "tensor"), strict=True
    ):
        errors[name], narrow[name] = _errors(checkpoint, name, specs[members], calibration)
        if name == members[-1]:
            energy = sum(errors[other][min(specs[members])] for other in members)
            if change is not None and energy > 0:
                scales[members] = change(narrow) / energy
            narrow = {}
    return [
        _Group(
            tensors=members,
            weights=sum(math.prod(shapes[name]) for name in members),
            specs=specs[members],
            errors={bits: scales[members] * sum(errors[name][bits] for name in members) for bits in specs[members]},
            costs={
                bits: _cost([turned_shape(name, shapes[name]) for name in members], spec, budget)
                for bits, spec in specs[members].items()
            },
        )
        for members in groups
    ]


def _owners(groups: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The group of each tensor, tensor by tensor."""
    return [members for members in groups for _ in members]


def _candidates(name: str, plan: GridSpec, symmetric: bool | None) -> Mapping[int, QuantSpec]:
    assert plan.spec is not None
    lowest = max(plan.spec.bits, 4) if is_vocabulary(name) else plan.spec.bits
    return {
        bits: QuantSpec(bits, plan.spec.block_size, bits != 2 if symmetric is None else symmetric)
        for bits in _WIDTHS
        if bits >= lowest
    }


def _errors(
    checkpoint: Checkpoint, name: str, specs: Mapping[int, QuantSpec], calibration: Calibration | None
) -> tuple[Mapping[int, float], FloatArray]:
    """The error of each width, and the values of the narrowest as the state dict orients them."""
    weight = checkpoint.read(name)
    rows = turned(name, weight)  # (out_features, in_features)
    hessian = None if calibration is None else calibration.hessians.get(name)
    energy = _energy(rows, hessian)
    own = checkpoint.packed(name)
    errors: dict[int, float] = {}
    narrow = weight
    for bits, spec in specs.items():
        if own is not None and own.spec == spec:
            errors[bits] = 0.0  # the file's own codes are kept
            continue
        values = dequantize(quantize(rows, spec))
        errors[bits] = _energy(values - rows, hessian) / energy if energy > 0 else 0.0
        if bits == min(specs):
            narrow = turned(name, values)
    return errors, narrow


def _energy(rows: FloatArray, hessian: FloatArray | None) -> float:
    """The sum over rows of w H w^T; H None is the identity. Added in float64: which bits a tensor gets hangs on it."""
    return float(np.einsum("rk,rk->", rows, rows if hessian is None else rows @ hessian, dtype=np.float64))


def _cost(shapes: Sequence[tuple[int, ...]], spec: QuantSpec, budget: Budget) -> int:
    """Bytes in ``weights.bin``, gaps between arrays included, or bits of storage alone for a budget in bits.

    ``shapes``: (out_features, in_features) of what is packed into one linear.
    """
    arrays = stored_bytes(sum(shape[0] for shape in shapes), shapes[0][1], spec)
    return sum(arrays) * 8 if budget.bits is not None else sum(map(_with_gap, arrays))


def stored_bytes(out_features: int, in_features: int, spec: QuantSpec) -> tuple[int, int, int]:
    """Bytes of codes, scales and zero points."""
    n_blocks = -(-in_features // spec.block_size)
    return (
        out_features * n_blocks * (spec.block_size * spec.bits // 8),
        out_features * n_blocks * _SCALE_BYTES,
        0 if spec.symmetric else out_features * -(-n_blocks * spec.bits // 8),
    )


def _with_gap(count: int) -> int:
    """Bytes of an array and the most that its alignment adds."""
    return count + _PAGE_BYTES if count >= _PAGE_BYTES else -(-count // _SMALL_BYTES) * _SMALL_BYTES


def _limit(checkpoint: Checkpoint, groups: Sequence[_Group], budget: Budget, plan: GridSpec) -> tuple[int, int]:
    """What is spent before any choice, and the budget, in the unit of the costs."""
    if budget.bits is not None:
        return 0, math.floor(budget.bits * sum(group.weights for group in groups))
    assert budget.megabytes is not None
    shapes = {name: checkpoint.shape(name) for name in checkpoint.names()}
    left = [shape for name, shape in shapes.items() if choose_spec(name, shape, plan) is None]
    return sum(_with_gap(4 * math.prod(shape)) for shape in left), math.floor(budget.megabytes * 1e6)


def _explain(group: _Group, bits: int, last_rate: float, nats: bool) -> BitChoice:
    def told(error: float) -> str:
        return f"{error:.4f} nats" if nats else f"{error:.1%} of the output"

    wider = [step for step in hull(0, group) if step.choice > bits]
    fewest = min(group.costs)
    if bits > fewest:
        reason = f"{fewest} bits would cost {told(group.errors[fewest])}, {bits} cost {told(group.errors[bits])}"
    elif not wider:
        reason = f"more bits would not help: {bits} cost {told(group.errors[bits])}"
    elif wider[0].rate < last_rate:
        reason = f"{wider[0].choice} bits would save {told(wider[0].gain)}, less for their size than what was widened"
    else:
        reason = f"{wider[0].choice} bits would save {told(wider[0].gain)} but no longer fitted"
    return BitChoice(group.tensors, bits, group.errors, group.costs, reason)


def _too_small(checkpoint: Checkpoint, groups: Sequence[_Group], smallest: int, budget: Budget, plan: GridSpec) -> str:
    assert plan.spec is not None
    if budget.bits is not None:
        needed = smallest / sum(group.weights for group in groups)
        found, unit = f"{budget.bits:g}", "bits for a linear weight"
    else:
        needed = smallest / 1e6
        found, unit = f"{budget.megabytes:g}", "MB"
    least = math.ceil(needed * 1000) / 1000
    wider = f"--quant int2 or a larger --block-size than {plan.spec.block_size}"
    return (
        f"{budget.option} is {found}, but {checkpoint.name} takes at least {least:g} {unit} with --quant {plan.label}; "
        f"give at least that, or {wider if plan.spec.bits > 2 else wider.removeprefix('--quant int2 or ')}"
    )
