"""Whole-row codes: the nearest, the largest exact, zeros harmless."""

import numpy as np
import pytest

from edgelora.grid.blocks import dequantize, quantize
from edgelora.grid.row_codes import ROW_ZERO, column_factors, round_rows, row_values
from edgelora.values import QuantSpec


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("in_features", [1, 40, 96])
def test_codes_are_the_nearest_and_the_largest_value_of_a_row_is_kept(bits: int, in_features: int) -> None:
    rng = np.random.default_rng(bits)
    matrix = quantize(rng.standard_normal((7, in_features)).astype(np.float32), QuantSpec(bits, 32, bits != 2))
    weight, rows = dequantize(matrix), round_rows(matrix)
    values = row_values(rows)
    assert rows.codes.min() >= 1, "code 0 would be a 129th step below zero"
    assert (np.abs(values - weight) <= 0.501 * rows.steps[:, None]).all()
    largest = np.abs(weight).argmax(axis=1)
    np.testing.assert_allclose(values[range(7), largest], weight[range(7), largest], rtol=1e-6)


def test_a_row_of_zeros_stays_zero() -> None:
    weight = np.zeros((2, 32), np.float32)
    weight[1, 3] = -2
    rows = round_rows(quantize(weight, QuantSpec(4)))
    assert (rows.codes[0] == ROW_ZERO).all() and rows.steps[0] == 1
    np.testing.assert_array_equal(row_values(rows)[0], weight[0])
    assert rows.codes[1, 3] == 1 and rows.steps[1] == pytest.approx(2 / 127, rel=0.02)


def test_factors_are_roots_of_sizes_and_leave_weights_what_they_are() -> None:
    sizes = np.array([16, 1, 1 / 256, 4, 2, 1 / 2] * 16, np.float32)
    name = "model.layers.3.mlp.down_proj.weight"
    factors = column_factors({name: sizes, "model.embed_tokens.weight": sizes, "lm_head.weight": sizes})
    assert list(factors) == [name]
    np.testing.assert_array_equal(factors[name][:6], [2, 1, 1 / 4, 1, 1, 1])
    matrix = quantize(np.random.default_rng(5).standard_normal((7, 96)).astype(np.float32), QuantSpec(8))
    rows = round_rows(matrix, factors[name])
    error = np.abs(row_values(rows) - dequantize(matrix)) * factors[name]
    assert (error <= 0.501 * rows.steps[:, None]).all()
