"""``Linear`` with a slot: the product with codes and the delta of adapters in one node, against each of them alone."""

import itertools

import numpy as np
import onnxruntime as ort
import pytest

from edgelora_runtime.fused import FACTORS, WEIGHTS, blend_fused, pack_fused, stack_fused
from edgelora_runtime.packing import Packed
from tests.native.linears import Array, Codes, linear, linear_with_slot, make_codes
from tests.native.test_linear import REFUSALS
from tests.native.test_operator import KINDS, delta, make_adapter, make_slots
from tests.operator_library import paths

# Parts that begin at lanes of 16 columns are added by whoever computed them, the others afterwards.
SIZES = [(64, (48,)), (576, (576, 192, 192)), (100, (32, 16, 7)), (130, (33, 16, 7)), (37, (19,))]
NODES = list(itertools.product((2, 4, 8), (0, 4), paths()))


def columns_of(widths: tuple[int, ...]) -> list[int]:
    return [0, *np.cumsum(widths).tolist()]


def run(session: ort.InferenceSession, x: Array, packed: Packed) -> Array:
    found: Array = session.run(None, {"x": x, **packed})[0]
    return found


def draw(rows: int, tokens: int, count: int) -> Array:
    return np.random.default_rng(rows * 100 + tokens).standard_normal((rows, tokens, count)).astype(np.float32)


def close(found: Array, expected: Array) -> bool:
    return float(np.abs(found - expected).max()) < 4e-6 * max(1.0, float(np.abs(expected).max()))


@pytest.mark.parametrize(("in_features", "widths"), SIZES)
@pytest.mark.parametrize("bits, level, path", NODES)
def test_both_products_are_added(in_features: int, widths: tuple[int, ...], bits: int, level: int, path: str) -> None:
    slots, columns = make_slots(in_features, widths), columns_of(widths)
    item = make_codes(bits, columns[-1], in_features, bits, 32, symmetric=bits == 4, half=True)
    bias = np.linspace(-1, 1, columns[-1], dtype=np.float32) if bits == 8 else None
    alone = linear(item, level, bias, path)
    session = linear_with_slot(item, columns, level, bias, path=path)
    for rank, tokens in itertools.product((1, 8, 19), (1, 2, 3, 4, 9)):
        x = draw(1, tokens, in_features)
        adapter = make_adapter(rank, slots[1], [rank] * len(widths), KINDS[rank % 3], shared=rank == 8)
        found = run(session, x, pack_fused(adapter, slots))
        assert close(found, alone.run(None, {"x": x})[0] + delta(x[0], slots[1], adapter)), (rank, tokens)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("tokens", [1, 3])
def test_rows_have_adapters_of_their_own_on_any_number_of_threads(threads: int, tokens: int) -> None:
    widths = (576, 192, 192)
    slots, columns = make_slots(576, widths), columns_of(widths)
    item = make_codes(1, columns[-1], 576, 4, 32, symmetric=False, half=True)
    session, alone = linear_with_slot(item, columns, 4, threads=threads), linear(item, 4)
    made = [make_adapter(rank, slots[1], ranks, KINDS[rank % 3]) for rank, ranks in ((1, (1, 0, 4)), (3, (16, 16, 5)))]
    packed = [pack_fused(adapter, slots) for adapter in made]
    rows = [packed[1], blend_fused([], slots), blend_fused([(packed[0], 0.7), (packed[1], -2.0)], slots)]
    weights: list[dict[int, float]] = [{1: 1.0}, {}, {0: 0.7, 1: -2.0}]
    for count in (1, 3):
        x = draw(count, tokens, 576)
        expected = alone.run(None, {"x": x})[0]
        for row, parts in enumerate(weights[:count]):
            expected[row] += sum(w * delta(x[row], slots[1], made[i]) for i, w in parts.items())
        given = stack_fused(rows[:count])
        found = run(session, x, given)
        assert close(found, expected)
        for _ in range(50):  # by turns of the threads that nobody chose
            assert np.array_equal(run(session, x, given), found)


def test_no_adapter_changes_nothing_at_all() -> None:
    slots = make_slots(64, (48,))
    item = make_codes(2, 48, 64, 4, 32, symmetric=True, half=True)
    session, alone = linear_with_slot(item, [0, 48], 4), linear(item, 4)
    for tokens in (0, 1, 7):
        x = draw(2, tokens, 64)
        assert np.array_equal(run(session, x, blend_fused([], slots)), alone.run(None, {"x": x})[0])


def test_what_does_not_fit_is_refused() -> None:
    slots = make_slots(64, (32, 16))
    item: Codes = make_codes(0, 48, 64, 4, 32, symmetric=True, half=True)
    session = linear_with_slot(item, [0, 32, 48], 4)
    packed = pack_fused(make_adapter(1, slots[1], [4, 2], "float32"), slots)
    x = draw(1, 1, 64)
    with pytest.raises(REFUSALS, match="a packed adapter ends too early"):
        run(session, x, {**packed, FACTORS: packed[FACTORS][:-64]})
    with pytest.raises(REFUSALS, match="different numbers of rows"):
        run(session, x, {**packed, WEIGHTS: np.ones((1, 2), np.float32)})
    with pytest.raises(REFUSALS, match=r"x has shape \[1, 64\], expected \[rows, tokens, K\] beside an adapter"):
        run(session, x[0], packed)
    with pytest.raises(REFUSALS, match="columns end at 32, expected 48, the rows of codes"):
        run(linear_with_slot(item, [0, 16, 32], 4), x, packed)
    with pytest.raises(REFUSALS, match="slot is missing beside an adapter"):
        run(linear_with_slot(item, [0, 32, 48], 4, slot=None), x, packed)
    with pytest.raises(REFUSALS, match="columns do not rise"):
        linear_with_slot(item, [0, 32, 32], 4)
