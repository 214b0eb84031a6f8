"""``python -m benchmarks.encoders``: adapters of an encoder beside full fine-tuning, a linear probe and merged models.

three real sets, seeds -> scores, weights trained, processor minutes, bytes on disk of each arm

Each training, export and scoring is a process of its own; what the build folder holds from an earlier run with the
same options is not made again, and the page keeps the sets that are not asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime

from benchmarks.encoder_page import write_page
from benchmarks.encoder_torch import FULL, PROBE
from benchmarks.machine import cpu_name
from benchmarks.processes import Run, run_edgelora, run_python
from edgelora.errors import EdgeLoraError
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.safetensors import read_safetensors
from examples import prepare_address_tags, prepare_icd, prepare_minilm, prepare_reuters
from examples.download import DatasetError, write_rows

BUILD = Path("build/encoders")
RESULTS = Path(__file__).parent / "results"
FLOAT, QUANTS = "float", ("int8", "int4")
_BATCH = 16
_RANK = 8
_CALIBRATED = 100  # rows behind those that are learned; they decide no label
_LENGTH = 128  # tokens of a row that are read


@dataclass(frozen=True)
class Learning:
    """How long and how fast is learned."""

    epochs: int
    rate: float  # the highest learning rate, that of a head apart
    dropout: float | None = None  # of an adapter; None is the default of ``train``, and in torch what the encoder says


@dataclass(frozen=True)
class Set:
    """Real data and how it is learned by default, so that the whole table takes an hour of two cores."""

    title: str
    prepare: Callable[[Path], None]
    task: str  # as `edgelora train --task` calls it
    figures: tuple[str, str]  # of `edgelora eval`; arms are compared by the first
    rows: int
    full: Learning
    lora: Learning


SETS: Mapping[str, Set] = {
    "reuters": Set("Reuters-8, topics of news", prepare_reuters.prepare, "classification",
                   ("accuracy", "macro_f1"), 600, Learning(2, 5e-4), Learning(2, 2e-3)),
    "icd": Set("ICD-10, chapters of clinical terms", lambda folder: prepare_icd.prepare(folder, "", 60),
               "classification", ("accuracy", "macro_f1"), 1000, Learning(3, 5e-4), Learning(3, 2e-3)),
    "addresses": Set("US addresses, tags of words", prepare_address_tags.prepare, "tagging",
                     ("token_f1", "entity_f1"), 700, Learning(12, 5e-4), Learning(12, 2e-3, 0.1)),
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One set with one seed, and how it is learned."""

    name: str
    seed: int
    rows: int
    held_out: int
    full: Learning
    lora: Learning
    threads: int  # change the time alone

    @property
    def task(self) -> str:
        """Of the set."""
        return SETS[self.name].task

    @property
    def model(self) -> Path:
        """The encoder."""
        return BUILD / prepare_minilm.NAME

    def part(self, kind: str) -> Path:
        """The rows that are learned, whose scores are calibrated, or that are answered: parts of shuffled files."""
        count = {"train": self.rows, "calibrate": _CALIBRATED, "heldout": self.held_out}[kind]
        return BUILD / "data" / self.name / f"{kind}-{count}.jsonl"

    def options(self, arm: str) -> Mapping[str, Any]:
        """What decides the figures of an arm, the time apart; a probe learns until it is done."""
        learning = {FULL: self.full, PROBE: None}.get(arm, self.lora)
        return {
            **{name: getattr(self, name) for name in ("name", "seed", "rows", "held_out")},
            "learning": None if learning is None else asdict(learning),
        }


@dataclass(frozen=True)
class Figures:
    """What one arm gave."""

    scores: Mapping[str, float]
    trained: int  # weights
    cpu_minutes: float  # of training, all threads
    bytes: int  # on disk, the base included


def torch_arm(work: Work, arm: str) -> Figures:
    """Full fine-tuning or a probe in plain torch; on disk the encoder in float32."""
    rates = ("--learning-rate", str(work.full.rate), "--batch-size", str(_BATCH), "--epochs", str(work.full.epochs))
    run = run_python(
        "-m", "benchmarks.encoder_torch", arm, str(work.model), str(work.part("train")), str(work.part("heldout")),
        "--max-length", str(_LENGTH), "--seed", str(work.seed), "--threads", str(work.threads), *rates,
    )  # fmt: skip
    trained = int(run.output["trained"])
    size = (work.model / "model.safetensors").stat().st_size
    extra = 4 * trained if arm == PROBE else 0  # full fine-tuning has its weights in the place of the base's
    return Figures(run.output["scores"], trained, run.output["cpu_minutes"], size + extra)


def train(work: Work, quant: str) -> tuple[Path, float]:
    """An adapter of rank 8 on a grid, or on the float weights, and the processor minutes that it took."""
    how = work.lora
    dropout = () if how.dropout is None else ("--dropout", str(how.dropout))
    parts = (work.name, work.rows, how.epochs, f"{how.rate:g}", how.dropout, quant, work.seed)
    folder = BUILD / "adapters" / "-".join(map(str, parts))
    log = folder.parent / f"{folder.name}.json"
    if not log.is_file():
        run = run_edgelora(
            "train", str(work.model), str(work.part("train")), "-o", str(folder), "--task", work.task,
            "--eval-data", str(work.part("calibrate")), "--eval-every", "0",
            "--quant", _quant(quant), "--rank", str(_RANK), "--epochs", str(how.epochs), "--batch-size", str(_BATCH),
            "--learning-rate", str(how.rate), *dropout, "--max-length", str(_LENGTH), "--seed", str(work.seed),
            "--overwrite", "--json",
        )  # fmt: skip
        write_atomically(log, json.dumps({"cpu_minutes": run.cpu_seconds / 60}))
    return folder, float(json.loads(log.read_text(encoding="utf-8"))["cpu_minutes"])


def grid_arm(work: Work, quant: str) -> Figures:
    """An adapter trained on the values that ship, in the artifact of all adapters of this set and grid."""
    adapter, minutes = train(work, quant)
    artifact = BUILD / "artifacts" / f"{work.name}-{quant}"
    if not (artifact / "manifest.json").is_file():
        export = ("export", str(work.model), "-o", str(artifact), "--task", work.task, "--quant", _quant(quant),
                  "--context-length", str(_LENGTH))  # fmt: skip
        run_edgelora(*export, "--overwrite", "--json")
    name = adapter.name
    if name not in {found.name for found in read_manifest(artifact).adapters}:
        run_edgelora("adapter", "add", str(artifact), f"{name}={adapter}", "--json")
    found = score(work, artifact, name)
    manifest = read_manifest(artifact)
    base = sum(info.bytes for file, info in manifest.files.items() if not file.startswith("adapters/"))
    own = sum(info.bytes for file, info in manifest.files.items() if file.startswith(f"adapters/{name}/"))
    return Figures(found.output, _weights(adapter), minutes, base + own)


def merged_arm(work: Work, quant: str) -> Figures:
    """The adapter trained in float, put into the weights, which are rounded then: a whole model for each classifier."""
    adapter, minutes = train(work, FLOAT)
    artifact = BUILD / "artifacts" / f"{adapter.name}-merged-{quant}"
    if not (artifact / "manifest.json").is_file():
        run_edgelora(
            "export", str(work.model), "-o", str(artifact), "--task", work.task, "--quant", quant,
            "--context-length", str(_LENGTH), "--merge", str(adapter), "--accept-lossy-merge", "--overwrite", "--json",
        )  # fmt: skip
    found = score(work, artifact, "none")
    size = sum(info.bytes for info in read_manifest(artifact).files.values())
    return Figures(found.output, _weights(adapter), minutes, size)


def score(work: Work, artifact: Path, adapter: str) -> Run:
    """What the artifact answers in the runtime."""
    return run_edgelora("eval", str(artifact), str(work.part("heldout")), "--adapter", adapter, "--json")


ARMS: Mapping[str, Callable[[Work], Figures]] = {
    "full": partial(torch_arm, arm=FULL),
    "probe": partial(torch_arm, arm=PROBE),
    "lora-float": partial(grid_arm, quant=FLOAT),
    **{f"grid-{quant}": partial(grid_arm, quant=quant) for quant in QUANTS},
    **{f"merged-{quant}": partial(merged_arm, quant=quant) for quant in QUANTS},
}


def _quant(name: str) -> str:
    return "none" if name == FLOAT else name


def _weights(adapter: Path) -> int:
    return sum(tensor.size for tensor in read_safetensors(adapter / "adapter_model.safetensors").values())


def prepare(work: Work) -> None:
    """The encoder and the rows of a set, where they are missing."""
    prepare_minilm.prepare(work.model)
    folder = work.part("train").parent
    if not (folder / "heldout.jsonl").is_file():
        SETS[work.name].prepare(folder)
    learned, held_out = (_lines(folder / f"{kind}.jsonl") for kind in ("train", "heldout"))
    parts = {"train": learned[: work.rows], "calibrate": learned[work.rows :][:_CALIBRATED]}
    for kind, lines in (parts | {"heldout": held_out[: work.held_out]}).items():
        write_rows(work.part(kind), [json.loads(line) for line in lines])


def kept_figures(work: Work, arm: str) -> Figures | None:
    """What an arm gave in an earlier run with the same options."""
    file = _figures_file(work, arm)
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    return Figures(**kept["figures"]) if kept and kept["options"] == work.options(arm) else None


def run_arm(work: Work, arm: str) -> Figures:
    """What an arm gives, or gave in an earlier run with the same options."""
    kept = kept_figures(work, arm)
    if kept is not None:
        return kept
    print(f"{work.name}, seed {work.seed}: {arm}", file=sys.stderr, flush=True)
    figures = ARMS[arm](work)
    file = _figures_file(work, arm)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps({"options": work.options(arm), "figures": asdict(figures)}, indent=1) + "\n")
    return figures


def _figures_file(work: Work, arm: str) -> Path:
    return BUILD / "figures" / f"{work.name}-{arm}-{work.seed}.json"


def main() -> int:
    """Write ``results/encoders.json`` and ``results/encoders.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoders", description=main.__doc__)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--rows", type=int, default=None, help="learned of each set; by default what half an hour allows"
    )
    parser.add_argument("--held-out", type=int, default=600, help="answered of each set, at most")
    parser.add_argument("--epochs", type=int, default=None, help="times that every row is seen")
    parser.add_argument("--threads", type=int, default=2, help="of plain torch")
    parser.add_argument("--finished", action="store_true", help="run nothing: show the arms that all seeds have")
    options = parser.parse_args()
    found: dict[str, dict[str, list[Figures]]] = {name: {arm: [] for arm in options.arms} for name in options.sets}
    works: dict[str, Work] = {}
    try:
        for seed in options.seeds:  # a whole table of one seed comes before the next
            for name in options.sets:
                full, lora = (
                    replace(how, epochs=options.epochs or how.epochs) for how in (SETS[name].full, SETS[name].lora)
                )
                rows = options.rows or SETS[name].rows
                works[name] = work = Work(name, seed, rows, options.held_out, full, lora, options.threads)
                prepare(work)
                for arm in options.arms:
                    figures = kept_figures(work, arm) if options.finished else run_arm(work, arm)
                    found[name][arm] += [] if figures is None else [figures]
    except (DatasetError, EdgeLoraError, OSError) as error:
        print(f"encoders: {error}", file=sys.stderr)
        return 2
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "encoders.json"
    earlier = json.loads(file.read_text(encoding="utf-8"))["sets"] if file.is_file() else {}
    made = {name: set_result(works[name], options.seeds, arms) for name, arms in found.items()}
    sets = {name: made.get(name, earlier.get(name)) for name in SETS if name in made or name in earlier}
    result = {"model": prepare_minilm.NAME, "rank": _RANK, "sets": sets}
    write_atomically(file, json.dumps(result, indent=1) + "\n")
    page = write_page(result)
    write_atomically(RESULTS / "encoders.md", page)
    print(page)
    return 0


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def set_result(work: Work, seeds: Sequence[int], arms: Mapping[str, Sequence[Figures]]) -> dict[str, Any]:
    """Everything that the page shows of a set, and each seed's own figures; arms that a seed lacks are left out."""
    return {
        "title": SETS[work.name].title,
        "figures": SETS[work.name].figures,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "seeds": seeds,
        **{kind: len(_lines(work.part(kind))) for kind in ("train", "heldout")},
        **{name: asdict(getattr(work, name)) for name in ("full", "lora")},
        "arms": {arm: [asdict(item) for item in items] for arm, items in arms.items() if len(items) == len(seeds)},
    }


if __name__ == "__main__":
    sys.exit(main())
