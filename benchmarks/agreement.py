"""How often an int4 artifact and PyTorch on the same grid name the same next token, over 2,000 tokens of real text.

Knows nothing about speed. The text is what lies in this repository: the licence and the documentation.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.smollm2 import find_smollm2
from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.exporter import find_exporter
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora_runtime import load

TOKENS, CHUNK = 2000, 250  # tokens of one chunk see each other
TEXTS = ("LICENSE", "docs/format.md", "docs/pipeline.md")
NEAR_TIE = 1e-4  # of the largest logit: float32 itself does not settle which of two such tokens wins


def main() -> None:
    """Print one JSON object: for each accuracy level the share of equal top tokens, and the logits' differences."""
    model = sys.argv[1] if len(sys.argv) > 1 else find_smollm2()
    checkpoint = open_checkpoint(model)
    grid = plan_grid(checkpoint, parse_quant("int4"))
    reference = load_torch(checkpoint, grid)
    original = load_torch(checkpoint, None)
    with tempfile.TemporaryDirectory() as folder:
        runtimes = {}
        for level in (0, 4):
            build = Build(find_exporter(), ExportOptions(accuracy_level=level))
            export_artifact(Parts(grid), Path(folder) / str(level), build)
            runtimes[level] = load(Path(folder) / str(level))
        tokenizer = runtimes[0].tokenizer
        assert tokenizer is not None
        ids = tokenizer.encode("\n".join(Path(name).read_text(encoding="utf-8") for name in TEXTS))[:TOKENS]
        chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
        everywhere = list(range(CHUNK))
        expected = np.concatenate([torch_logits(reference, chunk) for chunk in chunks])  # (tokens, vocab_size)
        result: dict[str, object] = {"model": checkpoint.name, "tokens": len(ids)}
        for level, runtime in runtimes.items():
            found = np.concatenate([runtime.logits(chunk, positions=everywhere[: len(chunk)]) for chunk in chunks])
            result[f"level_{level}"] = compare(found, expected)
        unrounded = np.concatenate([torch_logits(original, chunk) for chunk in chunks])
        result["grid_against_float"] = compare(expected, unrounded)
    print(json.dumps(result, indent=1))


def torch_logits(model: torch.nn.Module, ids: list[int]) -> np.ndarray:
    """Logits (len(ids), vocab_size) of PyTorch in float32."""
    with torch.inference_mode():
        logits: np.ndarray = model(input_ids=torch.tensor([ids])).logits[0].numpy()
    return logits


def compare(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Share of rows with the same top token, near ties counted apart, and differences relative to the largest logit."""
    scale = float(np.abs(expected).max())
    top = found.argmax(-1)
    gap = expected.max(-1) - np.take_along_axis(expected, top[:, None], -1)[:, 0]
    difference = np.abs(found - expected)
    return {
        "top1": float((gap == 0).mean()),
        "top1_or_near_tie": float((gap <= NEAR_TIE * scale).mean()),
        "median_difference": float(np.median(difference)) / scale,
        "largest_difference": float(difference.max()) / scale,
    }


if __name__ == "__main__":
    main()
