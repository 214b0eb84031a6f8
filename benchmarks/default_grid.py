"""``python -m benchmarks.default_grid MODEL``: what each choice of an int4 grid costs, in bytes, seconds and answers.

Knows nothing about adapters or artifacts; answers are PyTorch's on the values of each grid, in float32. The texts are
none that anything is calibrated on: built-in ones kept for measuring, docstrings of Python.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.smollm2 import find_smollm2
from edgelora.artifact.rounding import Tally
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.varied_text import measured_ids
from edgelora.grid.make import Grid
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.choose_grid import GridChoice, choose_grid
from edgelora.values import Checkpoint
from edgelora_runtime.files import write_atomically

PLAIN = GridChoice("int4", symmetric=True, method="rtn", embedding_bits=4)
CHOICES: Mapping[str, GridChoice] = {
    "`--quant int8`": GridChoice("int8"),
    "`--symmetric --quant-method rtn --embedding-bits 4`": PLAIN,
    "`--symmetric --quant-method rtn`": GridChoice("int4", symmetric=True, method="rtn"),
    "`--quant-method rtn`": GridChoice("int4", method="rtn"),
    "`--symmetric`": GridChoice("int4", symmetric=True),
    "`--quant-method ranges`": GridChoice("int4", method="ranges"),
    "default": GridChoice("int4"),
    "`--quant-method gptq`": GridChoice("int4", method="gptq"),
    "`--quant-method gptq --block-size 16`": GridChoice("int4", method="gptq", block_size=16),
}
_MODULES = (
    "argparse", "collections", "subprocess", "threading", "logging", "random", "statistics", "decimal", "textwrap",
    "shutil", "tempfile", "zipfile", "csv", "datetime", "heapq", "bisect", "pathlib", "functools", "socket", "string",
)  # fmt: skip
_LONG, _LONGEST = 300, 900  # characters of a docstring
_TOKENS = 96


def texts() -> Sequence[str]:
    """Docstrings of modules of Python, one of each."""
    found = []
    for name in _MODULES:
        members = [inspect.getdoc(item) or "" for _, item in sorted(vars(importlib.import_module(name)).items())]
        found += [text[:_LONGEST] for text in members if len(text) > _LONG][:1]
    return found[:14]


def read_rows(checkpoint: Checkpoint) -> Mapping[str, Sequence[Sequence[int]]]:
    """Token ids of each set of texts."""
    tokenizer = open_tokenizer(checkpoint)
    built_in = measured_ids(tokenizer, int(checkpoint.config["vocab_size"]), _TOKENS)
    return {
        "built-in": built_in,
        "docstrings": [tokenizer.encode(text, special=True)[:_TOKENS] for text in texts()],
    }


def answer(model: Any, ids: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits (len(ids), vocab_size)."""
    with torch.inference_mode():
        logits: np.ndarray[Any, np.dtype[np.float32]] = (
            model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float().numpy()
        )
    return logits


def loss(logits: np.ndarray[Any, np.dtype[np.float32]], ids: Sequence[int]) -> float:
    """Summed nats of the tokens after the first."""
    logs = torch.log_softmax(torch.from_numpy(logits[:-1]), -1)
    return -float(logs[torch.arange(len(ids) - 1), torch.tensor(list(ids[1:]))].sum())


def figures_of(checkpoint: Checkpoint, grid: Grid, rows: Mapping[str, Sequence[Sequence[int]]]) -> Mapping[str, Any]:
    """KL, loss above the float model's and equal top tokens for each set of texts."""
    exact, rounded = load_torch(checkpoint, None), load_torch(checkpoint, grid)
    found = {}
    for kind, some in rows.items():
        tally, float_loss, grid_loss = Tally(), 0.0, 0.0
        for ids in some:
            expected, given = answer(exact, ids), answer(rounded, ids)
            tally.add(expected, given)
            float_loss, grid_loss = float_loss + loss(expected, ids), grid_loss + loss(given, ids)
        count, figures = sum(len(ids) - 1 for ids in some), tally.figures()
        found[kind] = {
            "kl": round(figures.kl_mean, 4),
            "float_loss": round(float_loss / count, 4),
            "loss_above_float": round((grid_loss - float_loss) / count, 4),
            "top1_agreement": round(figures.top1_agreement, 4),
            "positions": figures.positions,
        }
    return found


def bytes_of(grid: Grid) -> int:
    """What the codes, scales (float16) and zero points take in a file."""
    return sum(
        matrix.packed.nbytes + 2 * matrix.scales.size + (0 if matrix.zero_points is None else matrix.zero_points.nbytes)
        for matrix in grid.matrices.values()
    )


def to_markdown(result: Mapping[str, Any]) -> str:
    """One row for each choice."""
    kinds = list(next(iter(result["choices"].values()))["answers"])
    positions = {kind: next(iter(result["choices"].values()))["answers"][kind]["positions"] for kind in kinds}
    heads = " | ".join(f"{kind} ({positions[kind]}): KL, loss above float, top tokens kept" for kind in kinds)
    lines = [
        f"# Grids of {result['model']}",
        "",
        f"`python -m benchmarks.default_grid {result['given']}`; CPU seconds for the grid alone, nats for each token.",
        "",
        f"| `--quant int4` and | MB | CPU s | {heads} |",
        "|---|---:|---:|" + "---:|" * len(kinds),
    ]
    for label, found in result["choices"].items():
        cells = [
            f"{item['kl']:.3f}, {item['loss_above_float']:+.3f}, {100 * item['top1_agreement']:.0f} %"
            for item in found["answers"].values()
        ]
        lines.append(f"| {label} | {found['bytes'] / 1e6:.1f} | {found['cpu_s']:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every choice and write NAME.json and NAME.md."""
    parser = argparse.ArgumentParser(description="Measure what each choice of an int4 grid costs a base.")
    parser.add_argument("model", nargs="?", help="A folder or a GGUF file; SmolLM2-135M where none is given.")
    parser.add_argument("--name", default="default_grid", help="Of the files in benchmarks/results.")
    parser.add_argument("--only", type=int, nargs="*", help="Numbers of the choices, from 0.")
    given = parser.parse_args()
    checkpoint = open_checkpoint(given.model or find_smollm2())
    rows = read_rows(checkpoint)
    choices = [item for index, item in enumerate(CHOICES.items()) if given.only is None or index in given.only]
    found: dict[str, Any] = {}
    result = {"model": checkpoint.name, "given": Path(given.model).name if given.model else "", "choices": found}
    for label, choice in choices:
        started = time.process_time()
        grid = choose_grid(checkpoint, choice).grid
        seconds = round(time.process_time() - started, 1)
        found[label] = {"bytes": bytes_of(grid), "cpu_s": seconds, "answers": figures_of(checkpoint, grid, rows)}
        print(label, json.dumps(found[label]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000, flush=True)
        folder = Path(__file__).parent / "results"
        write_atomically(folder / f"{given.name}.json", json.dumps(result, indent=1) + "\n")
        write_atomically(folder / f"{given.name}.md", to_markdown(result))


if __name__ == "__main__":
    main()
