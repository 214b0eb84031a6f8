"""Sampling against a slow and literal reading of docs/format.md; knows nothing about sessions."""

import dataclasses
import math

import numpy as np
import pytest

from edgelora_runtime import sampling
from edgelora_runtime.errors import InputError
from edgelora_runtime.sampling import Pcg32, Sampler, SamplingOptions, largest, log_softmax


def literal_draw(logits: np.ndarray, options: SamplingOptions, uniform: float, seen: set[int]) -> int:
    scores = [float(value) for value in logits]
    for token in seen:
        penalty = options.repetition_penalty
        scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
    if options.temperature == 0:
        return max(range(len(scores)), key=lambda token: (scores[token], -token))
    order = sorted(range(len(scores)), key=lambda token: (-scores[token], token))
    order = order[: options.top_k or None]
    weights = [math.exp((scores[token] - scores[order[0]]) / options.temperature) for token in order]
    total = math.fsum(weights)
    probabilities = [weight / total for weight in weights]
    kept, reached = [], 0.0
    for probability in probabilities:
        if options.top_p < 1 and reached >= options.top_p:
            break
        kept.append(probability)
        reached += probability
    kept = [item for item in kept if item >= options.min_p * probabilities[0]]
    mass, cumulated = math.fsum(kept), 0.0
    for token, probability in zip(order, kept, strict=False):
        cumulated += probability / mass
        if cumulated > uniform:
            return token
    return order[len(kept) - 1]


def test_pcg32_gives_the_numbers_of_the_reference_implementation() -> None:
    generator = Pcg32(42, 54)
    expected = [0xA15C02B7, 0x7B47F409, 0xBA1D3330, 0x83D2F293, 0xBFA4784B, 0xCBED606E]
    assert [generator.next_uint32() for _ in expected] == expected


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(temperature=1.0, seed=1),
        SamplingOptions(temperature=0.3, seed=2),
        SamplingOptions(temperature=50.0, seed=3),  # almost flat: the draw runs past the first candidates
        SamplingOptions(temperature=1.2, top_k=1, seed=4),
        SamplingOptions(temperature=1.2, top_k=7, seed=5),
        SamplingOptions(temperature=30.0, top_p=0.9, seed=6),
        SamplingOptions(temperature=0.8, top_p=0.5, top_k=40, seed=7),
        SamplingOptions(temperature=2.0, min_p=0.1, seed=8),
        SamplingOptions(temperature=40.0, min_p=0.6, top_p=0.95, seed=9),
        SamplingOptions(temperature=0.9, top_k=50, top_p=0.9, min_p=0.02, repetition_penalty=1.3, seed=10),
        SamplingOptions(repetition_penalty=1.5),
        SamplingOptions(),
    ],
    ids=str,
)
@pytest.mark.parametrize("vocab_size", [3, 100, 5000])
def test_draws_are_those_of_the_definition(options: SamplingOptions, vocab_size: int) -> None:
    rng = np.random.default_rng(vocab_size)
    prompt = [0, 1, 1, 2]
    sampler, generator, seen = Sampler(options, prompt), Pcg32(options.seed or 0), set(prompt)
    tokens = []
    for _ in range(8):
        logits = (rng.standard_normal(vocab_size) * 4).astype(np.float32)
        before = logits.copy()
        token = sampler.choose(logits)
        uniform = generator.uniform() if options.temperature else 0.0
        assert token == literal_draw(logits, options, uniform, seen if options.repetition_penalty != 1 else set())
        assert np.array_equal(logits, before)
        seen.add(token)
        tokens.append(token)
    assert len(set(tokens)) > 1


@pytest.mark.parametrize("error", [-0.9, 0.9])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (SamplingOptions(1.0), {70, 300}),
        (SamplingOptions(1.0, min_p=0.1), {70, 300}),
        (SamplingOptions(1.0, top_p=0.75), {70, 300}),
        (SamplingOptions(1.0, top_p=0.5), {70}),  # the first of two equal ones reaches half exactly
    ],
    ids=str,
)
def test_a_rough_total_never_moves_a_draw(
    options: SamplingOptions, expected: set[int], error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "rough_total", lambda *_: 2.0 * (1 + error * sampling.ROUGHNESS))
    logits = np.full(600, -60.0, np.float32)
    logits[[70, 300]] = 8.0
    seeds = [seed for seed in range(20_000) if abs(Pcg32(seed).uniform() - 0.5) < 4 * sampling.ROUGHNESS]
    drawn = [Sampler(dataclasses.replace(options, seed=seed)).choose(logits) for seed in seeds]
    assert drawn == [literal_draw(logits, options, Pcg32(seed).uniform(), set()) for seed in seeds]
    assert set(drawn) == expected


@pytest.mark.parametrize("spread", [0.01, 1.0, 12.0])
@pytest.mark.parametrize("temperature", [0.02, 0.8, 30.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rough_totals_keep_their_bound(spread: float, temperature: float, dtype: type[np.floating]) -> None:
    scores = (np.random.default_rng(0).standard_normal(100_001) * spread + 7).astype(dtype)
    exact = np.exp((scores.astype(np.float64) - float(scores.max())) / temperature).sum()
    rough = sampling.rough_total(scores, scores.max(), temperature)
    assert rough == pytest.approx(exact, rel=sampling.ROUGHNESS / 5)


def test_ties_go_to_the_lower_id() -> None:
    logits = np.zeros(500, np.float32)
    logits[[400, 30, 77]] = 5
    assert Sampler(SamplingOptions()).choose(logits) == 30
    assert largest(logits, 5).tolist() == [30, 77, 400, 0, 1]
    assert Sampler(SamplingOptions(temperature=0.01, top_k=1, seed=0)).choose(logits) == 30


def test_largest_equals_a_full_sort() -> None:
    scores = np.random.default_rng(0).integers(0, 40, 5000).astype(np.float32)
    order = np.lexsort((np.arange(5000), -scores))
    for count in (1, 3, 77, 78, 79, 1000, 5000):
        assert np.array_equal(largest(scores, count), order[:count])


def test_rows_and_seeds_differ_and_repeat() -> None:
    logits = np.zeros(1000, np.float32)

    def draw(seed: int | None, row: int) -> list[int]:
        sampler = Sampler(SamplingOptions(temperature=1.0, seed=seed), (), row)
        return [sampler.choose(logits) for _ in range(8)]

    assert draw(5, 0) == draw(5, 0)
    assert draw(5, 0) != draw(5, 1)
    assert draw(5, 0) != draw(6, 0)
    assert draw(None, 0) != draw(None, 0)


def test_log_softmax_sums_to_one_and_survives_large_logits() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0]], np.float32)
    assert np.exp(log_softmax(logits)).sum(axis=1) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1), ("temperature", math.nan), ("temperature", "1"), ("top_k", -1), ("top_k", 1.5),
        ("top_p", 0.0), ("top_p", 1.01), ("min_p", -0.1), ("min_p", 2), ("repetition_penalty", 0),
        ("repetition_penalty", math.inf), ("seed", -1), ("seed", 2**64), ("seed", True),
    ],
)  # fmt: skip
def test_bad_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"{field} is .*expected"):
        SamplingOptions(**{field: value})  # type: ignore[arg-type]


def test_all_bad_values_come_in_one_message() -> None:
    with pytest.raises(InputError, match=r"temperature is -1.*top_p is 3"):
        SamplingOptions(temperature=-1, top_p=3)
