"""The rounding of one matrix: layout, error bounds and exactness, for every width and block size."""

from pathlib import Path

import numpy as np
import pytest

from edgelora.errors import ConfigError
from edgelora.grid.blocks import (
    dequantize,
    full_range,
    nearest_bfloat16,
    pack_codes,
    quantize,
    quantize_blocks,
    quantize_ranges,
    relative_error,
    search_range,
    stack_rows,
    take_rows,
    to_bfloat16,
    unpack_codes,
)
from edgelora.values import QuantizedMatrix, QuantSpec

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
    # A symmetric grid reaches one step further on the side of its largest weight than on the other. The searched range
    # of 2 bits clips, and the largest weight is at most 1 / 0.22 steps away from zero, of which a level covers one.
    bound = 3.6 if spec.bits == 2 else 1.02 if spec.symmetric else 0.52
    assert (np.abs(dequantize(matrix) - weight) <= bound * step + 1e-6).all()


def _error(weight: np.ndarray, spec: QuantSpec, *, search: bool) -> float:
    choose = search_range if search else full_range
    moved = dequantize(quantize_blocks(weight, spec, lambda blocks: choose(blocks, spec))) - weight
    return float(np.linalg.norm(moved) / np.linalg.norm(weight))


@pytest.mark.parametrize(("block_size", "symmetric", "most"), [(16, True, 0.94), (32, True, 0.93), (32, False, 0.83)])
def test_two_bits_gain_from_a_searched_range(block_size: int, symmetric: bool, most: float) -> None:
    weight = np.random.default_rng(5).standard_normal((64, 200)).astype(np.float32)
    spec = QuantSpec(2, block_size, symmetric)
    assert _error(weight, spec, search=True) < most * _error(weight, spec, search=False)
    assert quantize(weight, spec).packed.tobytes() == quantize(weight.copy(), spec).packed.tobytes()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_searched_range_is_never_worse_in_any_block(spec: QuantSpec) -> None:
    blocks = np.random.default_rng(6).standard_t(3, (20, 4, spec.block_size)).astype(np.float32)

    def errors(search: bool) -> np.ndarray:
        flat = blocks.reshape(20, -1)
        choose = search_range if search else full_range
        moved = dequantize(quantize_blocks(flat, spec, lambda part: choose(part, spec))) - flat
        return np.square(moved).reshape(blocks.shape).sum(axis=-1)

    assert (errors(search=True) <= errors(search=False) * (1 + 1e-5)).all()
    assert errors(search=True).sum() <= errors(search=False).sum()


def test_two_bits_keep_weights_that_already_lie_on_the_grid() -> None:
    codes = np.random.default_rng(7).integers(-2, 2, (4, 64)).astype(np.float32)
    codes[:, ::32] = -2
    weight = codes * np.float32(0.125)
    assert (dequantize(quantize(weight, QuantSpec(2))) == weight).all()


def test_importance_draws_the_range_to_the_columns_that_matter() -> None:
    blocks = np.random.default_rng(8).standard_normal((30, 2, 32)).astype(np.float32)
    importance = np.where(np.arange(64).reshape(2, 32) % 4 == 0, 50, 1).astype(np.float32)

    def error(weights: np.ndarray | None) -> float:
        spec = QuantSpec(2, 32)
        scales, zeros = search_range(blocks, spec, weights)
        levels = np.clip(np.rint(blocks / scales[..., None]), -zeros[..., None], 3 - zeros[..., None])
        return float((importance * np.square(levels * scales[..., None] - blocks)).sum())

    assert error(importance) < 0.95 * error(None)


def test_nearest_bfloat16_is_nearest() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, -3.1415927, 0.0], np.float32)  # two ties among them
    assert nearest_bfloat16(values).tolist() == [1.0, 1.0, 1.015625, -3.140625, 0.0]


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


def test_the_page_on_quantization_spells_packing_as_the_code_packs() -> None:
    page = (Path(__file__).parents[2] / "docs/quantization.md").read_text(encoding="utf-8")
    for bits, codes in ((4, [1, 2, 3, 4]), (2, [0, 1, 2, 3])):
        spelled = " ".join(f"{byte:02x}" for byte in pack_codes(np.array(codes, np.uint8), bits))
        assert f"`{' '.join(map(str, codes))}` are the byte" in page
        assert f"`{spelled}`" in page


@pytest.mark.parametrize(("bits", "symmetric"), [(2, True), (2, False), (4, True), (8, True)])
def test_the_page_on_quantization_counts_bits_as_the_grid_does(bits: int, symmetric: bool) -> None:
    page = (Path(__file__).parents[2] / "docs/quantization.md").read_text(encoding="utf-8")
    row = f"| {bits} bits, {'symmetric' if symmetric else 'asymmetric'} | "
    told = [float(cell) for cell in page.split(row)[1].splitlines()[0].strip(" |").split(" | ")]
    for block_size, expected in zip((16, 32, 64, 128), told, strict=True):
        matrix = quantize(np.ones((4, 1024), np.float32), QuantSpec(bits, block_size, symmetric))
        zeros = 0 if matrix.zero_points is None else matrix.zero_points.nbytes
        stored = 8 * (matrix.packed.nbytes + 2 * matrix.scales.size + zeros) / (4 * 1024)  # scales at 16 bits
        assert abs(stored - expected) <= 0.0006


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_error_is_that_of_the_values_that_ship(spec: QuantSpec) -> None:
    weight = np.random.default_rng(6).standard_normal((700, 500)).astype(np.float32)  # more than one run of rows
    matrix = quantize(weight, spec)
    moved = np.linalg.norm((dequantize(matrix) - weight).astype(np.float64)) / np.linalg.norm(weight.astype(np.float64))
    assert relative_error(weight, matrix) == pytest.approx(moved, rel=1e-5)
    assert relative_error(weight.T.copy().T, matrix) == pytest.approx(moved, rel=1e-5)
    assert relative_error(np.zeros_like(weight), quantize(np.zeros_like(weight), spec)) == 0.0


@pytest.mark.parametrize("symmetric", [True, False])
def test_ranges_err_least_where_inputs_are_large(symmetric: bool) -> None:
    rng = np.random.default_rng(3)
    weight = rng.standard_t(3, (24, 80)).astype(np.float32)
    importance = np.exp2(rng.integers(-6, 7, 80)).astype(np.float32)
    spec = QuantSpec(4, 32, symmetric)

    def error(matrix: QuantizedMatrix) -> float:
        return float((((dequantize(matrix) - weight) ** 2) * importance).sum())

    weighed, even, full = (
        quantize_ranges(weight, spec, importance),
        quantize_ranges(weight, spec, np.ones(80, np.float32)),
        quantize(weight, spec),
    )
    assert error(weighed) < 0.9 * error(even)
    assert error(weighed) < 0.9 * error(full)
