"""Prompt lookup against plain decoding, on the conformance artifacts; knows nothing about speed."""

import functools
from pathlib import Path

import numpy as np
import pytest

from edgelora_runtime import Model, load, lookup
from edgelora_runtime.errors import InputError
from edgelora_runtime.generate import Decoding
from edgelora_runtime.lookup import ALLOWANCE, FIRST_CREDIT, MOST_DRAFTED, TOKEN_COST, Drafter, LookupDecoding
from edgelora_runtime.sampling import Sampler, SamplingOptions
from tests.opened import Opened, open_parts

FOLDER = Path(__file__).resolve().parents[2] / "runtime" / "conformance"
ARTIFACTS = ("tiny-float", "tiny-int4", "tiny-int8")
TIE = 1e-4  # one row and several may round logits differently by up to about 1e-5


@functools.cache
def opened(name: str) -> Opened:
    return open_parts(FOLDER / name)


def artifact(name: str) -> Model:
    return opened(name).model


def decode(
    name: str, prompt: list[int], spec: str, most: int, options: SamplingOptions, kind: type[Decoding]
) -> tuple[list[int], Decoding]:
    parts = opened(name)
    ends = parts.model.manifest.model.eos_token_ids
    decoding = kind(parts.session, parts.adapters.find(spec), [prompt], [Sampler(options, prompt)], most, ends)
    return [token for _, token in decoding], decoding


class Oracle:
    """Drafts of any length that are right more often than not, so that every way through a step is taken."""

    def __init__(self, answer: list[int], seed: int) -> None:
        self._answer, self._rng, self._n = answer, np.random.default_rng(seed), 0

    def push(self, token: int) -> None:
        self._n += 1

    def draft(self, limit: int) -> list[int]:
        coming = self._answer[self._n : self._n + min(limit, int(self._rng.integers(0, 9)))]
        return [token if self._rng.random() < 0.85 else (token + 1) % 384 for token in coming]


def compare(
    name: str, prompt: list[int], spec: str, most: int, options: SamplingOptions, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, int, bool]:
    """Tokens, drafted ones among them, and whether a tie made a difference; fails where no tie explains it."""
    plain, plain_decoding = decode(name, prompt, spec, most, options, Decoding)
    monkeypatch.setattr(lookup, "Drafter", lambda ids: Oracle(plain, len(ids)))
    found, decoding = decode(name, prompt, spec, most, options, LookupDecoding)
    assert isinstance(decoding, LookupDecoding)
    if found == plain:
        assert decoding.reasons == plain_decoding.reasons
        assert decoding.n_steps + decoding.n_right >= len(found) - 1
    else:
        n_equal = next(index for index, pair in enumerate(zip(found, plain, strict=False)) if pair[0] != pair[1])
        position = len(prompt) + n_equal - 1
        last = np.sort(artifact(name).logits([*prompt, *plain[:n_equal]], adapter=spec, positions=[position])[0])
        assert last[-1] - last[-2] < TIE, f"{spec}, prompt {prompt}: another token at {n_equal}, and no tie"
    return len(found), decoding.n_right, found != plain


@pytest.mark.parametrize("name", ARTIFACTS)
def test_greedy_answers_are_those_of_plain_decoding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rng = artifact(name), np.random.default_rng(7)
    specs = ("none", *model.adapters, "four:0.7+eight:0.3")
    found = [
        compare(
            name,
            rng.integers(3, 384, int(rng.integers(1, 250))).tolist(),
            specs[number % len(specs)],
            int(rng.integers(1, 70)),
            SamplingOptions(),
            monkeypatch,
        )
        for number in range(30)
    ]
    tokens, right, ties = np.sum(found, axis=0)
    assert ties <= 1
    assert right > tokens / 2  # or nothing was tested


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(repetition_penalty=1.2),
        SamplingOptions(temperature=0.8, top_p=0.9, seed=3),
        SamplingOptions(temperature=0.5, top_k=20, min_p=0.01, repetition_penalty=0.9, seed=4),
    ],
    ids=str,
)
def test_penalties_and_draws_are_those_of_plain_decoding(
    options: SamplingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    for spec in ("none", "eight", "one") * 3:
        prompt = rng.integers(3, 384, int(rng.integers(1, 120))).tolist()
        tokens, right, is_tie = compare("tiny-int4", prompt, spec, 50, options, monkeypatch)
        assert not is_tie
        assert right > tokens / 4 or tokens < 8


def test_its_own_drafts_shorten_a_repetitive_answer() -> None:
    name, prompt = "tiny-float", [5, 6, 7, 8] * 20
    options = SamplingOptions(repetition_penalty=0.2)  # what was said draws it back
    plain, _ = decode(name, prompt, "four", 120, options, Decoding)
    found, decoding = decode(name, prompt, "four", 120, options, LookupDecoding)
    assert isinstance(decoding, LookupDecoding)
    assert found == plain
    assert decoding.n_steps < 0.7 * len(found)
    assert decoding.n_steps + decoding.n_right >= len(found) - 1


@pytest.mark.parametrize("length", [314, 318, 319, 320])
def test_a_full_context_ends_the_answer_where_it_does_without(length: int) -> None:
    name = "tiny-float"
    prompt = ([5, 6, 7, 8] * 80)[:length]
    found, decoding = decode(name, prompt, "four", 50, SamplingOptions(), LookupDecoding)
    assert found == decode(name, prompt, "four", 50, SamplingOptions(), Decoding)[0]
    assert len(found) <= 321 - length
    assert decoding.reasons[0] in ("length", "stop")


def test_nothing_of_a_draft_remains_for_the_next_call() -> None:
    parts, prompt = opened("tiny-float"), [5, 6, 7, 8] * 20
    model, adapter = parts.model, parts.adapters.find("none")
    ends = model.manifest.model.eos_token_ids
    expected = model.generate_ids([*prompt, 9, 10], max_new_tokens=20)
    for count in range(1, 24):  # dropped in the middle of a step, too
        decoding = LookupDecoding(parts.session, adapter, [prompt], [Sampler(SamplingOptions())], 24, ends)
        tokens = iter(decoding)
        for _ in range(count):
            next(tokens, None)
        assert model.generate_ids([*prompt, 9, 10], max_new_tokens=20) == expected


def test_another_call_during_a_stream_ends_it() -> None:
    model = load(FOLDER / "tiny-float", threads=1)
    pieces = model.generate("one two one two one", raw=True, stream=True, lookup=True, max_new_tokens=24)
    next(pieces)
    model.generate_ids([1, 2, 3], max_new_tokens=2)
    with pytest.raises(InputError, match="another call used this model"):
        next(pieces)


def test_a_guess_follows_the_longest_and_latest_match() -> None:
    drafter = Drafter([1, 2, 3, 40, 9, 2, 3, 50, 9, 1, 2, 3])
    assert drafter.draft(1) == [40]  # "1 2 3" beats the later "2 3"
    drafter.push(40)
    assert Drafter([7, 3, 40, 9, 7, 3, 50, 7, 3]).draft(1) == [50]
    assert Drafter([1, 2, 3]).draft(8) == []


def test_a_guess_that_reaches_its_own_end_repeats() -> None:
    drafter = Drafter([4, 5] * 10)
    for _ in range(10):
        drafter.push(4)
        drafter.push(5)
    draft = drafter.draft(7)
    assert draft == [4, 5, 4, 5, 4, 5, 4][: len(draft)]
    assert len(draft) > 2  # further than the row goes after the match
    assert drafter.draft(0) == []


@pytest.mark.parametrize("seed", range(5))
def test_wrong_guesses_cost_no_more_than_the_allowance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drafter = Drafter(rng.integers(0, 4, 100).tolist())
    n_tokens = n_steps = n_tried = 0
    token, answer = 0, rng.integers(0, 4, 400).tolist()
    while n_tokens < len(answer):
        draft = drafter.draft(len(answer) - n_tokens - 1)
        assert len(draft) <= MOST_DRAFTED
        n_steps, n_tried = n_steps + 1, n_tried + len(draft)
        for guess in [*draft, None]:
            # an adversary: what was tried is wrong, what was not tried is right
            token = (
                drafter._guess[0]
                if not draft and drafter._guess
                else (answer[n_tokens] if guess is None else guess + 1)
            )
            drafter.push(token)
            n_tokens += 1
            if token != guess:
                break
    assert n_tried > 0
    assert n_steps + TOKEN_COST * n_tried <= n_tokens * (1 + ALLOWANCE) + FIRST_CREDIT + 1e-6


def test_generate_chat_and_streams_take_the_option() -> None:
    model, prompt = artifact("tiny-int4"), "abcabcabcabc"
    plain = model.generate(prompt, adapter="four", max_new_tokens=40)
    assert model.generate(prompt, adapter="four", max_new_tokens=40, lookup=True) == plain
    assert model.chat([{"role": "user", "content": prompt}], adapter="four", max_new_tokens=40, lookup=True) == plain
    pieces = model.generate(prompt, adapter="four", max_new_tokens=40, lookup=True, stream=True)
    assert "".join(pieces) == plain.text
    ids = [5, 6, 7] * 9
    assert model.generate_ids(ids, max_new_tokens=30, lookup=True) == model.generate_ids(ids, max_new_tokens=30)
    rows = [ids, ids[2:]]
    assert model.generate_ids(rows, max_new_tokens=9, lookup=True) == model.generate_ids(rows, max_new_tokens=9)
    with pytest.raises(InputError, match="lookup is 'yes', expected True or False"):
        model.generate_ids(ids, lookup="yes")  # type: ignore[call-overload]


def test_a_stop_string_inside_a_draft_ends_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = artifact("tiny-int4")
    whole = model.generate("hello", adapter="eight", max_new_tokens=40)
    monkeypatch.setattr(lookup, "Drafter", lambda _: Oracle(list(whole.token_ids), 1))
    for start in range(1, len(whole.text) - 2, 4):
        stop = whole.text[start : start + 2]
        plain = model.generate("hello", adapter="eight", max_new_tokens=40, stop=stop)
        assert model.generate("hello", adapter="eight", max_new_tokens=40, stop=stop, lookup=True) == plain
