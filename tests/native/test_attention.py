"""``GroupQueryAttention`` of the project against onnxruntime's operator of that name: every path, many kinds."""

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from tests.native.attentions import OWN, STANDARD, Array, Kind, Rows, open_node
from tests.operator_library import paths

KINDS = {
    "packed": Kind(),
    "apart": Kind(packed=False),
    "rotated": Kind(half=8),
    "rotated in part": Kind(size=64, half=8, heads=6, kv_heads=3),
    "pairs side by side": Kind(half=8, interleaved=True),
    "window": Kind(window=5, half=8),
    "long window": Kind(window=70, half=8),
    "softcap": Kind(cap=3.0),
    "scale": Kind(scale=0.3),
    "sinks": Kind(sinks=True),
    "SmolLM2-135M": Kind(heads=9, kv_heads=3, size=64, half=32),
    "one head of keys": Kind(heads=4, kv_heads=1, size=256, half=128),
    "a head of keys for each": Kind(heads=4, kv_heads=4, size=80, half=40),
    "size of 24": Kind(heads=6, kv_heads=2, size=24),
    "int8": Kind(in_bytes=True, half=8),
    "int8, window and softcap": Kind(in_bytes=True, size=64, half=32, window=9, cap=5.0),
    "int8, many heads": Kind(in_bytes=True, heads=12, kv_heads=1, size=32),
}


def is_near(found: Array, expected: Array, most: float = 3e-6) -> None:
    assert np.abs(found - expected).max() < most * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("name", KINDS)
def test_answers_are_those_of_onnxruntime(name: str) -> None:
    kind = KINDS[name]
    expected_node, nodes = open_node(STANDARD, kind), [open_node(OWN, kind, path=path) for path in paths()]
    for calls in ((1, 1, 3), (37, 1, 1), (150, 1, 60, 1)):
        expected, found = Rows(kind, 1, 256), [Rows(kind, 1, 256) for _ in nodes]
        length = 0
        for index, tokens in enumerate(calls):
            given = expected.draw(tokens, index)
            length += tokens
            right = expected.run(expected_node, given, [length], length)
            assert np.isfinite(right).all() and np.abs(right).max() > 0.05
            for rows, node in zip(found, nodes, strict=True):
                is_near(rows.run(node, given, [length], length), right)
                if kind.in_bytes:
                    assert np.abs(rows.keys.astype(int) - expected.keys).max() <= 1  # at the edge of a step
                else:
                    np.testing.assert_allclose(rows.keys, expected.keys, atol=1e-6)
                np.testing.assert_array_equal(rows.values, expected.values)
                rows.keys, rows.values = expected.keys.copy(), expected.values.copy()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", ["SmolLM2-135M", "int8"])
def test_rows_of_several_lengths(name: str, threads: int) -> None:
    """Prompts padded on the right, then a token for each row at its own place."""
    kind = KINDS[name]
    nodes = open_node(STANDARD, kind), open_node(OWN, kind, threads)
    both = [Rows(kind, 3, 100) for _ in nodes]
    lengths, padded = np.array([5, 20, 13]), both[0].draw(20)
    first = [rows.run(node, padded, lengths, 20) for rows, node in zip(both, nodes, strict=True)]
    for row, length in enumerate(lengths):
        is_near(first[1][row, :length], first[0][row, :length])
    for step in range(3):
        given = both[0].draw(1, step)
        lengths += 1
        expected, found = (
            rows.run(node, given, lengths, lengths.max()) for rows, node in zip(both, nodes, strict=True)
        )
        is_near(found, expected)


@pytest.mark.parametrize("name", ["SmolLM2-135M", "int8", "window"])
def test_a_cache_that_goes_on_elsewhere(name: str) -> None:
    """As in a program that gives onnxruntime no memory for what comes out."""
    kind = KINDS[name]
    for held, tokens in ((0, 7), (7, 1), (9, 4)):
        outputs = []
        for domain in (STANDARD, OWN):
            rows = Rows(kind, 1, 16)
            random = np.random.default_rng(held)
            past = random.standard_normal((2, 1, kind.kv_heads, held, kind.size)) * (30 if kind.in_bytes else 1)
            given = rows.draw(tokens) | rows.constants
            given |= dict(zip(("past_keys", "past_values"), past.astype(rows.keys.dtype), strict=True))
            given |= {"last": np.array([held + tokens - 1], np.int32), "total": np.array(held + tokens, np.int32)}
            outputs.append(open_node(domain, kind).run(["y", "keys", "values"], given))
        for found, expected in zip(outputs[1], outputs[0], strict=True):
            assert found.shape == expected.shape and found.dtype == expected.dtype
            is_near(found, expected)


@pytest.mark.parametrize("path", paths())
def test_many_keys_are_cut_for_threads(path: str) -> None:
    kind = Kind(heads=4, kv_heads=1, size=64, half=32)
    for window in (-1, 300):
        here = Kind(**{**vars(kind), "window": window})
        expected_node, node = open_node(STANDARD, here), open_node(OWN, here, 3, path=path)
        both = [Rows(here, 1, 1200) for _ in range(2)]
        for length, tokens in ((1100, 1100), (1101, 1), (1103, 2)):
            given = both[0].draw(tokens)
            expected = both[0].run(expected_node, given, [length], length)
            is_near(both[1].run(node, given, [length], length), expected)


@pytest.mark.parametrize("path", paths())
def test_scores_far_apart_and_what_is_no_number(path: str) -> None:
    kind = Kind(scale=1.0)
    for tokens in (1, 12, 40):
        rows = Rows(kind, 2, 64)
        given = rows.draw(tokens)
        given["q"][..., : kind.heads * kind.size] *= 1000  # one key takes all
        given["q"][1, -1, : kind.heads * kind.size] = np.nan
        found = rows.run(open_node(OWN, kind, path=path), given, [tokens, tokens], tokens)
        expected = Rows(kind, 2, 64).run(open_node(STANDARD, kind), given, [tokens, tokens], tokens)
        is_near(found[0], expected[0], 1e-3)  # scores of thousands have few digits behind the point
        if tokens > 1:
            is_near(found[1, :-1], expected[1, :-1], 1e-3)
        assert np.isnan(found[1, -1]).all()


def test_other_shapes_are_refused() -> None:
    kind = Kind(half=8)
    rows, node = Rows(kind, 1, 16), open_node(OWN, kind)
    good = rows.draw(3) | rows.constants | {"past_keys": rows.keys, "past_values": rows.values}
    good |= {"last": np.array([4], np.int32), "total": np.array(5, np.int32)}
    node.run(None, good)
    cut = {"past_keys": rows.keys[..., :8], "past_values": rows.values[..., :8]}
    wrong = {
        "other shapes": {"past_values": rows.values[:, :, :9]},
        "columns": {"q": good["q"][..., :-1]},
        "not \\[rows": {
            "past_keys": np.zeros((2, 2, 16, 16), np.float32),
            "past_values": np.zeros((2, 2, 16, 16), np.float32),
        },
        "another number": cut,
        "does not fit": {"last": np.array([1], np.int32)},
        "length": {"last": np.array([40], np.int32)},
        "shorter": {"total": np.array(2, np.int32)},
        "cosines end": {"cosines": good["cosines"][:4], "sines": good["sines"][:4]},
        "expected cosines": {"sines": good["sines"][:4]},
        "lengths": {"last": np.array([4, 4], np.int32)},
    }
    for message, one in wrong.items():
        with pytest.raises((Fail, InvalidArgument, RuntimeException), match=message):
            node.run(None, good | one)
    for attributes in ({"num_heads": 3}, {"kv_num_heads": 0}, {"scale": float("nan")}, {"path": "wide"}):
        with pytest.raises((Fail, InvalidArgument, RuntimeException)):
            open_node(OWN, kind, **attributes)
