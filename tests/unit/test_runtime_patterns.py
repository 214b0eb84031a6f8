"""PEFT's patterns: what is read matches what Python's ``re`` matches, as PEFT calls it; what is not read is named."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelora_runtime.patterns import PatternError, matches_ending, matches_whole, parse_pattern

ATOMS = st.sampled_from(
    ["a", "b", ".", r"\.", "x1", "[ab]", "[^.]", r"\d", r"[\d_]", "[a-c1]", r"\w", "q_proj", "_", "-", "", "é"]
)
PLACES = st.sampled_from(["^", "$", r"\b"])
TIMES = st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "{,2}", "*?", "+?", "??", "{1,2}?"])
PATTERNS = st.recursive(
    ATOMS | PLACES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, TIMES).map(lambda two: f"(?:{two[0]}){two[1]}"),
        inner.map(lambda one: f"(?={one})"),
        inner.map(lambda one: f"(?!{one})"),
    ),
    max_leaves=8,
)
NAMES = st.lists(st.sampled_from(["a", "b", "c", ".", "1", "x1", "q_proj", "_", "-"]), max_size=7).map("".join)


@given(PATTERNS, NAMES)
@settings(max_examples=1500, deadline=None)
def test_a_pattern_matches_what_pythons_re_matches(pattern: str, name: str) -> None:
    try:
        whole, ending = matches_whole(pattern, name), matches_ending(pattern, name)
    except PatternError:
        return
    assert whole == (re.fullmatch(pattern, name) is not None)
    assert ending == (re.match(rf"(.*\.)?({pattern})$", name) is not None)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(?i)q", r"'\(\?i\)' is not read"),
        (r"q\Z", r"'\\\\Z' is not read"),
        (r"\Aq", r"'\\\\A' is not read"),
        (r"\s", "is not read"),
        (r"(q)\1", r"'\\\\1' is not read"),
        ("(?P<n>q)", "is not read"),
        ("(?<=a)q", "is not read"),
        ("(?>q)", "is not read"),
        ("(?#x)", "is not read"),
        ("(?", "is not read"),
        ("q*+", "possessive"),
        ("q{2}+", "possessive"),
        ("q**", "is repeated itself"),
        ("*q", "repeats nothing"),
        ("a|+", "repeats nothing"),
        ("^*", "takes no character"),
        ("(?=q)+", "takes no character"),
        ("(", "is not closed"),
        ("q)", "closes no group"),
        ("a)(b", "closes no group"),
        ("q_proj[", "is not closed"),
        ("[]", "stands alone"),
        ("[[a]", "stands alone"),
        ("[z-a]", "goes nowhere"),
        (r"[\d-x]", "stands alone"),
        ("q{", "stands alone"),
        ("q}", "stands alone"),
        ("q]", "stands alone"),
        ("q{,}", "has no number"),
        ("q{3,1}", "ends before it begins"),
        ("q\\", "at the end"),
        ("q" * 9000, "has 9000 characters"),
        ("(" * 50 + ")" * 50, "nested more than"),
        ("(a{9999}){9999}", "repeats too much"),
        ("((a*)*)*", "repeats too much"),
        ("(?=(?=(?=a)))b", "repeats too much"),
    ],
)
def test_what_is_not_read_is_named(pattern: str, words: str) -> None:
    with pytest.raises(PatternError, match=words) as caught:
        parse_pattern(pattern)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        (r".*\.(q|v)_proj", "model.layers.0.self_attn.q_proj", True),
        (r"^(?:\w+\.)+q_proj$", "model.layers.0.self_attn.q_proj", True),
        (r"^(language_model(?=\.).*\.(q_proj|v_proj))$", "language_model.layers.3.v_proj", True),
        (r"^(?!.*visual).*proj", "visual.layers.3.v_proj", False),
        (r"(?:.*?(?:vision|text).*?(?:k|v)_proj.*?)|(?:\bmodel\.layers\.[\d]{1,}\.q)", "model.layers.1.q", True),
    ],
)
def test_patterns_that_people_have(pattern: str, name: str, expected: bool) -> None:
    assert matches_whole(pattern, name) is expected
    assert (re.fullmatch(pattern, name) is not None) is expected


@pytest.mark.parametrize("pattern", ["(?:a*)*b", "(?:a|aa)+b", "a*a*a*a*a*a*b", ".*.*.*.*.*.*.*.*=", "(?:a?){30}a{30}"])
def test_no_pattern_hangs(pattern: str) -> None:
    started = time.perf_counter()
    matches_whole(pattern, "a" * 1000)
    matches_ending(pattern, "a." * 500)
    assert time.perf_counter() - started < 5


def test_an_ending_begins_behind_a_dot_and_an_anchor_at_the_start() -> None:
    assert matches_ending("q_proj", "layers.0.q_proj")
    assert not matches_ending("proj", "layers.0.q_proj")
    assert matches_ending("layers.0.q_proj", "layers.0.q_proj")
    assert not matches_ending("^q_proj", "layers.0.q_proj")
    assert matches_ending("^q_proj|^k_proj", "k_proj")
