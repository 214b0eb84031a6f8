"""One model and many threads: the answers of a serial run, and who waits for whom."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgelora_runtime import InputError, Model, load

CONFORMANCE = Path(__file__).resolve().parents[2] / "runtime" / "conformance"
ARTIFACT = CONFORMANCE / "tiny-float"
ENDED = "another call used this model while an answer was being streamed"
SHORT = 0.2  # seconds in which nothing is expected to happen
LONG = 60.0  # seconds after which a thread is taken to wait for ever

# Eight threads, a hundred calls each: single rows, batches, blends, streams read to the end and streams let go,
# choices, scores, prefixes, defaults and adapters loaded anew. Each answer is compared with that of a serial run.
HAMMER = f"""
import threading, numpy as np, edgelora_runtime as r
model = r.load({str(ARTIFACT)!r}, threads=1)
specs = ("one", "four", "eight", "none", "one:0.7+eight:0.3")

def ask(model, number):
    spec, text, kind = specs[number % 5], "fox " + str(number % 7), number % 11
    ids = [6 + (number * 7 + i * i) % 370 for i in range(1 + number % 40)]
    if kind == 0:
        return model.generate(text, adapter=spec, max_new_tokens=6)
    if kind == 1:
        return "".join(model.generate(text, adapter=spec, max_new_tokens=6, stream=True))
    if kind == 2:
        rows = [ids, ids[:3], ids[::-1]]
        return model.generate_ids(rows, adapter=[spec, "four", "none"], max_new_tokens=5)
    if kind == 3:
        return model.generate([text, "a", text], adapter=spec, max_new_tokens=5)
    if kind == 4:
        stream = model.generate(text, adapter=spec, max_new_tokens=30, stream=True)
        return next(stream, None)  # and let go of
    if kind == 5:
        return model.generate(text, adapter=spec, choices=["yes", "no", "maybe"]).text
    if kind == 6:
        return model.score(ids, [7, 8], adapter=spec).round(4).tolist()
    if kind == 7:
        model.generate(text, adapter=spec, stream=True)  # never started
        return model.logits(ids, adapter=spec).argmax(axis=1).tolist()
    if kind == 8:
        return model.keep_prefix(ids, adapter=spec), model.generate_ids([*ids, 9], adapter=spec, max_new_tokens=4)
    if kind == 9:
        model.load_adapter("mine", {str(ARTIFACT / "adapters" / "four")!r})
        model.set_adapter("one")
        return model.generate_ids(ids, adapter="mine", max_new_tokens=4), "mine" in model.adapters
    return model.generate_ids(ids, adapter=spec, max_new_tokens=6, temperature=0.8, seed=number, lookup=True)

numbers = range(800)
serial = r.load({str(ARTIFACT)!r}, threads=1)
expected = [ask(serial, number) for number in numbers]
found, failed = [None] * len(numbers), []

def work(first):
    try:
        for number in range(first, len(numbers), 8):
            found[number] = ask(model, number)
    except BaseException as error:
        failed.append(error)
        raise

threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
wrong = [number for number in numbers if found[number] != expected[number]]
print(len(failed), wrong)
"""


def test_eight_threads_get_the_answers_of_a_serial_run() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", HAMMER],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": str(CONFORMANCE.parent / "python")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "0 []", done.stderr[-2000:]


@pytest.fixture
def model() -> Model:
    return load(ARTIFACT, threads=1)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def stream_of(model: Model, adapter: str = "one") -> Any:
    return model.generate("fox", adapter=adapter, max_new_tokens=40, stream=True)


def test_others_wait_for_a_stream_to_be_read_to_its_end(model: Model, threads: ThreadPoolExecutor) -> None:
    expected = list(stream_of(model))
    stream = stream_of(model)
    first = next(stream)
    other = threads.submit(model.generate_ids, [7, 8], adapter="four", max_new_tokens=3)
    with pytest.raises(TimeoutError):
        other.result(SHORT)
    assert [first, *stream] == expected
    assert other.result(LONG) == load(ARTIFACT).generate_ids([7, 8], adapter="four", max_new_tokens=3)


def drop(streams: list[Any]) -> None:
    streams.clear()


def drop_in_a_circle(streams: list[Any]) -> None:
    circle = [streams.pop()]
    circle.append(circle)
    del circle
    gc.collect()


def stop_reading(streams: list[Any]) -> None:
    streams[0].close()


@pytest.mark.parametrize("leave", [drop, drop_in_a_circle, stop_reading])
@pytest.mark.parametrize("is_started", [True, False])
def test_a_stream_that_is_left_keeps_nobody_waiting(
    leave: Callable[[list[Any]], None], is_started: bool, model: Model, threads: ThreadPoolExecutor
) -> None:
    streams = [stream_of(model)]
    if is_started:
        next(streams[0])
    other = threads.submit(model.generate_ids, [7, 8], max_new_tokens=3)
    if is_started:
        with pytest.raises(TimeoutError):
            other.result(SHORT)
    else:
        other.result(LONG)  # a stream that was never started holds nothing
    leave(streams)
    assert other.result(LONG) == threads.submit(model.generate_ids, [7, 8], max_new_tokens=3).result(LONG)


def test_a_stream_that_a_failed_reader_left_in_its_traceback_keeps_nobody_waiting(
    model: Model, threads: ThreadPoolExecutor
) -> None:
    def read_and_fail() -> None:
        stream = stream_of(model)
        try:
            for _ in stream:
                raise KeyError
        except KeyError as error:
            kept = error  # the traceback knows this frame, which knows the error
            assert kept.__traceback__ is not None

    gc.collect()
    gc.disable()
    try:
        read_and_fail()
        assert threads.submit(model.generate_ids, [7, 8], max_new_tokens=3).result(LONG / 6)
    finally:
        gc.enable()
        gc.collect()


def test_a_stream_may_be_read_and_let_go_in_other_threads(model: Model, threads: ThreadPoolExecutor) -> None:
    expected = list(stream_of(model))
    stream = stream_of(model)
    found = [next(stream), threads.submit(next, stream).result(LONG), next(stream)]
    found += threads.submit(list, stream).result(LONG)
    assert found == expected
    stream = stream_of(model)
    next(stream)
    threads.submit(stream.close).result(LONG)
    assert threads.submit(list, stream_of(model)).result(LONG) == expected


def test_a_thread_does_not_wait_for_its_own_stream(model: Model, threads: ThreadPoolExecutor) -> None:
    for call in (
        lambda: model.generate_ids([7, 8], max_new_tokens=2),
        lambda: model.set_adapter("eight"),
        lambda: model.keep_prefix([7, 8]),
        lambda: model.generate("x", choices=["a", "b"]),
        lambda: next(stream_of(model, "four")),
    ):
        stream = stream_of(model)
        next(stream)
        call()
        with pytest.raises(InputError, match=ENDED):
            next(stream)
        assert list(stream) == []
        assert threads.submit(model.generate_ids, [7, 8], max_new_tokens=1).result(LONG)


def test_what_computes_nothing_leaves_a_stream_of_its_thread_alone(model: Model, threads: ThreadPoolExecutor) -> None:
    expected = list(stream_of(model))
    stream = stream_of(model)
    found = [next(stream)]
    model.load_adapter("mine", ARTIFACT / "adapters" / "four")
    model.set_adapter("one")
    assert model.tokenizer is not None
    with pytest.raises(InputError):
        model.logits([])
    other = threads.submit(model.generate_ids, [7], max_new_tokens=1)
    with pytest.raises(TimeoutError):
        other.result(SHORT)
    assert [*found, *stream] == expected
    other.result(LONG)


def test_a_call_that_fails_keeps_nobody_waiting(
    model: Model, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    stream = stream_of(model)
    next(stream)
    with monkeypatch.context() as patch:
        patch.setattr("edgelora_runtime.session.Session.decode", fail)
        with pytest.raises(MemoryError):
            list(stream)
        with pytest.raises(MemoryError):
            model.generate_ids([7, 8], max_new_tokens=3)
    assert threads.submit(model.generate_ids, [7, 8], max_new_tokens=3).result(LONG)


def test_a_call_uses_the_adapter_that_is_set_when_its_turn_comes(model: Model, threads: ThreadPoolExecutor) -> None:
    stream = stream_of(model)
    next(stream)
    waiting = threads.submit(model.generate_ids, [7, 8, 9], max_new_tokens=6)
    with pytest.raises(TimeoutError):
        waiting.result(SHORT)
    model.set_adapter("one")  # the adapter of the open stream: nothing of it changes
    list(stream)
    assert waiting.result(LONG) == load(ARTIFACT).generate_ids([7, 8, 9], adapter="one", max_new_tokens=6)


def test_the_tokenizer_is_read_once(model: Model) -> None:
    start = threading.Barrier(6)

    def read() -> object:
        start.wait()
        return model.tokenizer

    with ThreadPoolExecutor(6) as pool:
        assert len({id(item.result()) for item in [pool.submit(read) for _ in range(6)]}) == 1
