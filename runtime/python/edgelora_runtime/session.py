"""One step on onnxruntime: token ids and a KV cache in pre-bound memory go in, logits come out.

Knows nothing about text, sampling or adapter files; it counts tokens and owns buffers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgelora_runtime.errors import ArtifactError, InputError
from edgelora_runtime.manifest import ModelInfo, Slot

FloatArray = npt.NDArray[np.float32]
TokenArray = npt.NDArray[np.int64]

FIRST_CAPACITY = 256  # tokens; doubled whenever more are needed
PREFILL_CHUNK = 512  # tokens of one row per call; attention memory grows with the square of a call's length

_MAX_DEFAULT_THREADS = 4
_LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


@dataclass(frozen=True, eq=False)
class BoundAdapter:
    """Slot inputs as onnxruntime values over memory that stays where it is; compared by identity."""

    rows: int  # 1 (shared by every row) or the number of rows
    inputs: tuple[tuple[str, ort.OrtValue], ...]


class Session:
    """A loaded graph with one KV cache, one call at a time; ``turn`` changes when the cache starts anew or rewinds."""

    def __init__(self, graph: Path, model: ModelInfo, slots: Sequence[Slot], threads: int | None = None) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3  # a warning for each of hundreds of slot inputs helps nobody
        options.intra_op_num_threads = default_threads() if threads is None else threads
        options.inter_op_num_threads = 1
        try:
            self._graph = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except _LOAD_ERRORS as error:
            raise ArtifactError(
                f"{graph} cannot be loaded ({_first_line(error)}); export the artifact again"
            ) from error
        self._model = model
        self._cache_names = [
            (f"past_key_values.{layer}.{part}", f"present.{layer}.{part}")
            for layer in range(model.num_layers)
            for part in ("key", "value")
        ]
        self._check_inputs(graph, slots)
        self._binding = self._graph.io_binding()
        self._adapter: BoundAdapter | None = None
        self._rows = 0
        self._capacity = 0
        self._is_decode_bound = False
        self.lengths: TokenArray = np.zeros(0, np.int64)  # (rows,) tokens in the cache
        self.tokens: list[int] = []  # what the cache holds while there is one row
        self.turn = 0

    @property
    def adapter(self) -> BoundAdapter | None:
        """The adapter that the cached tokens went through."""
        return self._adapter

    @property
    def rows(self) -> int:
        """Rows of the current batch."""
        return self._rows

    @property
    def capacity(self) -> int:
        """Tokens for which the cache has memory now."""
        return self._capacity

    @property
    def context_length(self) -> int:
        """Tokens that a row can hold at most."""
        return self._model.context_length

    def prepare(self, packed: Mapping[str, FloatArray]) -> BoundAdapter:
        """Slot inputs, each (n, in_features, rank) or (n, rank, out_features), ready to be bound without a copy."""
        rows = max((array.shape[0] for array in packed.values()), default=1)
        return BoundAdapter(rows, tuple((name, _value(np.ascontiguousarray(item))) for name, item in packed.items()))

    def begin(self, rows: int, adapter: BoundAdapter) -> None:
        """Start ``rows`` empty rows with ``adapter``; nothing of what the cache held can be reached afterwards."""
        if adapter.rows not in (1, rows):
            raise InputError(f"{adapter.rows} adapters for {rows} rows; give one adapter, or one for each row")
        self.turn += 1
        if rows != self._rows:
            self._allocate_rows(rows)
        self.lengths[:] = 0
        self.tokens.clear()
        if adapter is not self._adapter:
            bind = self._binding.bind_ortvalue_input
            for name, value in adapter.inputs:
                bind(name, value)
            self._adapter = adapter

    def rewind(self, length: int) -> None:
        """Forget every token of the single row after the first ``length``; they are overwritten by the next ones."""
        self.turn += 1
        del self.tokens[length:]
        self.lengths[0] = len(self.tokens)

    def prefill(self, ids: Sequence[int], positions: Sequence[int]) -> FloatArray:
        """Append ``ids`` to the single row; logits (len(positions), vocab_size) at those indices into ``ids``."""
        logits = np.empty((len(positions), self._model.vocab_size), np.float32)
        wanted = np.asarray(positions, np.int64)
        for start in range(0, len(ids), PREFILL_CHUNK):
            chunk = np.asarray(ids[start : start + PREFILL_CHUNK], np.int64)[None]
            here = np.flatnonzero((wanted >= start) & (wanted < start + chunk.shape[1]))
            # The graph always selects something: a chunk whose logits nobody wants answers for its last token.
            inside = wanted[here] - start if len(here) else np.array([chunk.shape[1] - 1])
            found = self._run(chunk, np.array([chunk.shape[1]]), inside[None])
            if len(here):
                logits[here] = found[0]
            self.tokens.extend(chunk[0].tolist())
        return logits

    def prefill_rows(self, rows: Sequence[Sequence[int]]) -> FloatArray:
        """Fill the empty rows, shorter ones padded on the right; logits (rows, vocab_size) after each row's last id."""
        counts = np.array([len(row) for row in rows], np.int64)
        ids = np.zeros((len(rows), int(counts.max())), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
        if self._rows == 1:
            return self.prefill(rows[0], [len(rows[0]) - 1])
        return self._run(ids, counts, (counts - 1)[:, None])[:, 0]

    def decode(self, ids: TokenArray, is_active: npt.NDArray[np.bool_]) -> FloatArray:
        """Feed one token to every row, of which only the active ones keep it.

        Returns logits (rows, vocab_size) in memory that the next call overwrites.
        """
        total = int(self.lengths.max()) + 1
        self._reserve(total)
        if not self._is_decode_bound:
            self._bind_decode()
        self._decode_ids[:, 0] = ids
        self._seqlens[:] = self.lengths
        self._total[...] = total
        self._graph.run_with_iobinding(self._binding)
        self.lengths += is_active
        if self._rows == 1 and is_active[0]:
            self.tokens.append(int(ids[0]))
        return self._decode_logits[:, 0]

    def _run(self, ids: TokenArray, counts: TokenArray, positions: TokenArray) -> FloatArray:
        """Feed ids (rows, sequence) of which ``counts`` (rows,) are real; logits (rows, n_positions, vocab_size)."""
        total = int(self.lengths.max()) + ids.shape[1]
        self._reserve(total)
        logits = np.empty((*positions.shape, self._model.vocab_size), np.float32)
        self._seqlens[:] = self.lengths + counts - 1
        self._total[...] = total
        values = [_value(np.ascontiguousarray(ids)), _value(np.ascontiguousarray(positions)), _value(logits)]
        self._is_decode_bound = False
        self._binding.bind_ortvalue_input("input_ids", values[0])
        self._binding.bind_ortvalue_input("logits_positions", values[1])
        self._binding.bind_ortvalue_output("logits", values[2])
        self._graph.run_with_iobinding(self._binding)
        self.lengths += counts
        return logits

    def _allocate_rows(self, rows: int) -> None:
        self._rows = rows
        self._capacity = 0
        self._caches: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32) for _ in self._cache_names]
        self.lengths = np.zeros(rows, np.int64)
        self._decode_ids = np.zeros((rows, 1), np.int64)
        self._decode_logits = np.zeros((rows, 1, self._model.vocab_size), np.float32)
        self._seqlens = np.zeros(rows, np.int32)
        self._total = np.zeros((), np.int32)
        self._decode_values = [
            ("input_ids", _value(self._decode_ids)),
            ("logits_positions", _value(np.zeros((rows, 1), np.int64))),
        ]
        self._decode_output = _value(self._decode_logits)
        self._length_values = [
            ("seqlens_k", _value(self._seqlens)),
            ("total_sequence_length", _value(self._total)),
        ]
        for name, value in self._length_values:
            self._binding.bind_ortvalue_input(name, value)
        self._is_decode_bound = False

    def _bind_decode(self) -> None:
        for name, value in self._decode_values:
            self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output("logits", self._decode_output)
        self._is_decode_bound = True

    def _reserve(self, total: int) -> None:
        """Make room for ``total`` tokens in every row, keeping what the cache holds."""
        if total <= self._capacity:
            return
        limit = self._model.context_length
        if total > limit:
            raise InputError(
                f"{total} tokens, but the context length of {self._model.name} is {limit}; shorten the text"
            )
        capacity = max(self._capacity, FIRST_CAPACITY)
        while capacity < total:
            capacity *= 2
        capacity = min(capacity, limit)
        n_kept = int(self.lengths.max())
        shape = (self._rows, self._model.num_kv_heads, capacity, self._model.head_dim)
        values = []
        for index, (past, present) in enumerate(self._cache_names):
            grown: FloatArray = np.zeros(shape, np.float32)
            if n_kept:
                grown[:, :, :n_kept] = self._caches[index][:, :, :n_kept]
            value = _value(grown)
            # Past and present are the same memory, so attention appends in place and nothing is copied in a step.
            self._binding.bind_ortvalue_input(past, value)
            self._binding.bind_ortvalue_output(present, value)
            self._caches[index] = grown
            values.append(value)
        self._cache_values = values  # the binding does not keep the arrays alive
        self._capacity = capacity

    def _check_inputs(self, graph: Path, slots: Sequence[Slot]) -> None:
        found = {item.name for item in self._graph.get_inputs()}
        expected = {"input_ids", "seqlens_k", "total_sequence_length", "logits_positions"}
        expected |= {past for past, _ in self._cache_names} | {name for slot in slots for name in (slot.a, slot.b)}
        if found != expected:
            wrong = [f"{name} is missing" for name in sorted(expected - found)]
            wrong += [f"{name} is unknown" for name in sorted(found - expected)]
            raise ArtifactError(f"{graph} and the manifest disagree: inputs {'; '.join(wrong)}; export it again")


def default_threads() -> int:
    """Physical cores that this process may use, at most four: more only add waiting on small models."""
    return max(1, min(_physical_cores(), _MAX_DEFAULT_THREADS))


def _physical_cores() -> int:
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    siblings = set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(path.read_text(encoding="ascii").strip())
        except OSError:  # not Linux, or hidden: count logical cores
            siblings.add(str(cpu))
    return len(siblings)


def _value(array: npt.NDArray[np.generic]) -> ort.OrtValue:
    """An onnxruntime value over the memory of ``array``, which it keeps alive."""
    return ort.OrtValue.ortvalue_from_numpy(array)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
