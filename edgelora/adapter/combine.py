"""Makes one adapter of several by the methods of PEFT's ``add_weighted_adapter``, by KnOTS, and in core space.

Parent, MergeOptions -> Adapter

PEFT 0.21 is the reference, float32 as there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgelora.adapter.delta import add_deltas, distance, norm, shape_of
from edgelora.adapter.merge_options import CORE, DELTAS, FACTORS, RANKS, MergeOptions
from edgelora.adapter.one_basis import Join, join_cores, join_rights
from edgelora.adapter.spectrum import find_spectrum
from edgelora.adapter.task_vectors import Draw, add, add_agreeing, add_apart, keep_largest
from edgelora.errors import AdapterError, ConfigError
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Adapter, Factors
from edgelora_runtime.claims import Narrowing
from edgelora_runtime.parse_json import join_some

_CANCELLED = 1e-6  # of the sizes of what was added: less is what float32 leaves of nothing
_NO_WEIGHT = 1e-9


@dataclass(frozen=True, eq=False)
class Parent:
    """An adapter with its weight; some modules may have another one."""

    name: str
    adapter: Adapter
    weight: float = 1.0
    own: Mapping[str, float] = field(default_factory=dict)  # module -> its weight

    def weight_of(self, module: str) -> float:
        """The weight in one module."""
        return self.own.get(module, self.weight)


@dataclass(frozen=True, eq=False)
class Combined:
    """One adapter, and how far it is from the weighted sum of its parents."""

    adapter: Adapter
    relative_error: float  # Frobenius norms over all modules


def combine(parents: Sequence[Parent], options: MergeOptions) -> Combined:
    """Merge every module that any parent adapts, of those parents that do.

    Raises ConfigError for a method that needs several adapters, and AdapterError for factors that do not fit one
    another or a result that changes nothing.
    """
    if not parents:
        raise ConfigError("there is nothing to merge; give adapters, each with its weight, as A:0.5 B:0.5")
    if len(parents) == 1 and not options.rule.may_be_alone:
        raise ConfigError(f"--method {options.method} needs two adapters or more; give another one, or --method svd")
    if strange := [parent.name for parent in parents if not math.isfinite(parent.weight)]:
        raise ConfigError(f"the weight of {', '.join(strange)} is no finite number")
    modules = {module: None for parent in parents for module in parent.adapter.factors}
    if wrong := [why for module in modules if (why := _misfit(module, parents, options))]:
        raise AdapterError(f"these adapters cannot be merged by {options.method}: {join_some(wrong)}")
    factors: dict[str, Factors] = {}
    rank = options.rank or max(parent.adapter.rank for parent in parents)
    off = size = added = left = 0.0
    for module in modules:
        items, weights = _present(module, parents)
        factors[module] = _merge(module, items, weights, options, rank)
        exact = add_deltas(items, weights)
        off += distance(factors[module], exact) ** 2
        size += norm(exact) ** 2
        left += norm(factors[module]) ** 2
        added += sum(abs(weight) * norm(item) for item, weight in zip(items, weights, strict=True)) ** 2
    if factors and math.sqrt(left) <= _CANCELLED * math.sqrt(added):
        raise AdapterError(
            "the merged adapter changes nothing: the weights are zero, or the adapters cancel each other; give others"
        )
    error = math.sqrt(off / size) if size else 0.0
    head = combine_heads(parents)
    saved = {name: None for parent in parents for name in parent.adapter.saved}
    return Combined(Adapter(factors, combine_targets(parents), head, tuple(saved)), error)


def combine_targets(parents: Sequence[Parent]) -> str | tuple[str, ...] | None:
    """``target_modules`` of the result, PEFT's union; None where some are lists and others patterns, or a parent has
    them narrowed down: then the modules that have factors say it.
    """
    targets = [parent.adapter.targets for parent in parents]
    names = {name for item in targets if isinstance(item, tuple) for name in item}
    patterns = {item: None for item in targets if isinstance(item, str)}
    if None in targets or (names and patterns) or any(parent.adapter.narrowing != Narrowing() for parent in parents):
        return None
    if names or not patterns:
        return tuple(sorted(names))
    return "|".join(f"({item})" for item in patterns) if len(patterns) > 1 else next(iter(patterns))


def combine_heads(parents: Sequence[Parent]) -> dict[str, FloatArray]:
    """The mean of the heads, each by its share of the weights, as a blend at run time has it.

    Raises AdapterError where some have no head or one of another shape; whether labels agree is told elsewhere.
    """
    shapes = {
        parent.name: {name: value.shape for name, value in sorted(parent.adapter.head.items())} for parent in parents
    }
    first, *others = shapes
    if wrong := [name for name in others if shapes[name] != shapes[first]]:
        raise AdapterError(
            f"{first} and {wrong[0]} have different heads ({_shown(shapes[first])}, {_shown(shapes[wrong[0]])}), and "
            "no head lies between them; merge adapters with the same labels"
        )
    if not shapes[first]:
        return {}
    total = sum(parent.weight for parent in parents)
    if abs(total) < _NO_WEIGHT:
        raise AdapterError("the weights add up to 0, so that no head can be made of them; give others")
    return {
        name: np.sum([parent.adapter.head[name] * np.float32(parent.weight / total) for parent in parents], axis=0)
        for name in shapes[first]
    }


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return join_some([f"{name} {list(shape)}" for name, shape in shapes.items()], ", ") or "none"


def _present(module: str, parents: Sequence[Parent]) -> tuple[list[Factors], list[float]]:
    having = [parent for parent in parents if module in parent.adapter.factors]
    return [parent.adapter.factors[module] for parent in having], [parent.weight_of(module) for parent in having]


def _misfit(module: str, parents: Sequence[Parent], options: MergeOptions) -> str | None:
    items, _ = _present(module, parents)
    shapes = {shape_of(item) for item in items}
    if len(shapes) > 1:
        return f"{module} is {' and '.join(map(str, sorted(shapes)))}, so they are for different bases"
    ranks = {int(item.a.shape[0]) for item in items}
    if options.rule.space == FACTORS and len(ranks) > 1:
        found = " and ".join(map(str, sorted(ranks)))
        return f"{module} has ranks {found}, and A is added to A; use cat, svd or a method that ends in _svd"
    return None


def _merge(
    module: str, items: Sequence[Factors], weights: Sequence[float], options: MergeOptions, rank: int
) -> Factors:
    space = options.rule.space
    if space == RANKS:
        return add_deltas(items, weights)
    join = _join(module, options)
    if space == FACTORS:
        roots = [math.sqrt(abs(weight * item.scaling)) for item, weight in zip(items, weights, strict=True)]
        signed = [
            math.copysign(root, weight * item.scaling) for root, item, weight in zip(roots, items, weights, strict=True)
        ]
        return Factors(join([item.a for item in items], signed), join([item.b for item in items], roots), 1.0)
    if space == DELTAS and not options.rule.prunes:
        exact = add_deltas(items, weights)
        return _nearest(exact, rank)
    if space == DELTAS:
        return _factorize(join([item.delta() for item in items], weights), rank)
    return _nearest((join_cores if space == CORE else join_rights)(items, weights, join), rank)


def _join(module: str, options: MergeOptions) -> Join:
    """Prune each, then add: the rule of the method."""
    rule, density = options.rule, 1.0 if options.density is None else options.density
    draw = Draw(options.seed or 0, module)

    def join(vectors: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
        if rule.parts:
            return add_apart(vectors, weights)
        if rule.prunes:
            vectors = [draw.keep(item, density) if rule.draws else keep_largest(item, density) for item in vectors]
        return (
            add_agreeing(vectors, weights, options.majority_sign_method or "total")
            if rule.elects
            else add(vectors, weights)
        )

    return join


def _nearest(item: Factors, rank: int) -> Factors:
    """The nearest product of that rank; factors that have no higher one stay as they are."""
    return item if item.a.shape[0] <= rank else find_spectrum(item).cut(rank)


def _factorize(matrix: FloatArray, rank: int) -> Factors:
    """The nearest product of that rank to a whole matrix (out_features, in_features).

    Its directions are those of the smaller of M M' and M' M, which takes a tenth of the time of its SVD.
    """
    whole = matrix.astype(np.float64)
    if whole.shape[0] > whole.shape[1]:
        turned = _factorize(matrix.T, rank)
        return Factors(turned.b.T, turned.a.T, 1.0)
    _, directions = np.linalg.eigh(whole @ whole.T)
    left = directions[:, ::-1][:, :rank]  # (out_features, rank)
    right = left.T @ whole  # (rank, in_features)
    # As much on the one side as on the other, so that neither is too small or large for a narrow type.
    root = np.sqrt(np.linalg.norm(right, axis=1))
    scale = np.where(root > 0, root, 1.0)
    return Factors((right / scale[:, None]).astype(np.float32), (left * root).astype(np.float32), 1.0)
