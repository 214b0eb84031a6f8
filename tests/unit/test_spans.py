"""Words of a text by the offsets of tokens, spans of words by their labels, and windows over long texts."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelora_runtime.spans import find_spans, find_words
from edgelora_runtime.windows import plan_windows


def words_of(text: str, tokens: Sequence[str]) -> list[str]:
    """The words of a text whose tokens follow each other."""
    offsets, place = [], 0
    for token in tokens:
        start = text.index(token, place)
        offsets.append((start, start + len(token)))
        place = start + len(token)
    return [text[word.start : word.end] for word in find_words(text, offsets)]


@pytest.mark.parametrize(
    ("text", "tokens", "words"),
    [
        ("unhappy people", ["un", "happy", "people"], ["unhappy", "people"]),
        ("unhappy people", ["un", "happy", " people"], ["unhappy", "people"]),  # bytes: the blank is in the token
        ("Paris, Rome", ["Paris", ",", "Rome"], ["Paris", ",", "Rome"]),
        ("don't", ["don", "'", "t"], ["don", "'", "t"]),
        ("naïvés", ["na", "ïve", "́s"], ["naïvés"]),  # a mark on its own
        ("10km²", ["10", "km", "²"], ["10km²"]),
        ("東京の街", ["東", "京", "の", "街"], ["東", "京", "の", "街"]),
        ("A東", ["A", "東"], ["A", "東"]),
        ("Привет мир", ["При", "вет", "мир"], ["Привет", "мир"]),
        ("a\u3000b", ["a", "\u3000", "b"], ["a", "b"]),
        ("  x ", ["  ", "x", " "], ["x"]),
        ("", [], []),
    ],
)
def test_words(text: str, tokens: list[str], words: list[str]) -> None:
    assert words_of(text, tokens) == words


def test_tokens_of_one_character_are_one_word() -> None:
    found = find_words("🚀 go", [(0, 1), (0, 1), (0, 1), (0, 1), (2, 4), (4, 4)])
    assert [(word.token, word.start, word.end) for word in found] == [(0, 0, 1), (4, 2, 4)]


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        ("O O O", []),
        ("B-X I-X O", [("X", 0, 2)]),
        ("B-X B-X I-X", [("X", 0, 1), ("X", 1, 3)]),
        ("I-X I-X I-Y", [("X", 0, 2), ("Y", 2, 3)]),
        ("B-X O I-X", [("X", 0, 1), ("X", 2, 3)]),
        ("B-X I-Y I-Y", [("X", 0, 1), ("Y", 1, 3)]),
        ("street street town", [("street", 0, 2), ("town", 2, 3)]),
        ("B-O I-O O", [("O", 0, 2)]),
        ("B- I- o", [("B-", 0, 1), ("I-", 1, 2), ("o", 2, 3)]),
    ],
)
def test_spans(labels: str, spans: list[tuple[str, int, int]]) -> None:
    text = "aa bb cc"
    words = find_words(text, [(0, 2), (3, 5), (6, 8)])
    found = find_spans(text, words, labels.split(), [0.5, 0.7, 0.9])
    told = [(span.label, span.start, span.end, span.text) for span in found]
    assert told == [(kind, 3 * first, 3 * last - 1, text[3 * first : 3 * last - 1]) for kind, first, last in spans]
    for span, (_, first, last) in zip(found, spans, strict=True):
        assert span.score == pytest.approx(sum([0.5, 0.7, 0.9][first:last]) / (last - first))


@given(st.integers(0, 300), st.integers(1, 60))
def test_every_token_counts_once_and_where_it_is_farthest_from_an_edge(count: int, size: int) -> None:
    windows = plan_windows(count, size)
    counted = [token for window in windows for token in range(window.first, window.last)]
    assert counted == list(range(count))
    assert all(window.end - window.start <= size for window in windows)
    assert all(
        window.end - window.start == size and later.start - window.start == size - size // 4
        for window, later in itertools.pairwise(windows)
    )

    def distance(token: int, start: int, end: int) -> int:
        left = token - start if start else count
        return min(left, end - 1 - token if end < count else count)

    for index, window in enumerate(windows):
        for token in range(window.first, window.last):
            for other, rival in enumerate(windows):
                if rival.start <= token < rival.end and other != index:
                    own, its = distance(token, window.start, window.end), distance(token, rival.start, rival.end)
                    assert own > its or (own == its and index < other)
