"""Batches against rows alone: the same answers whatever stands beside a row, in bounded memory."""

from __future__ import annotations

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgelora_runtime.groups as groups_module
import edgelora_runtime.session as session_module
from edgelora_runtime import Model, load
from edgelora_runtime.groups import MAX_CACHE_BYTES, MAX_ROWS, group_rows, split_rows

ARTIFACT = Path(__file__).resolve().parents[2] / "runtime" / "conformance" / "tiny-float"
CONTEXT = 320
SPECS = ("none", "one", "four", "eight", "four:0.5", "one:0.7+eight:0.3")
LENGTHS = st.one_of(st.integers(1, 40), st.sampled_from([CONTEXT // 2, CONTEXT - 9, CONTEXT - 2, CONTEXT - 1, CONTEXT]))


@functools.cache
def shared() -> Model:
    """One model for all examples: nothing may remain from one to the next."""
    return load(ARTIFACT, threads=1)


@functools.cache
def alone(ids: tuple[int, ...], spec: str, count: int) -> list[int]:
    return load_alone().generate_ids(list(ids), adapter=spec, max_new_tokens=count)


@functools.cache
def load_alone() -> Model:
    return load(ARTIFACT, threads=1)


def prompt(seed: int, length: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(6, 384, length)]


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), LENGTHS, st.sampled_from(SPECS)), min_size=1, max_size=20),
    count=st.integers(1, 14),
    chunk=st.sampled_from([7, 64, 384]),
    cache_bytes=st.sampled_from([1, 1 << 18, MAX_CACHE_BYTES]),
)
def test_rows_answer_as_they_do_alone(
    rows: list[tuple[int, int, str]], count: int, chunk: int, cache_bytes: int
) -> None:
    prompts = [prompt(seed, length) for seed, length, _ in rows]
    specs = [spec for _, _, spec in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_module, "PREFILL_CHUNK", chunk)
        patch.setattr(groups_module, "MAX_CACHE_BYTES", cache_bytes)
        found = shared().generate_ids(prompts, adapter=specs, max_new_tokens=count)
    assert found == [alone(tuple(ids), spec, count) for ids, spec in zip(prompts, specs, strict=True)]


@settings(max_examples=20)
@given(
    text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12),
    spec=st.sampled_from(SPECS),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    stop=st.sampled_from([(), ("e",), ("\ufffd",)]),
)
def test_a_stream_read_in_any_portions_by_any_threads_is_the_answer(
    text: str, spec: str, sizes: list[int], stop: tuple[str, ...]
) -> None:
    model = shared()
    expected = model.generate(text, raw=False, adapter=spec, max_new_tokens=16, stop=stop).text
    stream = model.generate(text, adapter=spec, max_new_tokens=16, stop=stop, stream=True)
    pieces: list[str] = []
    with ThreadPoolExecutor(1) as other:
        for number, size in enumerate(itertools.cycle(sizes)):
            portion = functools.partial(list, itertools.islice(stream, size))
            read = other.submit(portion).result() if number % 2 else portion()
            pieces += read
            if len(read) < size:
                break
    assert "".join(pieces) == expected


def test_drawn_answers_keep_the_order_of_the_rows_and_their_numbers() -> None:
    """Row i draws from generator i, wherever its length puts it."""
    options = {"max_new_tokens": 6, "temperature": 1.5, "seed": 3}
    model = shared()
    lengths = [3, 30, 9, 200, 1]
    rows = [prompt(index, length) for index, length in enumerate(lengths)]
    together = model.generate_ids(rows, **options)
    assert together[0] == model.generate_ids(rows[0], **options)
    for index in range(1, 5):  # the row at its place among others that are all alike
        beside = [rows[index]] * 5
        assert model.generate_ids(beside, **options)[index] == together[index]
    texts = ["a", "a much longer prompt than that", "some words"]
    assert [answer.text for answer in model.generate(texts, max_new_tokens=6)] == [
        model.generate(text, max_new_tokens=6).text for text in texts
    ]
    counts = [answer.usage.prompt_tokens for answer in model.generate(texts, max_new_tokens=1)]
    assert counts[1] > counts[2] > counts[0]


def test_no_call_of_the_graph_gets_more_than_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention takes memory for every token of a call times every token so far, in each row and head."""
    fed: list[tuple[int, ...]] = []
    run = session_module.Session._run

    def counting(self, ids, counts, positions, first=0):  # type: ignore[no-untyped-def]
        fed.append(ids.shape)
        return run(self, ids, counts, positions, first)

    monkeypatch.setattr(session_module.Session, "_run", counting)
    monkeypatch.setattr(session_module, "PREFILL_CHUNK", 100)
    rows = [prompt(index, length) for index, length in enumerate([300, 10, 90, 12, 200, 11, 100, 14])]
    shared().generate_ids(rows, adapter=["one", "four"] * 4, max_new_tokens=2)
    assert max(n_rows * n_tokens for n_rows, n_tokens in fed) <= 100
    assert (4, 14) in fed, "short rows still go together"
    assert sum(n_rows * n_tokens for n_rows, n_tokens in fed) < sum(len(row) for row in rows) + 20, "next to no padding"


def test_groups() -> None:
    assert group_rows([], 8) == []
    assert group_rows([5, 9, 1], 8) == [[1, 0, 2]]
    assert [len(group) for group in group_rows([3] * 40, 1)] == [MAX_ROWS, MAX_ROWS, 8]
    half = MAX_CACHE_BYTES // 2
    assert group_rows([half, 1, half, 3 * half, half], 1) == [[3], [0, 2], [4, 1]]
    assert split_rows([5], 3) == [range(1)]
    assert split_rows([9, 3, 3, 1, 1], 6) == [range(1), range(1, 3), range(3, 5)]
    assert split_rows([1, 1, 7, 1], 6) == [range(2), range(2, 3), range(3, 4)]


@given(lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=60), n_bytes=st.integers(1, 1 << 20))
def test_every_row_is_in_one_group_and_one_part(lengths: list[int], n_bytes: int) -> None:
    groups = group_rows(lengths, n_bytes)
    assert sorted(itertools.chain(*groups)) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[index] for index in group)
        assert len(group) == 1 or len(group) * longest * n_bytes <= MAX_CACHE_BYTES
    parts = split_rows(lengths, 384)
    assert list(itertools.chain(*parts)) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or len(part) * max(lengths[part.start : part.stop]) <= 384
