"""How long an artifact takes: decoding, prefill, switching adapters.

artifact, Subject -> Timings

Subjects are measured in turns inside one process, so that their ratio holds on a machine whose speed drifts.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgelora.errors import AdapterError
from edgelora_runtime.adapter import parse_spec
from edgelora_runtime.bound_adapter import BoundAdapter
from edgelora_runtime.bound_adapter import bind as bind_packed
from edgelora_runtime.find_operators import find_operators
from edgelora_runtime.invocation import no_blend
from edgelora_runtime.manifest import Manifest, read_manifest
from edgelora_runtime.open_adapter import open_adapter
from edgelora_runtime.session import Session

PROMPT_TOKENS = 128
_WARM_UP = 2  # rounds that are not counted
_SWAPS = 50  # switches in each round


@dataclass(frozen=True, eq=False)
class Subject:
    """One thing to measure: an adapter, or none, bound to a session."""

    label: str
    session: Session
    adapter: BoundAdapter


@dataclass(frozen=True)
class Spread:
    """Median, 10th and 90th percentile; milliseconds."""

    median: float
    p10: float
    p90: float


@dataclass(frozen=True)
class Timings:
    """What was measured, by label."""

    decode_ms: Mapping[str, Spread]  # one token after PROMPT_TOKENS
    decode_ratio: Mapping[str, float]  # to the first subject: median over rounds, each round compared with itself
    prefill_ms: Mapping[str, Spread]  # PROMPT_TOKENS at once
    swap_ms: Spread  # binding another loaded adapter


def open_session(
    artifact: Path, threads: int | None = None, twin: bool = False, operator: bool | str | Path | None = False
) -> tuple[Session, Manifest]:
    """A session of its own for an artifact; ``twin`` and ``operator`` as in ``edgelora_runtime.load``."""
    manifest = read_manifest(artifact)
    return Session(artifact, manifest, threads, twin, library=find_operators(operator, manifest)), manifest


def bind(session: Session, manifest: Manifest, artifact: Path, spec: str, label: str | None = None) -> Subject:
    """A subject for ``spec``; raises AdapterError for an unknown name or a malformed SPEC."""
    folders = {info.name: artifact / info.path for info in manifest.adapters}
    terms = parse_spec(spec)
    unknown = [name for name, _ in terms if name not in folders]
    if unknown:
        raise AdapterError(f"{artifact} has no adapter {', '.join(unknown)}; it has: {', '.join(folders) or 'none'}")
    read = {name: open_adapter(folders[name], manifest, f"adapter {name!r} ({folders[name]})") for name, _ in terms}
    if len(terms) > 1 and (activated := next((name for name, item in read.items() if item.invocation), None)):
        raise no_blend(spec, activated)
    parts = [(session.packer.pack(read[name]), weight) for name, weight in terms]
    return Subject(label or spec, session, bind_packed(session.packer.blend(parts)))


def time_subjects(
    subjects: Sequence[Subject], rounds: int, steps: int, vocab_size: int, step: Callable[[], None] = lambda: None
) -> Timings:
    """Measure every subject in every round, ``steps`` tokens each; ``step`` is called after each round."""
    prompt = np.random.default_rng(0).integers(0, vocab_size, PROMPT_TOKENS).tolist()
    decode: dict[str, list[float]] = {subject.label: [] for subject in subjects}
    prefill: dict[str, list[float]] = {subject.label: [] for subject in subjects}
    rounds_ms: dict[str, list[float]] = {subject.label: [] for subject in subjects}  # median of each round
    swap: list[float] = []
    for number in range(_WARM_UP + rounds):
        # Another subject goes first every time, so that none always follows the same one.
        for subject in _rotate(subjects, number):
            prefill_ms, decode_ms = _generate(subject, prompt, steps)
            if number >= _WARM_UP:
                prefill[subject.label].append(prefill_ms)
                decode[subject.label] += decode_ms
                rounds_ms[subject.label].append(float(np.median(decode_ms)))
        if number >= _WARM_UP:
            swap += _switch(subjects)
        step()
    first = np.array(rounds_ms[subjects[0].label])
    return Timings(
        {label: spread(times) for label, times in decode.items()},
        {label: round(float(np.median(np.array(times) / first)), 4) for label, times in rounds_ms.items()},
        {label: spread(times) for label, times in prefill.items()},
        spread(swap),
    )


def spread(times: Sequence[float]) -> Spread:
    """Median and percentiles of at least one time."""
    p10, median, p90 = np.percentile(times, [10, 50, 90])
    return Spread(round(float(median), 5), round(float(p10), 5), round(float(p90), 5))


def rounds_with_warm_up(rounds: int) -> int:
    """How often ``step`` is called by ``time_subjects``."""
    return rounds + _WARM_UP


def _generate(subject: Subject, prompt: Sequence[int], steps: int) -> tuple[float, list[float]]:
    session, active = subject.session, np.ones(1, np.bool_)
    session.begin(1, subject.adapter)
    started = time.perf_counter()
    logits = session.prefill(prompt, [len(prompt) - 1])
    prefill_ms = 1e3 * (time.perf_counter() - started)
    times = []
    for _ in range(steps):
        token = np.array([int(logits[0].argmax())])
        started = time.perf_counter()
        logits = session.decode(token, active)
        times.append(1e3 * (time.perf_counter() - started))
    return prefill_ms, times


def _switch(subjects: Sequence[Subject]) -> Iterator[float]:
    """Switch between the adapters of the last subject's session; to an equal one where there is but one."""
    session = subjects[-1].session
    loaded = [subject.adapter for subject in subjects if subject.session is session]
    if len(loaded) == 1:
        loaded.append(dataclasses.replace(loaded[0]))
    for number in range(_SWAPS):
        adapter = loaded[number % len(loaded)]
        started = time.perf_counter()
        session.begin(1, adapter)
        yield 1e3 * (time.perf_counter() - started)


def _rotate(subjects: Sequence[Subject], number: int) -> Iterator[Subject]:
    start = number % len(subjects)
    yield from subjects[start:]
    yield from subjects[:start]
