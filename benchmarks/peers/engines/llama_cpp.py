"""llama.cpp through the low-level interface of llama-cpp-python as a worker, run in its own environment.

Knows nothing about how the GGUF files were made.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence

import llama_cpp as package  # type: ignore[import-not-found]  # lives in this engine's environment alone
import numpy as np

from benchmarks.peers.turns import CAPACITY, Opening, serve

_SWITCHES = 50
_LOADS = 5

lib = package.llama_cpp


class LlamaCppEngine:
    """One context for each model; adapters are loaded once for each model."""

    version = f"llama-cpp-python {package.__version__}"

    def __init__(self, opening: Opening) -> None:
        lib.llama_backend_init()
        self._silent = lib.llama_log_callback(lambda *_: None)  # kept: the library calls it later
        lib.llama_log_set(self._silent, ctypes.c_void_p())
        models = {path: self._load_model(path) for path in sorted({subject.model for subject in opening.subjects})}
        self._contexts = {path: self._make_context(model, opening.threads) for path, model in models.items()}
        self._subjects = {}
        adapters: dict[tuple[str, str], object] = {}
        for subject in opening.subjects:
            path = next(iter(subject.adapters), None)
            if path is not None and (subject.model, path) not in adapters:
                adapters[subject.model, path] = self._load_adapter(models[subject.model], path)
            adapter = None if path is None else adapters[subject.model, path]
            self._subjects[subject.label] = self._contexts[subject.model], models[subject.model], adapter, path

    def reset(self, label: str) -> None:
        """Set the adapter and forget the cache."""
        self._context, model, adapter, _ = self._subjects[label]
        self._set_adapter(self._context, adapter)
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        self._vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        self._position = 0

    def prefill(self, ids: Sequence[int]) -> None:
        """Feed the prompt in one batch; logits of the last position."""
        self._feed(ids)

    def step(self) -> int:
        """One token."""
        self._feed([self._token])
        return self._token

    def extra(self, name: str) -> list[float]:
        """``switch``: setting another loaded adapter; ``load``: an adapter from its file."""
        return {"switch": self._switch, "load": self._load}[name]()

    def _feed(self, ids: Sequence[int]) -> None:
        batch = lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for index, token in enumerate(ids):
            batch.token[index] = token
            batch.pos[index] = self._position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = int(index == len(ids) - 1)
        status = lib.llama_decode(self._context, batch)
        lib.llama_batch_free(batch)
        if status:
            raise RuntimeError(f"llama_decode answered {status}")
        self._position += len(ids)
        logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(self._context, -1), shape=(self._vocab_size,))
        self._token = int(logits.argmax())

    def _switch(self) -> list[float]:
        context, _, adapter, _ = next(item for item in self._subjects.values() if item[2] is not None)
        times = []
        for number in range(_SWITCHES):
            started = time.perf_counter()
            self._set_adapter(context, adapter if number % 2 else None)
            times.append(1e3 * (time.perf_counter() - started))
        return times[2:]

    def _load(self) -> list[float]:
        _, model, _, path = [item for item in self._subjects.values() if item[3] is not None][-1]
        times = []
        for _ in range(_LOADS):
            started = time.perf_counter()
            self._load_adapter(model, str(path))
            times.append(1e3 * (time.perf_counter() - started))
        return times

    @staticmethod
    def _load_model(path: str) -> object:
        parameters = lib.llama_model_default_params()
        model = lib.llama_model_load_from_file(path.encode(), parameters)
        if not model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        return model

    @staticmethod
    def _make_context(model: object, threads: int) -> object:
        parameters = lib.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = CAPACITY, 512, 512
        parameters.n_threads = parameters.n_threads_batch = threads
        return lib.llama_init_from_model(model, parameters)

    @staticmethod
    def _load_adapter(model: object, path: str) -> object:
        adapter = lib.llama_adapter_lora_init(model, path.encode())
        if not adapter:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        return adapter

    @staticmethod
    def _set_adapter(context: object, adapter: object | None) -> None:
        if adapter is None:
            lib.llama_set_adapters_lora(context, None, 0, None)
            return
        adapters = (lib.llama_adapter_lora_p_ctypes * 1)(adapter)
        lib.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0))


if __name__ == "__main__":
    serve(LlamaCppEngine)
