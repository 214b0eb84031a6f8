"""Which subjects each worker has: the project's and its peers', by the labels of ``figures``.

Knows nothing about turns.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import figures
from benchmarks.peers.environments import python_of
from benchmarks.peers.prepare import Prepared
from benchmarks.peers.turns import Subject
from benchmarks.peers.worker import Worker


@dataclass(frozen=True)
class Engine:
    """What a worker runs: the interpreter, a module of ``engines``, and its subjects."""

    name: str
    python: Path
    module: str
    subjects: tuple[Subject, ...]


def engines(prepared: Prepared, peers: Sequence[str], operator: str) -> list[Engine]:
    """The project first, then every peer of ``peers``; ``operator`` is the library of the fused graph, or empty."""
    makers = {"genai": _genai, "llama-cpp": _llama_cpp, "peft": _peft}
    return [_project(prepared, operator), *(makers[peer](prepared) for peer in peers)]


def open_workers(found: Sequence[Engine], threads: int, stack: ExitStack) -> list[Worker]:
    """Start a worker for each engine; ``stack`` ends them."""
    workers = []
    for engine in found:
        worker = Worker(engine.name, engine.python, engine.module, engine.subjects, threads)
        stack.callback(worker.close)
        workers.append(worker)
    return workers


def _project(prepared: Prepared, operator: str) -> Engine:
    slots, plain = str(prepared.slots), str(prepared.plain)
    subjects = [
        Subject(figures.NO_SLOTS, plain),
        Subject(figures.OFF, slots),
        Subject(figures.OFF_TWIN, slots, twin=True),
        Subject(figures.RANK_8, slots, ("rank-8",)),
        Subject(figures.RANK_16, slots, ("rank-16",)),
        Subject(figures.ROWS, slots, tuple(f"row-{row}" for row in range(figures.N_ROWS))),
    ]
    if operator:
        subjects.append(Subject(figures.FUSED_RANK_16, slots, ("rank-16-int8",), operator=operator))
    return Engine("edgelora", Path(sys.executable), "edgelora", tuple(subjects))


def _genai(prepared: Prepared) -> Engine:
    subjects = (
        Subject(figures.GENAI, str(prepared.genai)),
        Subject(figures.GENAI_RANK_16, str(prepared.genai_rank_16)),
    )
    return Engine("onnxruntime-genai", python_of("genai"), "genai", subjects)


def _llama_cpp(prepared: Prepared) -> Engine:
    adapter = (str(prepared.gguf_rank_16),)
    subjects = [
        Subject(figures.LLAMA, str(prepared.gguf_q4_0)),
        Subject(figures.LLAMA_RANK_16, str(prepared.gguf_q4_0), adapter),
    ]
    if prepared.gguf_q4_1 is not None:
        subjects += [
            Subject(figures.LLAMA_Q4_1, str(prepared.gguf_q4_1)),
            Subject(figures.LLAMA_Q4_1_RANK_16, str(prepared.gguf_q4_1), adapter),
        ]
    return Engine("llama.cpp", python_of("llama-cpp"), "llama_cpp", tuple(subjects))


def _peft(prepared: Prepared) -> Engine:
    subjects = (
        Subject(figures.PEFT_OFF, str(prepared.folder)),
        Subject(figures.PEFT_RANK_16, str(prepared.folder), (str(prepared.rank_16),)),
    )
    return Engine("PEFT", python_of("peft"), "peft", subjects)
