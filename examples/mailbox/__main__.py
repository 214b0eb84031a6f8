"""``python -m examples.mailbox``: ten adapters trained, put into one artifact, and asked about every mail at once."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import edgelora_runtime
from edgelora_runtime.files import write_atomically
from examples import prepare_minilm
from examples.download import DatasetError
from examples.mailbox.mails import OTHER, SHORT, TOPICS, WHOLE, prepare
from examples.steps import DemoError, Step, run_edgelora, run_steps

TRAINING = ("--task", "classification", "--rank", "8", "--epochs", "2", "--batch-size", "16", "--max-length", "128",
            "--learning-rate", "1e-3", "--seed", "0")  # fmt: skip
SHOWN = 12  # mails


@dataclass(frozen=True)
class Sorted:
    """What the ten classifiers say of a mail: the score of each topic, and how long all of them took."""

    text: str
    expected: str
    scores: Mapping[str, float]
    milliseconds: float

    @property
    def topic(self) -> str:
        """The topic whose own classifier is surest; ``other`` where none says yes."""
        best = max(self.scores, key=lambda topic: self.scores[topic])
        return best if self.scores[best] >= 0.5 else OTHER


def plan_steps(model: Path, data: Path, build: Path, target: str, quant: str) -> list[Step]:
    """A training for each topic on the values that ship, and one export with all ten."""
    folders = {topic: build / "adapters" / topic for topic in TOPICS}
    steps = [
        Step(
            f"train {topic}",
            (
                "train",
                str(model),
                str(data / topic / "train.jsonl"),
                "-o",
                str(folder),
                "--quant",
                quant,
                "--eval-data",
                str(data / topic / "heldout.jsonl"),
                "--eval-every",
                "0",
                *TRAINING,
            ),
            folder / "adapter_model.safetensors",
            resumes=True,
        )
        for topic, folder in folders.items()
    ]
    artifact = build / target
    adapters = [word for topic, folder in folders.items() for word in ("--adapter", f"{topic}={folder}")]
    export = ("export", str(model), "-o", str(artifact), "--task", "classification", "--quant", quant,
              "--target", target, "--overwrite", *adapters)  # fmt: skip
    return [*steps, Step("export", export, artifact / "manifest.json")]


def sort_mails(artifact: Path, mails: Path) -> list[Sorted]:
    """Every mail with what all adapters say of it, in one call of the graph a mail."""
    found: list[Sorted] = []
    with edgelora_runtime.load(artifact, task="text-classification") as model:
        for line in mails.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            started = time.perf_counter()
            answers = model.classify_each(row["text"], list(TOPICS))
            milliseconds = 1e3 * (time.perf_counter() - started)
            scores = {topic: answer.scores[topic] for topic, answer in answers.items()}
            found.append(Sorted(row["text"], row["label"], scores, milliseconds))
    return found


def table_lines(mails: Sequence[Sorted]) -> list[str]:
    """A few mails with their topics, then how many are right and how long a mail takes."""
    lines = [f"{'sorted as':12}  {'is':12}  {'score':>5}  mail"]
    step = max(1, len(mails) // SHOWN)
    for mail in mails[::step][:SHOWN]:
        begin = " ".join(mail.text.split()[:9])
        lines.append(f"{mail.topic:12}  {mail.expected:12}  {max(mail.scores.values()):5.2f}  {begin}")
    right = sum(mail.topic == mail.expected for mail in mails)
    took = median(mail.milliseconds for mail in mails)
    lines += ["", f"{right} of {len(mails)} mails sorted as their group; all ten answers for a mail in {took:.1f} ms"]
    return lines


def main() -> int:
    """Train and export what is missing, then sort mails that no adapter has seen."""
    parser = argparse.ArgumentParser(prog="python -m examples.mailbox", description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, default=None, help="build/mailbox, or build/mailbox-short")
    parser.add_argument("--short", action="store_true", help="a few mails each: adapters that act, for tests")
    parser.add_argument("--target", default="cpu", help="as of `edgelora export`; web-wasm for the page")
    parser.add_argument("--quant", default="int8", choices=("int8", "int4"))
    given = parser.parse_args()
    build = given.output or Path("build/mailbox-short" if given.short else "build/mailbox")
    try:
        build.mkdir(parents=True, exist_ok=True)
        model = prepare_minilm.prepare(build / prepare_minilm.NAME)
        prepare(build / "data", SHORT if given.short else WHOLE)
        steps = plan_steps(model, build / "data", build, given.target, given.quant)
        run_steps(steps, build / "steps.json", run_edgelora)
        mails = sort_mails(build / given.target, build / "data" / "mails.jsonl")
    except (DemoError, DatasetError, edgelora_runtime.EdgeLoraError, OSError) as error:
        print(f"mailbox: {error}", file=sys.stderr)
        return 2
    shown = [{"expected": mail.expected, "topic": mail.topic, "scores": dict(mail.scores)} for mail in mails]
    write_atomically(build / "sorted.json", json.dumps(shown, indent=1) + "\n")
    print("", *table_lines(mails), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
