"""Gains of DoRA in ``LowRank`` and ``Linear`` against numpy: they multiply a product before anything is added to it."""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

from edgelora_runtime.adapter import Adapter
from edgelora_runtime.fused import FACTORS, blend_fused, pack_fused, stack_fused
from edgelora_runtime.manifest import Slot
from tests.native.linears import linear, linear_with_slot, make_codes
from tests.native.test_linear import REFUSALS
from tests.native.test_operator import (
    Array,
    assert_close,
    delta,
    gelu,
    inputs_of,
    make_adapter,
    make_slots,
    open_node,
    run,
)
from tests.operator_library import paths

WIDTHS = (48, 17, 9)
MORE = [(), ("scales",), ("", "bias"), ("scales", "bias", "residual")]


def gained(seed: int, slot: Slot, ranks: tuple[int, ...], kind: str = "float32") -> Adapter:
    """An adapter with gains in all of its parts but the last."""
    adapter, random = make_adapter(seed, slot, ranks, kind), np.random.default_rng(seed)
    factors = dict(adapter.factors)
    for module, item in list(factors.items())[:-1] or factors.items():
        gain = random.standard_normal(len(item.b)).astype(np.float32)
        factors[module] = dataclasses.replace(item, gain=gain)
    return Adapter(factors)


def gains_of(slot: Slot, adapter: Adapter) -> npt.NDArray[np.float64]:
    found = np.zeros(slot.out_features)
    for part in slot.parts:
        item = adapter.factors.get(part.module)
        if item is not None and item.gain is not None:
            found[part.offset : part.offset + part.out_features] = item.gain
    return found


def mixed(slots: list[Slot]) -> tuple[list[Mapping[str, Array]], list[dict[int, float]], list[Adapter]]:
    """Rows: with gains, without an adapter, a blend of both kinds, without gains; and what each is made of."""
    made = [
        gained(1, slots[1], (4, 1, 8)),
        make_adapter(2, slots[1], (3, 0, 5), "int8"),
        gained(3, slots[1], (0, 9, 2)),
    ]
    packed = [pack_fused(adapter, slots) for adapter in made]
    blend = blend_fused([(packed[0], 0.7), (packed[1], -2.0), (packed[2], 0.3)], slots)
    rows = [packed[0], blend_fused([], slots), blend, packed[1], packed[0], packed[2]]
    return rows, [{0: 1.0}, {}, {0: 0.7, 1: -2.0, 2: 0.3}, {1: 1.0}, {0: 1.0}, {2: 1.0}], made


def expect(
    product: npt.NDArray[np.float64], x: Array, slot: Slot, weights: dict[int, float], made: list[Adapter]
) -> npt.NDArray[np.float64]:
    """What becomes of the product of one row."""
    gains = sum(
        (weight * gains_of(slot, made[index]) for index, weight in weights.items()), np.zeros(slot.out_features)
    )
    added = sum((weight * delta(x, slot, made[index]) for index, weight in weights.items()), np.zeros(product.shape))
    whole: npt.NDArray[np.float64] = product * (1 + gains) + added
    return whole


@pytest.mark.parametrize("path", paths())
@pytest.mark.parametrize("kind", ["LowRank", "LowRankGelu"])
@pytest.mark.parametrize("more", MORE)
def test_they_act_behind_the_scales_and_before_a_bias(path: str, kind: str, more: tuple[str, ...]) -> None:
    slots = make_slots(70, WIDTHS)
    rows, weights, made = mixed(slots)
    random = np.random.default_rng(5)
    for threads, tokens, count in ((1, 1, 1), (3, 7, 6), (1, 40, 2), (2, 1, 6)):
        session = open_node(slots, path, threads, more, kind=kind)
        x, y = inputs_of(slots[1], count, tokens)
        every = {
            "scales": random.random((count, tokens, 1), np.float32),
            "bias": random.standard_normal(y.shape[-1]).astype(np.float32),
            "residual": random.standard_normal(y.shape).astype(np.float32),
        }
        given = {name: every[name] for name in more if name}
        found: Array = session.run(None, {"x": x, "y": y, **stack_fused(rows[:count]), **given})[0]
        products = y.astype(np.float64) * given.get("scales", 1)
        whole = np.stack([expect(products[row], x[row], slots[1], weights[row], made) for row in range(count)])
        whole += given.get("bias", 0) + given.get("residual", np.float32(0))
        assert_close(found, gelu(whole) if kind == "LowRankGelu" else whole)


def test_one_large_token_is_shared_by_threads() -> None:
    slots = make_slots(2048, (1024, 512))
    adapter = gained(4, slots[1], (32, 32))
    x, y = inputs_of(slots[1], 1, 1)
    whole = expect(y[0].astype(np.float64), x[0], slots[1], {0: 1.0}, [adapter])
    for threads in (1, 4):
        assert_close(run(open_node(slots, "", threads), x, y, pack_fused(adapter, slots)), whole[None])


@pytest.mark.parametrize(("bits", "level", "path"), list(itertools.product((4, 8), (0, 4), paths())))
def test_linear_multiplies_what_its_codes_give(bits: int, level: int, path: str) -> None:
    for widths in ((48, 16), WIDTHS):
        slots = make_slots(100, widths)
        columns = [0, *np.cumsum(widths).tolist()]
        item = make_codes(bits, columns[-1], 100, bits, 32, symmetric=bits == 4, half=True)
        bias = np.linspace(-1, 1, columns[-1], dtype=np.float32) if bits == 8 else None
        alone, session = linear(item, level, bias, path), linear_with_slot(item, columns, level, bias, path=path)
        one, two = gained(6, slots[1], (8, 3, 2)[: len(widths)]), gained(7, slots[1], (1, 4, 2)[: len(widths)], "int8")
        packed = [pack_fused(adapter, slots) for adapter in (one, two)]
        rows = [packed[0], blend_fused([], slots), blend_fused([(packed[0], 0.5), (packed[1], -1.5)], slots)]
        weights: list[dict[int, float]] = [{0: 1.0}, {}, {0: 0.5, 1: -1.5}]
        for count, tokens in ((1, 1), (1, 3), (3, 1), (2, 9)):
            x, _ = inputs_of(slots[1], count, tokens)
            shift = 0.0 if bias is None else bias.astype(np.float64)
            products = alone.run(None, {"x": x})[0].astype(np.float64) - shift
            whole = (
                np.stack([expect(products[i], x[i], slots[1], weights[i], [one, two]) for i in range(count)]) + shift
            )
            assert_close(session.run(None, {"x": x, **stack_fused(rows[:count])})[0], whole)


def test_a_block_that_says_nonsense_of_them_is_refused() -> None:
    slots = make_slots(70, WIDTHS)
    x, y = inputs_of(slots[1], 1, 1)
    session = open_node(slots)
    for number, told in ((2, "number of gains for a column 2"), (-1, "number of gains for a column -1")):
        packed = pack_fused(gained(1, slots[1], (4, 1, 8)), slots)
        factors = packed[FACTORS].copy()
        factors[:16].view(np.int32)[3] = number
        with pytest.raises(REFUSALS, match=told):
            run(session, x, y, {**packed, FACTORS: factors})
    plain = pack_fused(make_adapter(1, slots[1], (1, 1, 1), "int8"), slots)
    plain[FACTORS][:16].view(np.int32)[3] = 1
    with pytest.raises(REFUSALS, match="ends too early"):
        run(session, x, y, plain)
