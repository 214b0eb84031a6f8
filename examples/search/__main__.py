"""``python -m examples.search``: names of conditions find their titles in ICD-10-CM, before and after training."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import edgelora_runtime
from examples import prepare_icd_pairs, prepare_minilm
from examples.download import DatasetError
from examples.steps import DemoError, Step, run_edgelora, run_steps

NAME = "clinical"
TRAINING = ("--task", "embedding", "--rank", "8", "--epochs", "1", "--batch-size", "32", "--max-length", "64",
            "--learning-rate", "1e-3", "--seed", "0")  # fmt: skip
SHORT = ("--max-steps", "4")
ASKED = 4  # anchors of held-out pairs, where no question is given
BEST = 3


def plan_steps(model: Path, data: Path, build: Path, quant: str, short: bool) -> list[Step]:
    """One training, one export, and recall of the held-out pairs without and with the adapter."""
    adapter, artifact = build / "adapter", build / "artifact"
    train = ("train", str(model), str(data / "train.jsonl"), "-o", str(adapter), "--quant", quant, *TRAINING)
    export = ("export", str(model), "-o", str(artifact), "--task", "embedding", "--quant", quant, "--overwrite",
              "--adapter", f"{NAME}={adapter}")  # fmt: skip
    steps = [
        Step("train", train + (SHORT if short else ()), adapter / "adapter_model.safetensors", resumes=True),
        Step("export", export, artifact / "manifest.json"),
    ]
    for spec in ("none", NAME):
        command = ("eval", str(artifact), str(data / "heldout.jsonl"), "--adapter", spec, "--json")
        steps.append(Step(f"eval {spec}", command, build / f"eval-{spec}.json", keeps_output=True))
    return steps


def find(
    model: edgelora_runtime.EncoderModel, titles: Sequence[str], asked: Sequence[str], adapter: str
) -> Mapping[str, list[str]]:
    """The titles that are nearest to each question; vectors have length 1, so that a product is their likeness."""
    documents = model.embed(list(titles), adapter=adapter)  # (n_titles, hidden_size)
    questions = model.embed(list(asked), adapter=adapter)  # (n_asked, hidden_size)
    nearest = (questions @ documents.T).argsort(axis=1)[:, ::-1][:, :BEST]
    return {question: [titles[index] for index in row] for question, row in zip(asked, nearest, strict=True)}


def table_lines(scores: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """Recall without and with the adapter, then what each finds."""
    lines = [f"{'':10}  recall@1  recall@10   ({scores['none']['n']} held-out pairs)"]
    for spec, figures in scores.items():
        lines.append(f"{spec:10}  {100 * figures['recall_at_1']:6.1f} %  {100 * figures['recall_at_10']:7.1f} %")
    for question in next(iter(found.values())):
        lines += ["", question]
        lines += [f"  {spec:10}{' | '.join(titles[question])}" for spec, titles in found.items()]
    return lines


def main() -> int:
    """Train and export what is missing, then search among the titles of the held-out pairs."""
    parser = argparse.ArgumentParser(prog="python -m examples.search", description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, default=None, help="build/search, or build/search-short")
    parser.add_argument("--short", action="store_true", help="a few steps: an adapter that acts, for tests")
    parser.add_argument("--quant", default="int8", choices=("int8", "int4"))
    parser.add_argument("question", nargs="*", help="what to look for, instead of a few held-out names")
    given = parser.parse_args()
    build = given.output or Path("build/search-short" if given.short else "build/search")
    try:
        build.mkdir(parents=True, exist_ok=True)
        model = prepare_minilm.prepare(build / prepare_minilm.NAME)
        prepare_icd_pairs.prepare(build / "data")
        steps = plan_steps(model, build / "data", build, given.quant, given.short)
        run_steps(steps, build / "steps.json", run_edgelora)
        lines = (build / "data" / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
        pairs = [json.loads(line) for line in lines]
        titles, asked = (
            [pair["positive"] for pair in pairs],
            given.question or [pair["anchor"] for pair in pairs[:ASKED]],
        )
        with edgelora_runtime.load(build / "artifact", task="feature-extraction") as opened:
            found = {spec: find(opened, titles, asked, spec) for spec in ("none", NAME)}
    except (DemoError, DatasetError, edgelora_runtime.EdgeLoraError, OSError) as error:
        print(f"search: {error}", file=sys.stderr)
        return 2
    scores = {spec: json.loads((build / f"eval-{spec}.json").read_text(encoding="utf-8")) for spec in ("none", NAME)}
    print("", *table_lines(scores, found), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
