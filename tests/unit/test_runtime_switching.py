"""Switching between loaded adapters: what is bound, what is kept alive, and that answers are a fresh model's."""

from __future__ import annotations

import contextlib
import gc
import weakref
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import edgelora_runtime.session as session_module
from edgelora_runtime import load
from edgelora_runtime.session import FIRST_CAPACITY
from tests.opened import open_parts

PROMPT = [5, 9, 2, 7]


@pytest.fixture
def binds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of every input that is bound."""
    names: list[str] = []
    bind = ort.IOBinding.bind_ortvalue_input

    def record(self: ort.IOBinding, name: str, value: ort.OrtValue) -> None:
        names.append(name)
        bind(self, name, value)

    monkeypatch.setattr(ort.IOBinding, "bind_ortvalue_input", record)
    return names


def test_switching_back_binds_no_adapter_and_no_cache(shared_artifact: Path, binds: list[str]) -> None:
    model = load(shared_artifact, threads=1)
    for name in ("usual", "one"):
        model.generate_ids(PROMPT, adapter=name, max_new_tokens=2)
    binds.clear()
    model.generate_ids(PROMPT, adapter="usual", max_new_tokens=3)
    model.generate_ids(PROMPT, adapter="one", max_new_tokens=3)
    assert set(binds) <= {"input_ids", "logits_positions"}


def test_answers_after_switching_and_growing_are_those_of_a_fresh_model(shared_artifact: Path) -> None:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 200, size).tolist() for size in (6, FIRST_CAPACITY + 9, 4)]
    model = load(shared_artifact, threads=1)
    for prompt in prompts:
        for spec in ("usual", "one", "none", "usual:0.5+one", "usual"):
            fresh = load(shared_artifact, threads=1)
            expected = fresh.logits(prompt, adapter=spec)
            np.testing.assert_array_equal(model.logits(prompt, adapter=spec), expected)
    rows = model.generate_ids([prompts[0], prompts[2]], adapter=["usual", "one"], max_new_tokens=4)
    alone = [model.generate_ids(prompts[0], adapter="usual", max_new_tokens=4)]
    alone.append(model.generate_ids(prompts[2], adapter="one", max_new_tokens=4))
    assert rows == alone


def test_neither_an_old_cache_nor_the_arrays_of_a_call_are_kept(
    shared_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[weakref.ref[np.ndarray]] = []
    value_over = session_module.value_over

    def record(array: np.ndarray) -> ort.OrtValue:
        if array.ndim == 4:  # (rows, heads, tokens, width): keys or values of a layer
            caches.append(weakref.ref(array))
        return value_over(array)

    monkeypatch.setattr(session_module, "value_over", record)
    model = load(shared_artifact, threads=1)
    for name in ("usual", "one"):
        model.generate_ids(PROMPT, adapter=name, max_new_tokens=1)
    old = [item for item in caches if item() is not None]
    assert len(old) == 2 * model.manifest.model.num_layers
    model.generate_ids([1] * (FIRST_CAPACITY + 1), adapter="one", max_new_tokens=1)
    gc.collect()
    assert not [item for item in old if item() is not None]
    logits = weakref.ref(model.logits(PROMPT, adapter="usual"))
    gc.collect()
    assert logits() is None


def test_an_adapter_that_was_replaced_is_let_go(shared_artifact: Path, tiny_adapters: dict[str, Path]) -> None:
    parts = open_parts(shared_artifact, threads=1)
    model = parts.model
    model.generate_ids(PROMPT, adapter="usual", max_new_tokens=1)
    old = weakref.ref(parts.session.adapter)
    model.load_adapter("usual", tiny_adapters["wide"])
    model.generate_ids(PROMPT, adapter="usual", max_new_tokens=1)
    gc.collect()
    assert old() is None


@pytest.mark.parametrize("n_rows", [1, 3])
def test_a_cache_that_memory_lacks_for_leaves_the_answers_right(
    n_rows: int, shared_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever array is the one that memory is lacking for."""
    rng = np.random.default_rng(1)
    short, long = (rng.integers(0, 200, size).tolist() for size in (FIRST_CAPACITY - 4, FIRST_CAPACITY + 9))
    zeros = np.zeros
    for number in range(1, 12):
        model = load(shared_artifact, threads=1)
        model.generate_ids(short, adapter="usual", max_new_tokens=2)
        left = number

        def fail(shape: object, dtype: object = float) -> np.ndarray:
            nonlocal left
            left -= 1
            if left == 0:
                raise MemoryError
            return zeros(shape, dtype)  # type: ignore[call-overload,no-any-return]

        with monkeypatch.context() as patch:
            patch.setattr("edgelora_runtime.session.np.zeros", fail)
            with contextlib.suppress(MemoryError):
                model.generate_ids([long] * n_rows, adapter="usual", max_new_tokens=2)
        fresh = load(shared_artifact, threads=1)
        for ids in (short, long):
            assert model.generate_ids([ids] * n_rows, adapter="usual", max_new_tokens=6) == fresh.generate_ids(
                [ids] * n_rows, adapter="usual", max_new_tokens=6
            )
            np.testing.assert_allclose(
                model.logits(ids, adapter="usual"), fresh.logits(ids, adapter="usual"), atol=1e-4
            )
