"""One step on onnxruntime: token ids and a KV cache in pre-bound memory go in, logits come out.

token ids, BoundAdapter -> logits

It counts tokens and owns buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgelora_runtime.bound_adapter import BoundAdapter
from edgelora_runtime.errors import ArtifactError, InputError
from edgelora_runtime.graph import Graph, value_over
from edgelora_runtime.graph_cache import CacheEntry
from edgelora_runtime.graph_values import Form, cache_names, graph_file, graph_values
from edgelora_runtime.groups import split_rows
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.numbers import check_numbers
from edgelora_runtime.packers import FusedPacker, Packer, SlotPacker
from edgelora_runtime.prefix import CacheArray, Prefix, Prefixes, shared_length

FloatArray = npt.NDArray[np.float32]
TokenArray = npt.NDArray[np.int64]
_Named = list[tuple[str, ort.OrtValue]]

FIRST_CAPACITY = 256  # tokens; doubled whenever more are needed
PREFILL_CHUNK = 384  # tokens of one row per call; attention memory grows with these times all tokens so far


class Session:
    """The graphs of an artifact over one KV cache, one call at a time; ``turn`` changes when the cache is rewound.

    An artifact may hold a twin graph without slots, which costs nothing where no adapter acts. One graph is in memory,
    the twin until the first adapter is used when the artifact has none; with ``twin`` both are, for as long as the
    session lives.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        threads: int | None = None,
        twin: bool = False,
        find_entry: Callable[[str], CacheEntry] | None = None,
        library: Path | None = None,
    ) -> None:
        self._folder = folder
        self._find_entry = find_entry  # where the device keeps what was made of a graph file
        self._manifest = manifest
        self._model = manifest.model
        self._threads = threads
        self._library = library  # of operators: the fused graph is in the place of the one with slots
        self.packer: Packer = SlotPacker(manifest.slots) if library is None else FusedPacker(manifest.slots)
        self._keeps_both = twin
        self._cache_type = np.dtype(manifest.graph.kv_cache)
        self._cache_names = cache_names(manifest)
        # The fused graph answers without an adapter as fast, and its linears take no copy of the weights.
        has_twin = manifest.graph.without_slots is not None and library is None
        self._plain = self._load(with_slots=False) if has_twin and (twin or not manifest.adapters) else None
        self._slotted = self._load(with_slots=True) if twin or self._plain is None else None
        loaded = self._slotted or self._plain
        assert loaded is not None
        self._graph: Graph = loaded
        self._adapter: BoundAdapter | None = None
        self._bound: BoundAdapter | None = None  # the same, or what its tokens before the invocation go through
        self._start = 0  # tokens of the single row before those that the adapter acts on
        self._rows = 0
        self._capacity = 0
        self.lengths: TokenArray = np.zeros(0, np.int64)  # (rows,) tokens in the cache
        self.tokens: list[int] = []  # what the cache holds while there is one row
        self.turn = 0
        self.prefixes = Prefixes()

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
    def bytes_per_token(self) -> int:
        """Memory that a token of a row takes in the cache."""
        return len(self._cache_names) * self._model.num_kv_heads * self._model.head_dim * self._cache_type.itemsize

    @property
    def context_length(self) -> int:
        """Tokens that a row can hold at most."""
        return self._model.context_length

    def close(self) -> None:
        """Let go of graphs and cache; nothing can be computed afterwards."""
        self.turn += 1
        self._forget_bindings()
        self._plain = self._slotted = None
        self._adapter = self._bound = None
        self.prefixes.clear()
        self._allocate_rows(0)
        del self._graph

    def begin(self, rows: int, adapter: BoundAdapter, start: int = 0) -> None:
        """Start ``rows`` empty rows with ``adapter``; nothing of what the cache held can be reached afterwards.

        A single row takes its first ``start`` tokens through what ``adapter`` has before its invocation.
        """
        if adapter.rows not in (1, rows):
            raise InputError(f"{adapter.rows} adapters for {rows} rows; give one adapter, or one for each row")
        self.turn += 1
        if rows != self._rows:
            self._allocate_rows(rows)
        self.lengths[:] = 0
        self.tokens.clear()
        self._adapter, self._start = adapter, start
        self._bind_adapter(adapter)

    def change(self, adapter: BoundAdapter) -> None:
        """Bind ``adapter`` for what comes next, and keep what the base computed where that serves it."""
        if adapter is not self._adapter:
            self.resume(adapter, tuple(self.tokens), len(self.tokens), len(self.tokens) if adapter.before else 0)
            self._bind_adapter(adapter)

    def rewind(self, length: int) -> None:
        """Forget every token of the single row after the first ``length``; they are overwritten by the next ones."""
        self.turn += 1
        del self.tokens[length:]
        self.lengths[0] = len(self.tokens)

    def resume(self, adapter: BoundAdapter, ids: Sequence[int], limit: int, start: int = 0) -> int:
        """Start one row with as much of ``ids`` as is computed already, at most ``limit`` tokens; returns how many.

        That is the common beginning of ``ids`` with the cache, or with one of ``prefixes`` where that is longer. The
        adapter acts from index ``start`` on; what comes before it serves the base and every other adapter that acts
        from there on, or later.
        """
        n_kept = 0
        if self._rows == 1 and self._adapter is not None:
            n_kept = min(shared_length(self.tokens, ids), limit)
            if adapter is not self._adapter or start != self._start:
                n_kept = min(n_kept, self._adapter.n_through_base(self._start), adapter.n_through_base(start))
        keeper, most = (adapter, limit) if adapter.before is None else (adapter.before, min(limit, start))
        n_known, prefix = self.prefixes.find(keeper, ids[:most])
        if prefix is not None and n_known > n_kept:
            self.begin(1, adapter, start)
            self._reserve(n_known)
            for cache, part in zip(self._caches, prefix.cache, strict=True):
                cache[0, :, :n_known] = part[:, :n_known]
            self.tokens.extend(prefix.tokens[:n_known])
            self.lengths[0] = n_known
            return n_known
        if n_kept:
            self.rewind(n_kept)
            self._adapter, self._start = adapter, start
        else:
            self.begin(1, adapter, start)
        return n_kept

    def keep_prefix(self) -> Prefix:
        """What the single row holds now, copied; known to ``resume`` for its adapter from now on.

        All of it went through one adapter, or through none.
        """
        assert self._adapter is not None
        prefix = Prefix(tuple(self.tokens), self.cached())
        self.prefixes.add(self._adapter, prefix)
        return prefix

    def cached(self) -> CacheArray:
        """The cache of the single row, copied: (2 * num_layers, num_kv_heads, n_tokens, head_dim)."""
        return np.stack([cache[0, :, : len(self.tokens)] for cache in self._caches])

    def prefill(self, ids: Sequence[int], positions: Sequence[int]) -> FloatArray:
        """Append ``ids`` to the single row; logits (len(positions), vocab_size) at those indices into ``ids``."""
        return self._append(0, ids, positions)

    def prefill_rows(self, rows: Sequence[Sequence[int]]) -> FloatArray:
        """Fill the empty rows; logits (rows, vocab_size) after each row's last id.

        Short neighbours go through the graph together, padded on the right; a long row goes alone and in pieces, so
        that no call needs more memory than that of a single row.
        """
        counts = np.array([len(row) for row in rows], np.int64)
        if self._rows > 1:
            self._reserve(int(counts.max()))  # the parts below are views of the cache, which must not move any more
        logits = np.empty((len(rows), self._model.vocab_size), np.float32)
        for part in split_rows(counts.tolist(), PREFILL_CHUNK):
            first, last = part.start, part.stop
            if len(part) == 1:
                logits[first] = self._append(first, rows[first], [len(rows[first]) - 1])[0]
                continue
            ids = np.zeros((len(part), int(counts[first:last].max())), np.int64)
            for index, row in enumerate(rows[first:last]):
                ids[index, : len(row)] = row
            here = counts[first:last]
            logits[first:last] = self._run(ids, here, (here - 1)[:, None], first)[:, 0]
        return logits

    def _append(self, row: int, ids: Sequence[int], positions: Sequence[int]) -> FloatArray:
        """Append ``ids`` to one row in pieces; logits (len(positions), vocab_size) at those indices into ``ids``."""
        logits = np.empty((len(positions), self._model.vocab_size), np.float32)
        wanted = np.asarray(positions, np.int64)
        end = 0
        while end < len(ids):
            start, end = end, min(end + PREFILL_CHUNK, len(ids))
            if self._rows == 1:
                end = start + self._bind_next(end - start)
            chunk = np.asarray(ids[start:end], np.int64)[None]
            here = np.flatnonzero((wanted >= start) & (wanted < start + chunk.shape[1]))
            # The graph always selects something: a chunk whose logits nobody wants answers for its last token.
            inside = wanted[here] - start if len(here) else np.array([chunk.shape[1] - 1])
            found = self._run(chunk, np.array([chunk.shape[1]]), inside[None], row)
            if len(here):
                logits[here] = found[0]
            if self._rows == 1:
                self.tokens.extend(chunk[0].tolist())
        return logits

    def decode(self, ids: TokenArray, is_active: npt.NDArray[np.bool_]) -> FloatArray:
        """Feed one token to every row, of which only the active ones, one at least, keep it.

        Returns logits (rows, vocab_size) in memory that the next call overwrites; those of other rows mean nothing.
        """
        total = int(self.lengths[is_active].max()) + 1
        self._reserve(total)
        self._decode_ids[:, 0] = ids
        # A row that is over may be longer than those that go on, even as long as the context: it writes over itself.
        np.minimum(self.lengths, total - 1, out=self._seqlens, casting="same_kind")
        self._total[...] = total
        self._compute(self._decode_inputs, self._decode_output)
        self.lengths += is_active
        if self._rows == 1 and is_active[0]:
            self.tokens.append(int(ids[0]))
        logits = self._decode_logits[:, 0]
        self._check(logits if is_active.all() else logits[is_active])
        return logits

    def _run(self, ids: TokenArray, counts: TokenArray, positions: TokenArray, first: int = 0) -> FloatArray:
        """Feed ids (n_rows, sequence), of which ``counts`` (n_rows,) are real, to the rows from ``first`` on.

        Returns logits (n_rows, n_positions, vocab_size).
        """
        rows = slice(first, first + len(ids))
        total = int(self.lengths[rows].max()) + ids.shape[1]
        self._reserve(total)
        logits = np.empty((*positions.shape, self._model.vocab_size), np.float32)
        self._seqlens[rows] = self.lengths[rows] + counts - 1
        self._total[...] = total
        inputs = [
            ("input_ids", value_over(np.ascontiguousarray(ids))),
            ("logits_positions", value_over(np.ascontiguousarray(positions))),
        ]
        self._compute(inputs, [("logits", value_over(logits))], None if len(ids) == self._rows else rows)
        self._bind_step(self._decode_inputs, self._decode_output)  # lets go of the arrays of this call
        self.lengths[rows] += counts
        self._check(logits)
        return logits

    def _check(self, logits: FloatArray) -> None:
        """Throw for what is no number, and let nobody go on from what the cache holds of it."""
        try:
            check_numbers(logits, self._model.name)
        except ArtifactError:
            self.turn += 1
            self.tokens.clear()
            self._adapter = None
            raise

    def _compute(self, inputs: _Named, outputs: _Named, rows: slice | None = None) -> None:
        """Run the graph on ``rows``, or on all of them; what is bound already stays as it is."""
        self._bind_step(inputs, outputs)
        if rows is None:
            self._bind_rows(self._length_inputs, self._cache_values)
        else:
            lengths = [("seqlens_k", value_over(self._seqlens[rows])), self._length_inputs[1]]
            self._bind_rows(lengths, [value_over(cache[rows]) for cache in self._caches])
        adapter = self._bound
        if adapter is not None and adapter.rows > 1 and self._graph is not self._plain:
            slots = adapter.inputs if rows is None else adapter.inputs_of(rows)
            self._graph.bind_inputs("adapter", slots, slots)
        self._graph.run()

    def _bind_rows(self, lengths: _Named, caches: list[ort.OrtValue]) -> None:
        """Past and present are the same memory: attention appends in place, and nothing is copied in a step."""
        self._graph.bind_inputs("lengths", lengths, lengths)
        names = self._cache_names
        self._graph.bind_inputs("past", caches, ((past, item) for (past, _), item in zip(names, caches, strict=True)))
        self._graph.bind_outputs("present", caches, ((now, item) for (_, now), item in zip(names, caches, strict=True)))

    def _bind_step(self, inputs: _Named, outputs: _Named) -> None:
        self._graph.bind_inputs("step", inputs, inputs)
        self._graph.bind_outputs("logits", outputs, outputs)

    def _bind_next(self, count: int) -> int:
        """Bind what the next tokens of the single row go through; returns how many of ``count`` do."""
        assert self._adapter is not None
        n_before = self._start - int(self.lengths[0])
        if self._adapter.before is not None and n_before > 0:
            self._bind_adapter(self._adapter.before)
            return min(count, n_before)
        self._bind_adapter(self._adapter)
        return count

    def _bind_adapter(self, adapter: BoundAdapter) -> None:
        """Each adapter has a binding of its own, so that switching back to one costs next to nothing."""
        self._bound = adapter
        self._graph = self._choose_graph(adapter)
        self._graph.select(adapter)
        if self._graph is not self._plain:
            self._graph.bind_inputs("adapter", adapter.inputs, adapter.inputs)

    def _forget_bindings(self) -> None:
        """Bindings keep the arrays alive that they are bound to: none may stay when the cache gets new ones."""
        for graph in (self._plain, self._slotted):
            if graph is not None:
                graph.forget()

    def _choose_graph(self, adapter: BoundAdapter) -> Graph:
        """The twin for no adapter where it is in memory; the graph with slots takes its place otherwise."""
        if adapter.is_none and self._plain is not None:
            return self._plain
        if self._slotted is None:
            self._plain = None  # before the other one is loaded: an app has memory for one
            self._slotted = self._load(with_slots=True)
        return self._slotted

    def _load(self, *, with_slots: bool) -> Graph:
        given: Form = "fused" if self._library is not None else "slots"
        form = given if with_slots else "without slots"
        file, values = graph_file(self._manifest, form), graph_values(self._manifest, form)
        entry = None if self._find_entry is None else self._find_entry(file)
        library = self._library if form == "fused" else None
        return Graph(self._folder / file, self._threads, values.inputs, values.outputs, entry, library)

    def _allocate_rows(self, rows: int) -> None:
        self._forget_bindings()
        self._rows = self._capacity = 0  # until all is there: memory may be lacking
        self._caches: list[npt.NDArray[Any]] = [np.zeros(0, self._cache_type) for _ in self._cache_names]
        self.lengths = np.zeros(rows, np.int64)
        self._decode_ids = np.zeros((rows, 1), np.int64)
        self._decode_logits = np.zeros((rows, 1, self._model.vocab_size), np.float32)
        self._seqlens = np.zeros(rows, np.int32)
        self._total = np.zeros((), np.int32)
        self._decode_inputs: _Named = [
            ("input_ids", value_over(self._decode_ids)),
            ("logits_positions", value_over(np.zeros((rows, 1), np.int64))),
        ]
        self._decode_output: _Named = [("logits", value_over(self._decode_logits))]
        self._length_inputs: _Named = [
            ("seqlens_k", value_over(self._seqlens)),
            ("total_sequence_length", value_over(self._total)),
        ]
        self._rows = rows

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
        grown: list[npt.NDArray[Any]] = []  # all of them or none: memory may be lacking
        for cache in self._caches:
            grown.append(np.zeros(shape, self._cache_type))
            if n_kept:
                grown[-1][:, :, :n_kept] = cache[:, :, :n_kept]
        self._cache_values = [value_over(cache) for cache in grown]
        self._caches, self._capacity = grown, capacity
        self._forget_bindings()
        if self._bound is not None:
            self._bind_adapter(self._bound)
