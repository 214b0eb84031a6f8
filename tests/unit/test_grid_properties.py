"""What holds of packing, rounding, range search, SPECs and batches for every input, tried on many."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgelora.grid.blocks import (
    dequantize,
    nearest_bfloat16,
    pack_codes,
    pack_zeros,
    quantize,
    quantize_blocks,
    search_range,
    stack_rows,
    take_rows,
    unpack_codes,
)
from edgelora.grid.make import QUANT_LABELS, QUANT_METHODS, parse_quant
from edgelora.training.batches import BatchPlan, batches_of_step, count_steps, sorted_batches
from edgelora.values import FloatArray, QuantizedMatrix, QuantSpec
from edgelora_runtime.adapter import parse_spec

BITS = st.sampled_from([2, 4, 8])
SPECS = st.builds(QuantSpec, BITS, st.sampled_from([16, 32]), st.booleans())
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda name: name != "none")


@st.composite
def weights(draw: st.DrawFn) -> FloatArray:
    """Matrices of a few rows: numbers of all sizes, and few that repeat, so that ranges tie."""
    columns = draw(st.integers(1, 70))
    numbers = draw(
        st.sampled_from(
            [
                st.floats(-1e4, 1e4, width=32),
                st.floats(-1, 1, width=32),
                st.sampled_from([-1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5]),
                st.integers(-4, 4).map(float),
            ]
        )
    )
    return draw(arrays(np.float32, (draw(st.integers(1, 4)), columns), elements=numbers))


@given(BITS, st.lists(st.integers(0, 4), max_size=3), st.integers(0, 9), st.data())
def test_unpacking_undoes_packing(bits: int, lead: list[int], groups: int, data: st.DataObject) -> None:
    shape = (*lead, groups * 8 // bits)
    codes = data.draw(arrays(np.uint8, shape, elements=st.integers(0, (1 << bits) - 1)))
    packed = pack_codes(codes, bits)
    assert packed.shape == (*lead, groups) and packed.dtype == np.uint8
    np.testing.assert_array_equal(unpack_codes(packed, bits), codes)


@given(SPECS, st.integers(1, 4), st.integers(1, 9), st.data())
def test_zero_points_fill_whole_bytes(spec: QuantSpec, rows: int, blocks: int, data: st.DataObject) -> None:
    zeros = data.draw(arrays(np.float32, (rows, blocks), elements=st.integers(0, (1 << spec.bits) - 1).map(float)))
    packed = pack_zeros(zeros, spec)
    assert (packed is None) == spec.symmetric
    if packed is not None:
        assert packed.shape == (rows, math.ceil(blocks * spec.bits / 8))
        np.testing.assert_array_equal(unpack_codes(packed, spec.bits)[:, :blocks], zeros)


@given(BITS, st.sampled_from([16, 32]), st.data())
def test_values_of_a_grid_are_rounded_to_themselves(bits: int, size: int, data: st.DataObject) -> None:
    """A block that uses its lowest code, as a symmetric one does, gives back its scale and every code."""
    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
    codes = data.draw(arrays(np.uint8, (*shape, size), elements=st.integers(0, (1 << bits) - 1)))
    codes[..., 0] = 0
    floats = st.floats(2**-20, 2**10, width=32) | st.floats(-(2**10), -(2**-20), width=32)
    scales = nearest_bfloat16(data.draw(arrays(np.float32, shape, elements=floats)))
    spec = QuantSpec(bits, size, symmetric=True)
    value = dequantize(QuantizedMatrix(pack_codes(codes, bits), scales, None, spec, shape[1] * size))
    np.testing.assert_array_equal(dequantize(quantize(value, spec)), value)


@given(weights())
def test_rounding_twice_is_rounding_once(weight: FloatArray) -> None:
    once = quantize(weight, QuantSpec(4, 16))
    twice = quantize(dequantize(once), QuantSpec(4, 16))
    np.testing.assert_array_equal(dequantize(twice), dequantize(once))


@given(weights(), SPECS)
def test_no_weight_moves_by_more_than_its_step(weight: FloatArray, spec: QuantSpec) -> None:
    matrix = quantize(weight, spec)
    if spec.bits == 2:
        return  # the searched range clips on purpose
    steps = np.repeat(np.abs(matrix.scales), spec.block_size, axis=1)[:, : weight.shape[1]]
    assert (np.abs(dequantize(matrix) - weight) <= steps * 1.001 + 1e-30).all()


@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([2, 4]), st.sampled_from([0, 1e-3, 2**-12]))
@settings(max_examples=30)
def test_a_range_does_not_depend_on_the_order_of_its_weights(
    seed: int, symmetric: bool, bits: int, grain: float
) -> None:
    """Another processor adds in another order: it must get the same grid, down to the fingerprint.

    Weights of a few digits make ranges that are exactly as good as one another, where a last bit would decide.
    """
    generator = np.random.default_rng(seed)
    weight = (generator.standard_t(4, (512, 512)) * 0.02).astype(np.float32)
    if grain:
        weight = (np.rint(weight / grain) * grain).astype(np.float32)
    order = generator.permutation(32)
    spec = QuantSpec(bits, 32, symmetric)
    mixed = weight.reshape(len(weight), -1, 32)[..., order].reshape(weight.shape)
    one, other = (quantize_blocks(item, spec, lambda part: search_range(part, spec)) for item in (weight, mixed))
    np.testing.assert_array_equal(one.scales, other.scales)
    np.testing.assert_array_equal(unpack_codes(one.packed, bits)[..., order], unpack_codes(other.packed, bits))
    if one.zero_points is not None and other.zero_points is not None:
        np.testing.assert_array_equal(one.zero_points, other.zero_points)


@given(weights(), SPECS, st.data())
def test_rows_stand_alone(weight: FloatArray, spec: QuantSpec, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(weight)))
    whole = quantize(weight, spec)
    parts = [take_rows(whole, 0, cut), take_rows(whole, cut, len(weight))]
    np.testing.assert_array_equal(dequantize(stack_rows(parts)), dequantize(whole))
    np.testing.assert_array_equal(dequantize(quantize(weight[:cut], spec)), dequantize(parts[0]))


@given(st.sampled_from(QUANT_LABELS), st.sampled_from([16, 32, 64, 128, 256]), st.none() | st.booleans(), st.data())
def test_a_quantization_says_what_makes_it_again(
    label: str, size: int, symmetric: bool | None, data: st.DataObject
) -> None:
    plan = parse_quant(label, size, symmetric, data.draw(st.sampled_from(QUANT_METHODS)))
    assert plan.label == label
    if plan.spec is not None:
        spec = plan.spec
        assert parse_quant(f"int{spec.bits}", spec.block_size, spec.symmetric, plan.method) == plan


@given(st.lists(st.tuples(NAMES, st.none() | st.floats(-1e6, 1e6)), min_size=1, max_size=5))
def test_a_spec_that_is_written_is_read(parts: list[tuple[str, float | None]]) -> None:
    text = "+".join(name if weight is None else f"{name}:{weight!r}" for name, weight in parts)
    assert parse_spec(text) == tuple((name, 1.0 if weight is None else weight) for name, weight in parts)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=50),
    st.integers(1, 8),
    st.integers(0, 2**32),
    st.integers(1, 3),
    st.integers(1, 4),
)
@settings(max_examples=60)
def test_an_epoch_holds_each_example_once(
    lengths: list[int], batch_size: int, seed: int, epochs: int, accumulate: int
) -> None:
    plan = BatchPlan(tuple(lengths), batch_size, seed)
    last = plan.per_epoch * epochs
    steps = count_steps(plan, epochs, accumulate, None)
    drawn = [batch for step in range(steps) for batch in batches_of_step(plan, step, accumulate, last)]
    assert len(drawn) == last
    for epoch in range(epochs):
        batches = drawn[epoch * plan.per_epoch : (epoch + 1) * plan.per_epoch]
        assert batches == list(plan.epoch(epoch))
        assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
        assert all(0 < len(batch) <= batch_size for batch in batches)
    assert sorted(index for batch in sorted_batches(lengths, batch_size) for index in batch) == list(
        range(len(lengths))
    )
