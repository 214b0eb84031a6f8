"""Our runtime as a worker: ``python -m benchmarks.peers.engines.edgelora``.

Knows nothing about peers; it drives the session as ``Model.generate`` does, and chooses tokens greedily.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from benchmarks.peers.turns import Opening, serve
from edgelora.evaluation.timing import open_session
from edgelora_runtime.adapter_set import AdapterSet
from edgelora_runtime.bound_adapter import BoundAdapter
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.packed_adapters import PackedCache, name_artifact
from edgelora_runtime.session import Session

_SWITCHES = 50
_FIRST_BINDS = 10
_LOADS = 5


class EdgeloraEngine:
    """Sessions by artifact, adapters by subject."""

    version = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, opening: Opening) -> None:
        opened: dict[tuple[str, bool, str], tuple[Session, Manifest, AdapterSet]] = {}
        self._subjects: dict[str, tuple[Session, BoundAdapter, int]] = {}
        for subject in opening.subjects:
            key = (subject.model, subject.twin, subject.operator)
            if key not in opened:
                session, manifest = open_session(
                    Path(subject.model), opening.threads, subject.twin, subject.operator or False
                )
                opened[key] = session, manifest, AdapterSet(Path(subject.model), manifest, session.packer)
            session, _, adapters = opened[key]
            found = adapters.find_rows(subject.adapters) if subject.adapters else adapters.find("none")
            self._subjects[subject.label] = session, found, max(1, len(subject.adapters))
        self._opened = list(opened.values())

    def reset(self, label: str) -> None:
        """Bind the adapter and forget the cache."""
        self._session, adapter, rows = self._subjects[label]
        self._session.begin(rows, adapter)
        self._active = np.ones(rows, np.bool_)

    def prefill(self, ids: Sequence[int]) -> None:
        """The same prompt in every row; logits of the last position."""
        self._choose(self._session.prefill_rows([ids] * len(self._active)))

    def step(self) -> int:
        """One token for every row."""
        self._choose(self._session.decode(self._tokens, self._active))
        return int(self._tokens[0])

    def extra(self, name: str) -> list[float]:
        """``switch``: back to an adapter that acted before; ``bind``: to a new one; ``load``: from its folder; ``map``:
        as it was kept packed.

        The session keeps a binding for each adapter, so what a switch would cost is paid where ``bind`` is.
        """
        return {"switch": self._switch, "bind": self._bind, "load": self._load, "map": self._map}[name]()

    def _choose(self, logits: npt.NDArray[np.float32]) -> None:
        self._tokens = np.asarray(logits.argmax(-1))

    def _switch(self) -> list[float]:
        session, manifest, adapters = next(item for item in self._opened if item[1].adapters)
        loaded = [adapters.find(info.name) for info in manifest.adapters[:2]]
        times = []
        for number in range(_SWITCHES):
            started = time.perf_counter()
            session.begin(1, loaded[number % 2])
            times.append(1e3 * (time.perf_counter() - started))
        return times[2:]

    def _bind(self) -> list[float]:
        session, manifest, adapters = next(item for item in self._opened if item[1].adapters)
        known = adapters.find(manifest.adapters[0].name)
        times = []
        for _ in range(_FIRST_BINDS):
            unknown = dataclasses.replace(known)  # the same arrays, which the session has not met
            started = time.perf_counter()
            session.begin(1, unknown)
            times.append(1e3 * (time.perf_counter() - started))
        return times

    def _load(self) -> list[float]:
        _, manifest, adapters = next(item for item in self._opened if item[1].adapters)
        return self._times_to_load(adapters, _largest(manifest, adapters))

    def _map(self) -> list[float]:
        session, manifest, adapters = next(item for item in self._opened if item[1].adapters)
        folder = _largest(manifest, adapters)
        with tempfile.TemporaryDirectory() as place:
            cache = PackedCache(Path(place), name_artifact(manifest), session.packer)
            caching = AdapterSet(folder.parents[1], manifest, session.packer, cache)
            caching.load("kept", folder)
            return self._times_to_load(caching, folder)

    def _times_to_load(self, adapters: AdapterSet, folder: Path) -> list[float]:
        times = []
        for _ in range(_LOADS):
            started = time.perf_counter()
            adapters.load("loaded-again", folder)
            adapters.find("loaded-again")
            times.append(1e3 * (time.perf_counter() - started))
        return times


def _largest(manifest: Manifest, adapters: AdapterSet) -> Path:
    return adapters.folder(max(manifest.adapters, key=lambda info: info.rank).name)


if __name__ == "__main__":
    serve(EdgeloraEngine)
