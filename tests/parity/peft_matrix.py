"""``python -m tests.parity.peft_matrix``: how near each kind of adapter comes to PEFT's own logits, in each runtime.

kinds of adapters -> a table in Markdown

The first adapter of a kind is what PEFT saved; what is read is the folder, or what a conversion made of it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import edgelora
from edgelora.adapter.make_plain import base_of_artifact, base_of_checkpoint, make_plain
from edgelora.adapter.plain import write_plain
from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.merging.merge_all import merge_all
from edgelora.torch_model.choose_grid import GridChoice
from edgelora.values import FloatArray
from edgelora_onnx import OnnxExporter
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.model import load
from tests.native.conftest import build
from tests.native.interface import Library
from tests.parity.peft_kinds import CONVERTED, IDS, MERGED, PLAIN, Kind, base_model, make_adapter

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("answers.mjs")


@dataclass(frozen=True)
class Matrix:
    """Float32 artifacts of the tiny bases with an adapter of each kind in them, and what PEFT says of each."""

    root: Path
    expected: dict[str, dict[str, FloatArray]] = field(default_factory=dict)  # base -> adapter -> logits

    def artifact(self, base: str) -> Path:
        """The artifact of a base, made when it is first asked for."""
        folder, out = self.root / base, self.root / f"{base}.artifact"
        if out.exists():
            return out
        base_model(base).save_pretrained(folder)
        grid = plan_grid(open_checkpoint(str(folder)), parse_quant("none"))
        export_artifact(Parts(grid), out, Build(OnnxExporter(), ExportOptions(accuracy_level=0)))
        return out

    def add(self, kind: Kind, converted: bool) -> None:
        """Make the kind's adapter and add it to the artifact of its base, converted where it is no plain LoRA."""
        name, artifact = adapter_name(kind.name), self.artifact(kind.base)
        folder = self.root / "adapters" / name
        self.expected.setdefault(kind.base, {})[name] = make_adapter(kind, folder)
        if converted:
            base = base_of_artifact(read_manifest(artifact))
            if kind.needs == "base":
                base = base_of_checkpoint(open_checkpoint(str(self.root / kind.base)))
            initial = folder / "start" if kind.needs == "initial" else None
            plain = self.root / "plain" / name
            write_plain(plain, make_plain(folder, base, initial).plain)
            folder = plain
        add_adapter(artifact, name, folder)

    def merged(self, kind: Kind) -> tuple[Path, FloatArray]:
        """The kind's adapter merged into an artifact of its own, and PEFT's logits."""
        self.artifact(kind.base)
        name = adapter_name(kind.name)
        folder, out = self.root / "adapters" / name, self.root / f"{name}.artifact"
        expected = make_adapter(kind, folder)
        make_grid = functools.partial(plan_grid, plan=parse_quant("none"))
        parts = merge_all(open_checkpoint(str(self.root / kind.base)), folder, make_grid, accept_lossy=False)
        export_artifact(parts, out, Build(OnnxExporter(), ExportOptions(accuracy_level=0)))
        return out, expected

    def factored(self, kind: Kind) -> tuple[Path, FloatArray]:
        """The kind's adapter, which is DoRA, by its name beside an artifact whose slots have a place for it."""
        self.artifact(kind.base)
        name = adapter_name(kind.name)
        folder, out = self.root / "adapters" / name, self.root / f"{name}.factored"
        expected = make_adapter(kind, folder)
        options = ExportOptions(accuracy_level=0, adapters={name: folder})
        edgelora.export(self.root / kind.base, out, options, grid=GridChoice("none"))
        return out, expected

    def of_python(self, base: str) -> dict[str, FloatArray]:
        with load(self.artifact(base)) as model:
            return {name: model.logits(IDS, adapter=name) for name in self.expected[base]}

    def of_javascript(self, base: str) -> dict[str, FloatArray]:
        return ask_javascript(self.artifact(base), *self.expected[base])

    def of_cpp(self, base: str) -> dict[str, FloatArray]:
        return ask_cpp(self.artifact(base), *self.expected[base])


def ask_javascript(artifact: Path, *specs: str) -> dict[str, FloatArray]:
    """The logits of an artifact with each of ``specs``, as Node gives them."""
    words = ["node", PROGRAM, artifact, json.dumps(IDS), *specs]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: np.array(rows, np.float32) for name, rows in json.loads(done.stdout).items()}


def ask_cpp(artifact: Path, *specs: str, operators: Path | None = None) -> dict[str, FloatArray]:
    """The same, as the native runtime gives them; of the fused graph with a library of ``operators``."""
    model, every = _library().load(artifact, operators=operators), range(len(IDS))
    return {spec: np.array(model.logits(IDS, spec, every), np.float32) for spec in specs}


def adapter_name(kind: str) -> str:
    """A kind's name as an adapter can be called."""
    return re.sub(r"[^A-Za-z0-9]+", "-", kind)


def far(found: FloatArray, expected: FloatArray) -> float:
    """The largest difference of any logit."""
    return float(np.abs(found - expected).max())


def main() -> int:
    """Print the table; 1 where a figure is above 1e-4."""
    with tempfile.TemporaryDirectory() as place:
        return _print(Matrix(Path(place)))


def _print(matrix: Matrix) -> int:
    for kind in PLAIN:
        matrix.add(kind, converted=False)
    for kind in CONVERTED:
        matrix.add(kind, converted=True)
    answers = {
        base: (matrix.of_python(base), matrix.of_javascript(base), matrix.of_cpp(base)) for base in matrix.expected
    }
    worst = 0.0
    print("| adapter | base | how it is read | Python | JavaScript | C++ |\n|---|---|---|---|---|---|")
    for kinds, way in ((PLAIN, "as it is"), (CONVERTED, "converted")):
        for kind in kinds:
            name = adapter_name(kind.name)
            figures = [far(found[name], matrix.expected[kind.base][name]) for found in answers[kind.base]]
            worst = max(worst, *figures)
            print(f"| {kind.name} | {kind.base} | {_way(kind, way)} | {' | '.join(_told(figures))} |")
    dora = [kind for kind in MERGED if kind.refused == "DoRA"]
    ways = [("converted for the grid", kind) for kind in dora] + [("merged", kind) for kind in MERGED]
    for way, kind in ways:
        artifact, expected = matrix.merged(kind) if way == "merged" else matrix.factored(kind)
        spec = "none" if way == "merged" else adapter_name(kind.name)
        figures = [far(found, expected) for found in _answers(artifact, spec)]
        worst = max(worst, *figures)
        print(f"| {kind.name} | {kind.base} | {way} | {' | '.join(_told(figures))} |")
    return 1 if worst > 1e-4 else 0


def _answers(artifact: Path, spec: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each runtime, with one adapter of the artifact or none."""
    with load(artifact) as model:
        python = model.logits(IDS, adapter=spec)
    return python, ask_javascript(artifact, spec)[spec], ask_cpp(artifact, spec)[spec]


def _way(kind: Kind, way: str) -> str:
    return way if kind.needs is None else f"{way} with `--{kind.needs}`"


def _told(figures: Sequence[float]) -> list[str]:
    return [f"{figure:.1e}" for figure in figures]


@functools.cache
def _library() -> Library:
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None and spec.origin is not None
    (onnxruntime,) = (Path(spec.origin).parent / "capi").glob("libonnxruntime.so.1.*")
    return Library(find_built() / "libedgelora.so", onnxruntime)


def find_built() -> Path:
    """The native runtime: where EDGELORA_NATIVE_BUILD says, else built now."""
    given = os.environ.get("EDGELORA_NATIVE_BUILD")
    return Path(given) if given else build(ROOT / "build" / "native")


if __name__ == "__main__":
    sys.exit(main())
