"""JSON of strangers: read as every language reads it, or refused in one line; knows nothing about what it means."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelora_runtime.errors import AdapterError
from edgelora_runtime.parse_json import DEEPEST, join_some, parse_json, read_json, show

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_what_json_writes_is_read_back(value: object) -> None:
    for ascii in (True, False):
        text = json.dumps(value, ensure_ascii=ascii)
        if not any("\ud800" <= character <= "\udfff" for character in text):
            assert parse_json(text.encode(), "x", AdapterError, "go on") == value
    assert len(show(value)) < 400
    assert show(value).isprintable() or not isinstance(value, str)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Expecting value at line 1"),
        (b"{", "line 1, column 2"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
        (b'{"a": 1, "\\u0061": 2}', "the key 'a' stands twice"),
        (b"[NaN]", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"1e400", "beyond float64"),
        (b"9" * 5000, "beyond float64"),
        (b"-" + b"9" * 309, "beyond float64"),
        (b'["\\udc00"]', "half of a surrogate pair"),
        (b"[" * 100_000, "nested more than 100 deep"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "nested more than 100 deep"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "nested more than 100 deep"),
        (b" " * 1001, "longer than 1000 bytes"),
    ],
)
def test_anything_else_is_refused_in_one_line(content: bytes, words: str) -> None:
    limit = 1000 if content.isspace() else 1 << 20
    with pytest.raises(AdapterError, match=words) as caught:
        parse_json(content, "here", AdapterError, "go on", limit)
    assert str(caught.value).startswith("here is not JSON (")
    assert str(caught.value).endswith("); go on")
    assert len(str(caught.value)) < 200


def test_the_largest_numbers_and_depth_are_read() -> None:
    whole = int(math.ldexp(1, 1023))
    text = "[" * DEEPEST + str(whole) + "]" * DEEPEST
    value = parse_json(text, "x", AdapterError, "")
    for _ in range(DEEPEST):
        value = value[0]
    assert value == whole
    assert parse_json(b'\xef\xbb\xbf"\\ud83d\\ude00"', "x", AdapterError, "") == "😀"


def test_a_file_is_read_no_further_than_its_limit(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as stream:
        stream.truncate(1 << 35)  # a hole; reading it whole would end the process
    with pytest.raises(AdapterError, match="longer than 100 bytes"):
        read_json(tmp_path / "x", AdapterError, "go on", 100)
    with pytest.raises(AdapterError, match="cannot be read"):
        read_json(tmp_path / "nothing", AdapterError, "go on")


def test_long_lists_and_values_are_cut() -> None:
    assert join_some(["a", "b"]) == "a; b"
    told = join_some(f"line {number} is wrong" for number in range(100_000))
    assert len(told) < 400
    assert told.startswith("line 0 is wrong; line 1")
    assert told.endswith(" more")
    assert len(join_some(["x" * 5000, "y"])) < 400
    deep: object = []
    for _ in range(5000):
        deep = [deep]
    for value in ("x" * 10_000, deep, {"a": deep}, 10**5000, list(range(1000)), "a\nb\x1b"):
        assert len(show(value)) < 130
        assert show(value).isprintable()
