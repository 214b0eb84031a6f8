"""One loaded graph and what is bound to it: memory of the caller, input by input.

graph file, memory of the caller -> Graph
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgelora_runtime import graph_cache
from edgelora_runtime.errors import ArtifactError, InputError
from edgelora_runtime.parse_json import join_some, one_line, show

MAX_DEFAULT_THREADS = 4
DEFAULT_THREADS = f"the physical cores, at most {MAX_DEFAULT_THREADS}"  # as help texts and reports say it
_LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    UnicodeDecodeError,  # of a name that the graph has, on its way into a message
)

NamedValues = Iterable[tuple[str, ort.OrtValue]]


@dataclass(frozen=True)
class ValueType:
    """What an input or output has to be: onnxruntime's name for its numbers, and sizes, None where any may come."""

    numbers: str
    sizes: tuple[int | None, ...]

    def differs(self, found: ort.NodeArg) -> str | None:
        """How ``found`` is another, None where it is the same; the graph leaves open what is None here, and no more."""
        shape = found.shape or []
        fits = len(shape) == len(self.sizes) and all(
            size == (there if isinstance(there, int) else None) for size, there in zip(self.sizes, shape, strict=True)
        )
        if fits and found.type == self.numbers:
            return None
        wanted = ", ".join("any" if size is None else str(size) for size in self.sizes)
        return f"{found.name} is {found.type} {show(shape)}, expected {self.numbers} [{wanted}]"


@dataclass(frozen=True, eq=False)
class _Binding:
    """What one owner has bound; ``held`` says whose values each group of inputs and outputs has now."""

    io: ort.IOBinding
    held: dict[str, object]


class Graph:
    """An onnxruntime session with a binding for each owner: coming back to one binds nothing anew.

    A binding takes about 0.1 MB and goes when its owner goes.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None,
        inputs: Mapping[str, ValueType],
        outputs: Mapping[str, ValueType],
        entry: graph_cache.CacheEntry | None = None,
        library: Path | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``outputs`` may leave some out; ``library`` has operators that onnxruntime lacks; ``settings`` are its own.

        Raises ArtifactError for a graph that cannot be loaded or has others, InputError for such a library.
        """
        make_options = functools.partial(_options, default_threads() if threads is None else threads, library, settings)
        make_options()  # first: what is wrong with the library is not the graph's fault
        try:
            if entry is None:
                self._session = ort.InferenceSession(
                    str(path), make_options(), providers=["CPUExecutionProvider"], enable_fallback=0
                )
            else:
                self._session = graph_cache.open_cached(entry, path, make_options, _LOAD_ERRORS)
        except _LOAD_ERRORS as error:
            raise ArtifactError(
                f"{path} cannot be loaded ({one_line(error, named=False)}); export the artifact again"
            ) from error
        there = {item.name: item for item in self._session.get_inputs()}
        given = {item.name: item for item in self._session.get_outputs()}
        wrong = [f"{name} is missing" for name in sorted((inputs.keys() - there) | (outputs.keys() - given))]
        wrong += [f"{name} is unknown" for name in sorted(there.keys() - inputs)]
        wrong += [told for name in inputs.keys() & there if (told := inputs[name].differs(there[name]))]
        wrong += [told for name in outputs.keys() & given if (told := outputs[name].differs(given[name]))]
        if wrong:
            raise ArtifactError(f"{path} and the manifest disagree: inputs {join_some(sorted(wrong))}; export it again")
        self._bindings: WeakKeyDictionary[object, _Binding] = WeakKeyDictionary()
        self._current = _Binding(self._session.io_binding(), {})

    def select(self, owner: object) -> None:
        """Bind and run what belongs to ``owner`` from now on."""
        found = self._bindings.get(owner)
        if found is None:
            found = self._bindings[owner] = _Binding(self._session.io_binding(), {})
        self._current = found

    def forget(self) -> None:
        """Let go of all that was ever bound; an owner must be selected before the next run."""
        self._bindings.clear()
        self._current = _Binding(self._session.io_binding(), {})

    def bind_inputs(self, group: str, values: object, named: NamedValues) -> None:
        """Bind ``named`` as inputs unless ``group`` holds these very ``values`` already."""
        current = self._current
        if current.held.get(group) is not values:
            for name, value in named:
                current.io.bind_ortvalue_input(name, value)
            current.held[group] = values

    def bind_outputs(self, group: str, values: object, named: NamedValues) -> None:
        """Bind ``named`` as outputs unless ``group`` holds these very ``values`` already."""
        current = self._current
        if current.held.get(group) is not values:
            for name, value in named:
                current.io.bind_ortvalue_output(name, value)
            current.held[group] = values

    def run(self) -> None:
        """Compute the outputs in place."""
        self._session.run_with_iobinding(self._current.io)


def _options(threads: int, library: Path | None, settings: Mapping[str, str]) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # a warning for each of hundreds of slot inputs helps nobody
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    if library is not None:
        try:
            options.register_custom_ops_library(str(library))
        except _LOAD_ERRORS as error:
            raise InputError(
                f"{library} cannot be loaded as operators ({one_line(error, named=False)}); install edgelora-ops, or "
                "load with operator=False"
            ) from error
    return options


def value_over(array: npt.NDArray[np.generic]) -> ort.OrtValue:
    """An onnxruntime value over the memory of ``array``, which it keeps alive."""
    return ort.OrtValue.ortvalue_from_numpy(array)


def default_threads() -> int:
    """Physical cores that this process may use, at most four: more only add waiting on small models."""
    return max(1, min(_physical_cores(), MAX_DEFAULT_THREADS))


def _physical_cores() -> int:
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(path.read_text(encoding="ascii").strip())
        except OSError:  # not Linux, or hidden: count logical cores
            cores.add(str(cpu))
    return len(cores)
