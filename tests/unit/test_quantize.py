"""The rounding of one matrix: layout, error bounds and exactness, for every width and block size."""

import numpy as np
import pytest

from edgelora.errors import ConfigError
from edgelora.quantize import dequantize, pack_codes, quantize, stack_rows, take_rows, to_bfloat16, unpack_codes
from edgelora.types import QuantSpec

SPECS = [
    QuantSpec(bits, block_size, symmetric)
    for bits in (2, 4, 8)
    for block_size in (16, 32, 256)
    for symmetric in (True, False)
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("shape", [(1, 16), (5, 33), (7, 300)], ids=str)
def test_every_weight_moves_less_than_a_step(spec: QuantSpec, shape: tuple[int, int]) -> None:
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    matrix = quantize(weight, spec)
    n_blocks = -(-shape[1] // spec.block_size)
    assert matrix.packed.shape == (shape[0], n_blocks, spec.block_size * spec.bits // 8)
    assert matrix.scales.shape == (shape[0], n_blocks)
    assert (matrix.zero_points is None) == spec.symmetric
    step = np.repeat(np.abs(matrix.scales), spec.block_size, axis=1)[:, : shape[1]]
    # A symmetric grid reaches one step further on the side of its largest weight than on the other.
    bound = 1.02 if spec.symmetric else 0.52
    assert (np.abs(dequantize(matrix) - weight) <= bound * step + 1e-6).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_zero_is_on_every_grid(bits: int) -> None:
    weight = np.zeros((3, 40), np.float32)
    weight[1] = np.linspace(0.5, 3, 40)
    for symmetric in (True, False):
        values = dequantize(quantize(weight, QuantSpec(bits, 32, symmetric)))
        assert not values[0].any()
        assert not values[2].any()


def test_first_code_lies_in_the_lowest_bits() -> None:
    codes = np.array([[1, 2, 3, 0]], np.uint8)
    assert pack_codes(codes, 4).tolist() == [[0x21, 0x03]]
    assert pack_codes(codes, 2).tolist() == [[0b00111001]]
    assert pack_codes(codes, 8).tolist() == codes.tolist()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_packing_loses_nothing(bits: int) -> None:
    codes = np.random.default_rng(1).integers(0, 1 << bits, (3, 5, 32)).astype(np.uint8)
    assert (unpack_codes(pack_codes(codes, bits), bits) == codes).all()


def test_rows_are_independent() -> None:
    weight = np.random.default_rng(2).standard_normal((9, 70)).astype(np.float32)
    for spec in (QuantSpec(4, 32), QuantSpec(2, 16, symmetric=False)):
        whole = quantize(weight, spec)
        stacked = stack_rows([quantize(weight[:4], spec), quantize(weight[4:], spec)])
        assert (stacked.packed == whole.packed).all()
        assert (dequantize(take_rows(whole, 2, 7)) == dequantize(whole)[2:7]).all()


def test_quantizing_twice_gives_the_same_bytes() -> None:
    weight = np.random.default_rng(3).standard_normal((300, 8000)).astype(np.float32)  # more than one chunk of rows
    first, second = quantize(weight, QuantSpec(4)), quantize(weight.copy(), QuantSpec(4))
    assert first.packed.tobytes() == second.packed.tobytes()
    assert first.scales.tobytes() == second.scales.tobytes()


def test_scales_are_bfloat16_values() -> None:
    scales = quantize(np.random.default_rng(4).standard_normal((4, 64)).astype(np.float32), QuantSpec(4)).scales
    assert (scales.view(np.uint32) & 0xFFFF == 0).all()
    values = np.array([1.0, -2.5, 3.1415927, 1e-30], np.float32)
    assert (np.abs(to_bfloat16(values)) >= np.abs(values)).all()
    assert np.abs(to_bfloat16(values) / values - 1).max() < 2**-7


@pytest.mark.parametrize(("bits", "block_size", "message"), [(3, 32, "bits is 3"), (4, 48, "block_size is 48")])
def test_a_spec_that_no_kernel_reads_is_refused(bits: int, block_size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QuantSpec(bits, block_size)
