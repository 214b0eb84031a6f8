"""Makes what the engines load: folders, GGUF files, adapters, built models, artifacts.

Knows nothing about turns. What peers load is made once and kept under ``build/peers/models``; our artifacts are made
anew in every run, because they are what changes.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.adapters import write_random_adapter
from benchmarks.peers.environments import ROOT, python_of
from benchmarks.peers.figures import N_ROWS
from benchmarks.peers.fresh import Cost, run_command
from benchmarks.peers.gguf_files import write_lora, write_q4_0_copy, write_random_base
from benchmarks.peers.models import RANDOM_SHAPES, write_checkpoint_folder, write_random_model
from benchmarks.smollm2 import find_smollm2
from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.exporter import find_exporter
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import ConfigError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora_runtime.files import temporary_folder
from edgelora_runtime.manifest import INT8_STORE, read_manifest

SMOLLM2 = "smollm2-135m"
MODELS = (SMOLLM2, *RANDOM_SHAPES)

_ADAPTER_SCALE = 0.1  # large enough that greedy answers differ, which the report checks


@dataclass(frozen=True)
class Prepared:
    """Paths by what they are; ``gguf_q4_1`` and ``genai`` may be missing."""

    name: str
    source: str  # what `edgelora export` reads: a GGUF file or a folder
    folder: Path  # Hugging Face folder
    slots: Path  # artifact with the adapters rank-8, rank-16 and row-0 to row-7
    one: Path  # artifact with rank-16 alone
    plain: Path  # artifact without slots
    rank_8: Path  # PEFT folders
    rank_16: Path
    gguf_q4_0: Path
    gguf_q4_1: Path | None
    gguf_rank_16: Path
    genai: Path
    genai_rank_16: Path


def prepare(name: str, peers: Sequence[str]) -> tuple[Prepared, Cost]:
    """Everything for one model; raises ConfigError naming the command that failed."""
    root = ROOT / "models" / name
    root.mkdir(parents=True, exist_ok=True)
    smollm2 = find_smollm2()
    folder = root / "folder"
    if name == SMOLLM2:
        source = smollm2
        _once(folder, lambda out: write_checkpoint_folder(open_checkpoint(smollm2), out))
    else:
        tokenizer = open_checkpoint(smollm2).tokenizer
        assert tokenizer is not None
        source = str(folder)
        _once(folder, lambda out: write_random_model(RANDOM_SHAPES[name], tokenizer, out))
    prepared = Prepared(
        name, source, folder, root / "slots", root / "one", root / "plain", root / "rank-8", root / "rank-16",
        root / "q4_0.gguf", Path(smollm2) if name == SMOLLM2 else None, root / "rank-16.gguf", root / "genai",
        root / "genai-rank-16",
    )  # fmt: skip
    export = _export(prepared)
    if "llama-cpp" in peers:
        _prepare_gguf(prepared)
    if "genai" in peers:
        build = functools.partial(_build_genai, prepared)
        _once(prepared.genai, lambda out: build(out, None))
        _once(prepared.genai_rank_16, lambda out: build(out, prepared.rank_16))
    return prepared, export


def _export(prepared: Prepared) -> Cost:
    for artifact in (prepared.slots, prepared.one, prepared.plain):
        shutil.rmtree(artifact, ignore_errors=True)
    # The plain grid, as that of the graph without slots below and of the peers: equal bytes, equal arithmetic.
    command = [
        *(sys.executable, "-m", "edgelora", "export", prepared.source, "-o", str(prepared.slots)),
        *("--quant", "int4", "--quant-method", "rtn", "--symmetric", "--block-size", "32"),
    ]
    cost = run_command(command)
    manifest = read_manifest(prepared.slots)
    shutil.copytree(prepared.slots, prepared.one)
    for rank, folder in ((8, prepared.rank_8), (16, prepared.rank_16)):
        _once(folder, functools.partial(write_random_adapter, manifest, rank, scale=_ADAPTER_SCALE))
        add_adapter(prepared.slots, f"rank-{rank}", folder)
    add_adapter(prepared.slots, "rank-16-int8", prepared.rank_16, store=INT8_STORE)
    for row in range(N_ROWS):
        folder = prepared.slots.parent / f"row-{row}"
        _once(folder, functools.partial(write_random_adapter, manifest, 16, seed=row, scale=_ADAPTER_SCALE))
        add_adapter(prepared.slots, f"row-{row}", folder)
    add_adapter(prepared.one, "rank-16", prepared.rank_16)
    grid = plan_grid(open_checkpoint(prepared.source), parse_quant("int4"))
    export_artifact(Parts(grid), prepared.plain, Build(find_exporter(), ExportOptions(slots=())))
    return cost


def _prepare_gguf(prepared: Prepared) -> None:
    source = prepared.gguf_q4_1
    if source is not None:
        _once(prepared.gguf_q4_0, lambda out: write_q4_0_copy(source, out))
    else:
        _once(prepared.gguf_q4_0, lambda out: write_random_base(RANDOM_SHAPES[prepared.name], out))
    manifest = read_manifest(prepared.slots)
    _once(prepared.gguf_rank_16, lambda out: write_lora(prepared.rank_16, manifest, 16, out))


def _build_genai(prepared: Prepared, out: Path, adapter: Path | None) -> None:
    command = [str(python_of("genai")), "-m", "onnxruntime_genai.models.builder"]
    command += ["-i", str(prepared.folder), "-o", str(out), "-p", "int4", "-e", "cpu"]
    command += [
        "-c",
        str(prepared.slots.parent / "cache"),
        "--extra_options",
        "int4_block_size=32",
        "int4_accuracy_level=4",
    ]
    command += [] if adapter is None else [f"adapter_path={adapter}"]
    log = prepared.slots.parent / "genai-builder.log"  # a line for each of a thousand tensors
    with log.open("w", encoding="utf-8") as stream:
        status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        raise ConfigError(f"`{' '.join(command)}` failed; {log} says why")


def _once(path: Path, make: Callable[[Path], object]) -> None:
    """Make the file or folder ``path`` elsewhere first, unless it is there."""
    if not path.exists():
        with temporary_folder(path.parent) as folder:
            make(folder / path.name)
            (folder / path.name).rename(path)
