"""The whole way in Python, on the base of the demonstration: a grid, two adapters, an artifact, an answer.

Takes a base and rows -> an artifact in build/whole_way; ``python -m examples.whole_way``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import edgelora
import edgelora_runtime
from examples import prepare_icd
from examples.demo import link_base


def whole_way(model: Path, rows: Path, out: Path, steps: int = 30) -> edgelora_runtime.Model:
    """Train, recover, quantize, export, add and verify; the commands of the same names do the same."""
    grid = edgelora.GridChoice("int2", embedding_bits=4)
    made = edgelora.quantize(model, out / "grid.safetensors", grid, overwrite=True)
    grid = edgelora.GridChoice(str(made.path))  # read from now on, so that all that follows meets on it

    mends = edgelora.RecoverOptions(max_steps=steps, max_length=64, overwrite=True)
    recovered = edgelora.recover(model, rows, out / "recovered", mends, grid=grid)
    learns = edgelora.TrainOptions(max_steps=steps, start_from=recovered.adapter, max_length=64, overwrite=True)
    trained = edgelora.train(model, rows, out / "icd", learns, grid=grid)
    print(
        f"KL to the float base: {recovered.loss:.3f}; loss of the task: {trained.first_loss:.3f} -> {trained.loss:.3f}"
    )

    options = edgelora.ExportOptions(adapters={"recovered": recovered.adapter}, overwrite=True)
    exported = edgelora.export(model, out / "artifact", options, grid=grid)
    edgelora.add_adapter(exported.artifact, "icd", trained.adapter)
    report = edgelora.verify(exported.artifact)
    print("verified" if report.passed else [check for check in report.checks if not check.passed])
    return edgelora_runtime.load(exported.artifact)


if __name__ == "__main__":
    work = Path("build/whole_way")
    work.mkdir(parents=True, exist_ok=True)
    try:
        prepare_icd.prepare(work / "data")
        made = whole_way(link_base(work), work / "data" / "train.jsonl", work)
    except edgelora.EdgeLoraError as error:
        sys.exit(str(error))
    print(made.generate("ICD-10 chapter of this clinical term: Glaucoma", adapter="icd").text)
