"""Keeps what onnxruntime makes of a graph on the device, so that later loads map it instead of making it again.

graph file, Manifest -> CacheEntry, session over it

One folder for each graph, weights, onnxruntime and processor. Opt-in, because an entry takes two to three times the
bytes of the weights on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from edgelora_runtime.errors import InputError
from edgelora_runtime.files import check_writable, discard_folder, is_temporary, replace_folder
from edgelora_runtime.manifest import Manifest, file_info

_LAYOUT = 1  # of an entry; raised when its files or the settings they were made with change
_GRAPH = "graph.onnx"
_WEIGHTS = "weights.bin"
_INDEX = "cache.json"
_SAVING = {
    "session.optimized_model_external_initializers_file_name": _WEIGHTS,
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
    "session.save_external_prepacked_constant_initializers": "1",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheEntry:
    """Where one graph is kept; the folder's name says for which graph, weights, onnxruntime and processor."""

    folder: Path
    source: str  # the graph file that it was made from: an entry of the same one under another name is out of date
    is_hashed: bool  # whether every byte is looked at before it is used, or sizes alone


def find_entry(cache: Path, artifact: Path, manifest: Manifest, file: str, hashes: bool = False) -> CacheEntry:
    """The entry, there already or not, for ``file``, a graph of the artifact."""
    made_of = [_LAYOUT, manifest.files[file].sha256, manifest.files[manifest.graph.weights].sha256]
    made_by = [ort.__version__, ort.get_build_info(), _processor()]
    name = hashlib.sha256(json.dumps([made_of, made_by]).encode()).hexdigest()[:32]
    return CacheEntry(cache / name, str((artifact / file).resolve()), hashes)


def open_cached(
    entry: CacheEntry, graph: Path, make_options: Callable[[], ort.SessionOptions], errors: tuple[type[Exception], ...]
) -> ort.InferenceSession:
    """A session from ``entry``, which is made anew when anything about it does not fit.

    Raises one of ``errors`` when ``graph`` itself cannot be loaded, InputError when the cache cannot be written to.
    """
    if _is_whole(entry):
        options = make_options()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is optimized already
        try:
            return ort.InferenceSession(
                str(entry.folder / _GRAPH), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except errors as error:
            _log.warning("%s cannot be loaded (%s) and is made anew", entry.folder, error)
    return _make(entry, graph, make_options, errors)


def _make(
    entry: CacheEntry, graph: Path, make_options: Callable[[], ort.SessionOptions], errors: tuple[type[Exception], ...]
) -> ort.InferenceSession:
    try:
        check_writable(entry.folder)
    except OSError as error:
        raise InputError(f"the cache cannot be written ({error}); give cache=FOLDER a folder of your own") from error
    failures: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        with replace_folder(entry.folder, contextlib.nullcontext) as fresh:
            options = make_options()
            options.optimized_model_filepath = str(fresh / _GRAPH)
            for key, value in _SAVING.items():
                options.add_session_config_entry(key, value)
            session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"], enable_fallback=0)
            _complete(entry, fresh)
    except failures as error:  # the disk may be full; if it is the graph, loading it again says so
        _log.warning("%s is loaded without a cache, which could not be written (%s)", graph, error)
        session = ort.InferenceSession(
            str(graph), make_options(), providers=["CPUExecutionProvider"], enable_fallback=0
        )
    return session


def _complete(entry: CacheEntry, fresh: Path) -> None:
    """Say in a new entry what its files are, and remove those of the same graph that it takes the place of."""
    files = {path.name: file_info(path) for path in sorted(fresh.iterdir())}
    index = {
        "source": entry.source,
        "files": {name: {"bytes": info.bytes, "sha256": info.sha256} for name, info in files.items()},
    }
    (fresh / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    for other in fresh.parent.iterdir():
        is_old = other.name != entry.folder.name and not is_temporary(other.name)
        if is_old and (_read_index(other) or {}).get("source") == entry.source:
            discard_folder(other)  # a process that has it mapped keeps the bytes until it ends


def _is_whole(entry: CacheEntry) -> bool:
    """Whether the files are those that were written; the graph is always read, the weights only when asked for."""
    files = (_read_index(entry.folder) or {}).get("files")
    if not isinstance(files, dict) or _GRAPH not in files:  # a tiny graph holds its weights itself
        return False
    return all(_is_same(entry.folder / name, info, entry.is_hashed or name == _GRAPH) for name, info in files.items())


def _is_same(path: Path, info: Any, is_hashed: bool) -> bool:
    if not isinstance(info, dict) or not path.is_file() or path.stat().st_size != info.get("bytes"):
        return False
    return not is_hashed or file_info(path).sha256 == info.get("sha256")


def _read_index(folder: Path) -> Mapping[str, Any] | None:
    """What an entry says of itself; None for anything that is no entry."""
    try:
        data = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _processor() -> list[str]:
    """What kernels choose their layout by: the kind of processor and what it can do."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    # Other cores of the same kind repeat these lines; big and little ones may differ.
    named = {line.strip() for line in lines if line.split(":")[0].strip() in _CPU_LINES}
    return [platform.machine(), platform.processor(), *sorted(named)]


_CPU_LINES = {"model name", "flags", "Features", "CPU implementer", "CPU part"}
