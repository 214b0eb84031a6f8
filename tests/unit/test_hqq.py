"""Half-quadratic ranges: never a larger lp error than rtn in any block, in the layout of every other method."""

import numpy as np
import pytest

from edgelora.hqq import LP_NORM, lp_error, quantize_hqq
from edgelora.quantize import dequantize, quantize, quantize_blocks, search_range
from edgelora.types import FloatArray, QuantSpec

SPECS = [QuantSpec(bits, size, symmetric) for bits in (2, 4, 8) for size in (16, 128) for symmetric in (True, False)]


def _weight(shape: tuple[int, int], seed: int = 0) -> FloatArray:
    """Weights with outliers, of the size that trained linears have."""
    return (np.random.default_rng(seed).standard_t(4, shape) * 0.02).astype(np.float32)


def _by_block(weight: FloatArray, rounded: FloatArray, block_size: int) -> FloatArray:
    missing = -weight.shape[1] % block_size
    moved = np.pad(np.abs(rounded - weight) ** LP_NORM, ((0, 0), (0, missing)))
    return moved.reshape(len(weight), -1, block_size).sum(axis=-1)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("shape", [(1, 16), (9, 300)], ids=str)
def test_no_block_is_worse_than_rounding_to_nearest(spec: QuantSpec, shape: tuple[int, int]) -> None:
    weight = _weight(shape)
    found, plain = quantize_hqq(weight, spec), quantize_blocks(weight, spec, lambda part: search_range(part, spec))
    after, before = (_by_block(weight, dequantize(matrix), spec.block_size) for matrix in (found, plain))
    assert (after <= before * (1 + 1e-4) + 1e-5).all()
    assert found.packed.shape == plain.packed.shape
    assert (found.zero_points is None) == spec.symmetric
    assert (found.scales.view(np.uint32) & 0xFFFF == 0).all()


@pytest.mark.parametrize(
    ("spec", "most"), [(QuantSpec(4), 0.97), (QuantSpec(2), 0.99), (QuantSpec(2, 16, False), 0.99)]
)
def test_the_lp_error_falls_clearly(spec: QuantSpec, most: float) -> None:
    weight = _weight((64, 256))
    assert lp_error(weight, dequantize(quantize_hqq(weight, spec))) < most * lp_error(
        weight, dequantize(quantize(weight, spec))
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_size_of_the_weights_does_not_matter(spec: QuantSpec) -> None:
    weight = _weight((8, 256))
    small, large = quantize_hqq(weight, spec), quantize_hqq(weight * np.float32(1024), spec)
    assert (small.packed == large.packed).mean() > 0.99  # a power of two; what differs is a tie
    assert (dequantize(quantize_hqq(np.zeros((2, 40), np.float32), spec)) == 0).all()


def test_rows_are_independent_and_the_result_repeats() -> None:
    weight = _weight((320, 900))  # more than one chunk of rows
    whole, again = (quantize_hqq(weight, QuantSpec(2, 32, symmetric=False)) for _ in range(2))
    part = quantize_hqq(weight[200:310], whole.spec)
    assert whole.packed.tobytes() == again.packed.tobytes()
    assert (part.packed == whole.packed[200:310]).all()
    assert (part.scales == whole.scales[200:310]).all()
