"""The whole way in Python, on the base of the demonstration: a grid, two adapters, an artifact, an answer."""

from pathlib import Path

import edgelora
import edgelora_runtime
from examples import prepare_icd
from examples.demo import link_base


def whole_way(model: Path, rows: Path, out: Path, steps: int = 12) -> edgelora_runtime.Model:
    """Each call is what the command of its name does; ``out`` holds what they make."""
    plain = edgelora.GridChoice("int4", method="rtn")
    grid = edgelora.GridChoice(str(edgelora.quantize(model, out / "grid.safetensors", plain, overwrite=True).path))
    mends = edgelora.RecoverOptions(max_steps=steps, max_length=64, overwrite=True)
    recovered = edgelora.recover(model, rows, out / "recovered", mends, grid=grid)
    learns = edgelora.TrainOptions(max_steps=4 * steps, batch_size=4, start_from=recovered.adapter, overwrite=True)
    trained = edgelora.train(model, rows, out / "icd", learns, grid=grid)
    artifact = edgelora.export(model, out / "artifact", edgelora.ExportOptions(overwrite=True), grid=grid).artifact
    edgelora.add_adapter(artifact, "icd", trained.adapter)
    print(f"loss {trained.first_loss:.2f} to {trained.loss:.2f}, verified: {edgelora.verify(artifact).passed}")
    return edgelora_runtime.load(artifact)


if __name__ == "__main__":
    work = Path("build/whole_way")
    prepare_icd.prepare(work / "data")
    answering = whole_way(link_base(work), work / "data/train.jsonl", work)
    print(answering.generate("ICD-10 chapter of this clinical term: Glaucoma", adapter="icd").text)
