"""``python -m benchmarks.forms``: what a schema does to answers about addresses, and what it costs.

artifact, held-out addresses -> shares of valid JSON, field F1, times of a step and of the mask in it, for each arm

Every measurement is a process of its own, those of steps in random order. The artifact and its adapter are made first
where they are missing: ``make demo``'s, but with 500 addresses held out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import cpu_name
from benchmarks.processes import run_python
from edgelora.evaluation.metrics import exact_match, field_f1, json_valid
from edgelora_runtime import load
from edgelora_runtime.files import write_atomically
from edgelora_runtime.form_mask import FloatArray, FormMask, Vocabulary, read_form
from examples import prepare_addresses
from examples.demo import TRAINING, link_base
from examples.download import fetch
from examples.labelled_xml import write_split
from examples.steps import run_edgelora

WORK = Path("build/forms")
RESULTS = Path(__file__).parent / "results"
HELD_OUT = 500
NAME = "addresses"
FREE, FORMED = "free", "schema"
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "propertyNames": {"enum": sorted(prepare_addresses.KEYS.values())},
    # An app knows how long its fields can be: a text without an end would be valid and never done.
    "additionalProperties": {"type": "string", "maxLength": 60},
    "minProperties": 1,
    "maxProperties": 16,
}
_MOST_TOKENS = 160
_WARM_UP = 3  # answers


def make(work: Path) -> tuple[Path, Path]:
    """The artifact with its trained adapter, and the rows that were held out."""
    data, trained, artifact = work / "data" / NAME, work / "adapters" / NAME, work / "artifact"
    if not (data / "heldout.jsonl").exists():
        rows = prepare_addresses.parse_addresses(fetch("usaddress", "0.5.16", "training/labeled.xml"))
        write_split(data, rows, HELD_OUT, prepare_addresses.SEED, NAME)
    model = link_base(work)
    if not (trained / "adapter_model.safetensors").exists():
        options = ("--quant", "int4", "--rank", "8", "--seed", "0", *TRAINING[NAME])
        run_edgelora(("train", str(model), str(data / "train.jsonl"), "-o", str(trained), *options), None)
    if not (artifact / "manifest.json").exists():
        run_edgelora(
            ("export", str(model), "-o", str(artifact), "--quant", "int4", "--adapter", f"{NAME}={trained}"), None
        )
    return artifact, data / "heldout.jsonl"


def answer(artifact: Path, rows: Sequence[Mapping[str, str]], arm: str) -> dict[str, Any]:
    """The answers of one arm, computed in batches, and how good they are."""
    with load(artifact, threads=2) as model:
        found = model.generate(
            [row["prompt"] for row in rows],
            adapter=NAME,
            max_new_tokens=_MOST_TOKENS,
            schema=SCHEMA if arm == FORMED else None,
        )
    texts, expected = [one.text for one in found], [row["completion"] for row in rows]
    return {
        "answers": len(texts),
        "json_valid": json_valid(texts),
        "field_f1": field_f1(expected, texts),
        "exact_match": exact_match(expected, texts),
        "cut": sum(one.finish_reason == "length" for one in found),
        "texts": texts,
    }


def decode(artifact: Path, rows: Sequence[Mapping[str, str]], arm: str) -> dict[str, Any]:
    """Milliseconds of each step of one row at a time, and of the mask in it."""
    times: list[float] = []
    stamps: list[float] = []
    masks = _time_masks()
    with load(artifact, threads=2) as model:
        for number, row in enumerate(rows):
            stamps.clear()
            model.generate(
                row["prompt"],
                adapter=NAME,
                max_new_tokens=_MOST_TOKENS,
                schema=SCHEMA if arm == FORMED else None,
                process_logits=lambda _ids, _logits: stamps.append(time.perf_counter()),
            )
            if number < _WARM_UP:
                masks.clear()
            else:
                times += [1e3 * (after - before) for before, after in itertools.pairwise(stamps)]
    return {"steps": len(times), **_figures("", times), **(_figures("mask_", masks) if masks else {})}


def _time_masks() -> list[float]:
    """Milliseconds that each mask of this process takes from now on, between the graph's runs and their cold caches."""
    times: list[float] = []
    whole = FormMask.__call__

    def timed(mask: FormMask, token_ids: Sequence[int], logits: FloatArray) -> bool:
        before = time.perf_counter()
        is_whole = whole(mask, token_ids, logits)
        times.append(1e3 * (time.perf_counter() - before))
        return is_whole

    FormMask.__call__ = timed  # type: ignore[assignment, method-assign]
    return times


def _figures(name: str, times: Sequence[float]) -> dict[str, float]:
    found = {"median": np.median(times), "mean": np.mean(times), "p99": np.quantile(times, 0.99)}
    return {f"{name}{kind}_ms": float(value) for kind, value in found.items()}


def start(artifact: Path) -> dict[str, Any]:
    """Milliseconds of what comes before the first mask: the vocabulary, once, and the form."""
    with load(artifact, threads=1) as model:
        tokenizer, info = model.tokenizer, model.manifest.model
    assert tokenizer is not None
    started = time.perf_counter()
    vocabulary = Vocabulary(*_tokens(tokenizer, info.vocab_size, info.eos_token_ids))
    opened = time.perf_counter()
    form = read_form(SCHEMA, None)
    assert form is not None
    vocabulary.start(form)
    return {"vocabulary_ms": 1e3 * (opened - started), "form_ms": 1e3 * (time.perf_counter() - opened)}


def _tokens(tokenizer: Any, vocab_size: int, end_ids: Sequence[int]) -> tuple[Any, int, Sequence[int], bool]:
    tokens, drops_blank = tokenizer.token_bytes()
    return tokens, vocab_size, end_ids, drops_blank


def child(work: Path, kind: str, arm: str, count: int) -> dict[str, Any]:
    """One measurement in a process of its own."""
    artifact, held_out = make(work)
    print(f"forms: {kind} {arm}", file=sys.stderr)
    return dict(
        run_python("-m", "benchmarks.forms", "--child", kind, arm, str(artifact), str(held_out), str(count)).output
    )


def score(work: Path, limit: int) -> dict[str, Any]:
    """How good the answers of both arms are."""
    answers = {arm: child(work, "answer", arm, limit) for arm in (FREE, FORMED)}
    texts = {arm: found.pop("texts") for arm, found in answers.items()}
    return {
        "answers": answers,
        "same_text": sum(one == other for one, other in zip(texts[FREE], texts[FORMED], strict=True)),
    }


def measure(work: Path, timed: int, rounds: int) -> dict[str, Any]:
    """What a step and its mask take; medians over processes."""
    order = random.Random(0)
    steps: dict[str, list[dict[str, Any]]] = {FREE: [], FORMED: []}
    for _ in range(rounds):
        for arm in order.sample((FREE, FORMED), 2):
            steps[arm].append(child(work, "decode", arm, timed))
    starts = [child(work, "start", FORMED, 0) for _ in range(rounds)]
    step_ms = {arm: float(np.median([run["median_ms"] for run in runs])) for arm, runs in steps.items()}
    pairs = zip(*(steps[arm] for arm in (FORMED, FREE)), strict=True)
    ratios = sorted(formed["median_ms"] / free["median_ms"] for formed, free in pairs)
    mask_ms, start_ms = (
        {name: float(np.median([run[name] for run in runs])) for name in runs[0] if name.startswith(kind)}
        for runs, kind in ((steps[FORMED], "mask_"), (starts, ""))
    )
    shares = sorted(run["mask_mean_ms"] / (run["mean_ms"] - run["mask_mean_ms"]) for run in steps[FORMED])
    return {
        "processor": cpu_name(),
        "step_ms": step_ms,
        "step_ratio": float(np.median(ratios)),
        "step_ratios": [ratios[0], ratios[-1]],
        "mask": mask_ms,
        "mask_share": float(np.median(shares)),
        "mask_shares": [shares[0], shares[-1]],
        "start": start_ms,
        "runs": {"steps": steps, "starts": starts},
    }


def page(found: Mapping[str, Any]) -> str:
    """The figures as a page."""
    lines = ["| answers | valid JSON | field F1 | exact | cut | a step, one row |", "|---|---:|---:|---:|---:|---:|"]
    for arm, figures in found["answers"].items():
        quality = f"{figures['json_valid']:.1%} | {figures['field_f1']:.3f} | {figures['exact_match']:.1%}"
        lines.append(f"| {arm} | {quality} | {figures['cut']} | {found['step_ms'][arm]:.2f} ms |")
    table = "\n".join(lines)
    held, begun = found["mask"], found["start"]
    least, most = found["step_ratios"]
    low, high = found["mask_shares"]
    return (
        "# Answers that keep a form\n\n"
        f"SmolLM2-135M int4, the address adapter of the demonstration, {found['answers'][FREE]['answers']} held-out\n"
        f"addresses, two threads, {found['processor']} (`python -m benchmarks.forms`).\n\n{table}\n\n"
        f"{found['same_text']} answers are the same in both. The form takes {1e3 * held['mask_mean_ms']:.0f} µs of a "
        f"step, {found['mask_share']:.1%} of the rest of it\n({low:.1%} to {high:.1%}, "
        f"{len(found['runs']['steps'][FREE])} rounds; median {1e3 * held['mask_median_ms']:.0f} µs, 99 % under "
        f"{1e3 * held['mask_p99_ms']:.0f}); the vocabulary {begun['vocabulary_ms']:.0f} ms once,\nthe form itself "
        f"{begun['form_ms']:.1f} ms. A whole step takes {found['step_ratio']:.3f} of one without "
        f"({least:.2f} to {most:.2f}).\n"
    )


def main() -> None:
    """Measure, and write ``results/forms.json`` and ``forms.md``."""
    if sys.argv[1:2] == ["--child"]:
        kind, arm, artifact, held_out, count = sys.argv[2:]
        rows = [json.loads(line) for line in Path(held_out).read_text(encoding="utf-8").splitlines()][: int(count)]
        place = Path(artifact)
        measured = start(place) if kind == "start" else (answer if kind == "answer" else decode)(place, rows, arm)
        print(json.dumps(measured))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forms", description=main.__doc__)
    parser.add_argument("part", nargs="?", choices=("answers", "times"), help="one of both; the other as it was")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--limit", type=int, default=HELD_OUT, help="answers that are scored")
    parser.add_argument("--timed", type=int, default=20, help="answers whose steps are timed in each process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "forms.json")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
    if options.part != "times":
        found |= score(options.work, options.limit)
    if options.part != "answers":
        found |= measure(options.work, options.timed, options.rounds)
    write_atomically(options.output, json.dumps(found, indent=1) + "\n")
    if "answers" in found and "step_ms" in found:
        write_atomically(options.output.with_suffix(".md"), page(found))
        print(page(found))


if __name__ == "__main__":
    main()
