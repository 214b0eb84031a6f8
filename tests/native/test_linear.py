"""The operators ``Linear`` and ``Embed`` against numpy and onnxruntime: every path of this processor, odd sizes."""

import itertools

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from tests.native.linears import Array, Codes, embed, linear, make_codes, matmul_nbits
from tests.operator_library import paths

REFUSALS = (Fail, InvalidArgument, RuntimeException)
BITS, BLOCKS = (2, 4, 8), (16, 32, 64, 128, 256)
SHAPES = [(1, 16), (3, 100), (37, 576), (70, 257), (33, 1)]  # rows, columns
TOKENS = (1, 2, 3, 5, 7, 40)


def rounded(x: Array, block_size: int) -> Array:
    """What accuracy level 4 makes of activations: 255 steps a block, in float64."""
    tokens, columns = x.shape
    padded = np.zeros((tokens, -(-columns // block_size) * block_size), np.float32)
    padded[:, :columns] = x
    blocks = padded.reshape(tokens, -1, block_size)
    scales = np.abs(blocks).max(-1, keepdims=True) / np.float32(127)
    inverse = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales > 0)
    values: Array = (np.rint(blocks * inverse).astype(np.float64) * scales).reshape(tokens, -1)[:, :columns]
    return values


def apart(y: Array, want: Array, x: Array, item: Codes, bias: Array | None) -> float:
    """The largest difference over what the sum's terms can amount to."""
    most = np.abs(x).astype(np.float64) @ item.reach.T + (0 if bias is None else np.abs(bias))
    return float((np.abs(y - want) / (most + 1e-9)).max())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("block_size", BLOCKS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_products_are_those_of_numpy(bits: int, block_size: int, symmetric: bool) -> None:
    for number, (rows, columns) in enumerate(SHAPES):
        half = number % 2 == 0
        item = make_codes(number, rows, columns, bits, block_size, symmetric, half)
        random = np.random.default_rng(number)
        bias = random.standard_normal(rows).astype(np.float32) if number % 3 else None
        offset = 0 if bias is None else bias
        for level, path in itertools.product((0, 4), paths()):
            session = linear(item, level, bias, path)
            for tokens in TOKENS:
                x = random.standard_normal((tokens, columns)).astype(np.float32)
                meant = x.astype(np.float64) if level == 0 else rounded(x, block_size)
                y = session.run(None, {"x": x})[0]
                assert y.shape == (tokens, rows)
                where = f"{rows}x{columns} half={half} level={level} path={path} tokens={tokens}"
                assert apart(y, meant @ item.weights.T + offset, x, item, bias) < 1e-5, where


# onnxruntime has no level 0 for 8 bits, and leaves activations in floats where it has no kernel for level 4.
@pytest.mark.parametrize(("bits", "level"), [(2, 0), (4, 0), (2, 4), (4, 4), (8, 4)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_products_are_those_of_onnxruntime(bits: int, level: int, symmetric: bool) -> None:
    for block_size, tokens in itertools.product((16, 32, 128), (1, 9)):
        item = make_codes(1, 48, 256, bits, block_size, symmetric, half=True)
        x = np.random.default_rng(2).standard_normal((tokens, 256)).astype(np.float32)
        bias = np.linspace(-1, 1, 48, dtype=np.float32)
        theirs = matmul_nbits(item, level, bias).run(None, {"x": x})[0]
        for path in paths():
            ours = linear(item, level, bias, path).run(None, {"x": x})[0]
            most = 1e-5 if bits > 2 or level == 0 else 1e-3
            assert apart(ours, theirs.astype(np.float64), x, item, bias) < most, f"{path} block {block_size}"


def test_threads_change_nothing() -> None:
    item = make_codes(5, 999, 576, 4, 32, symmetric=False, half=True)
    for tokens, level in itertools.product((1, 3, 40), (0, 4)):
        x = np.random.default_rng(tokens).standard_normal((tokens, 576)).astype(np.float32)
        alone = linear(item, level).run(None, {"x": x})[0]
        assert np.array_equal(linear(item, level, threads=3).run(None, {"x": x})[0], alone)


def test_rows_of_zeros_and_extremes_stay_what_they_are() -> None:
    """A block without a value has scale 0; the largest codes with the largest activations must not overflow."""
    for bits, path in itertools.product(BITS, paths()):
        item = make_codes(0, 40, 64, bits, 32, symmetric=False, half=True)
        full = Codes(bits, 32, np.full_like(item.codes, 255), np.ones_like(item.scales), None, *_ones(item, bits))
        for tokens in (1, 8):
            x = np.zeros((tokens, 64), np.float32)
            assert not linear(full, 4, path=path).run(None, {"x": x})[0].any()
            for sign in (1, -1):
                y = linear(full, 4, path=path).run(None, {"x": np.full_like(x, sign * 127)})[0]
                assert np.array_equal(y, np.full((tokens, 40), sign * 127 * 64 * ((1 << bits - 1) - 1), np.float32))


def _ones(item: Codes, bits: int) -> tuple[Array, Array]:
    weights = np.full_like(item.weights, (1 << bits - 1) - 1)
    return weights, weights


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_an_embedding_reads_rows_of_the_same_codes(bits: int, symmetric: bool) -> None:
    for block_size, columns in ((16, 576), (32, 100), (256, 300)):
        item = make_codes(3, 50, columns, bits, block_size, symmetric, half=bits != 2)
        ids = np.array([[0, 49, 7], [-1, 7, 12]])
        rows = embed(item).run(None, {"ids": ids})[0]
        assert rows.shape == (2, 3, columns)
        assert np.array_equal(rows, item.weights[ids].astype(np.float32))


def test_an_id_beyond_the_table_is_refused() -> None:
    session = embed(make_codes(0, 5, 32, 4, 32, symmetric=True, half=True))
    for bad in (5, -6):
        with pytest.raises(REFUSALS, match=f"id {bad} is beyond the table of 5 rows"):
            session.run(None, {"ids": np.array([[1, bad]])})


def test_what_does_not_fit_is_refused() -> None:
    item = make_codes(0, 5, 64, 4, 32, symmetric=False, half=True)
    x = np.zeros((1, 64), np.float32)
    with pytest.raises(REFUSALS, match=r"x has shape \[1, 63\], expected 64 columns"):
        linear(item, 4).run(None, {"x": x[:, :63]})
    with pytest.raises(REFUSALS, match=r"bias has shape \[4\], expected \[5\]"):
        linear(item, 4, np.zeros(4, np.float32)).run(None, {"x": x})
    assert item.zero_points is not None
    for name, what in (
        ("codes", r"codes have shape"),
        ("scales", r"scales have shape"),
        ("zero_points", "zero_points"),
    ):
        cut = Codes(**{**vars(item), name: getattr(item, name)[:, :-1]})
        with pytest.raises(REFUSALS, match=what):
            linear(cut, 4).run(None, {"x": x})
    with pytest.raises(REFUSALS, match="block_size is 8, expected 16, 32, 64, 128 or 256"):
        linear(Codes(**{**vars(item), "block_size": 8}), 4)
    with pytest.raises(REFUSALS, match="bits is 3, expected 2, 4 or 8"):
        linear(Codes(**{**vars(item), "bits": 3}), 4)
    for columns in (0, 1 << 40):
        with pytest.raises(REFUSALS, match=rf"K is {columns}, expected 1 to 16777216 columns"):
            linear(Codes(**{**vars(item), "weights": np.broadcast_to(np.zeros(1), (1, columns))}), 4)
    empty = Codes(
        **{**vars(item), "codes": np.zeros((1 << 60, 0), np.uint8), "scales": np.zeros((1 << 60, 0), np.float16)}
    )
    with pytest.raises(REFUSALS, match=r"codes have shape \[1152921504606846976, 0\], expected at most 16777216 rows"):
        linear(empty, 4).run(None, {"x": x})
    with pytest.raises(REFUSALS, match="path is sse9, which this processor does not have"):
        linear(item, 4, path="sse9")
