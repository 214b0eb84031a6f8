"""The benchmark of smaller adapters: what it stores of a tiny one, and the page that it writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compression
from edgelora.evaluation.score import Answers
from edgelora_runtime import load
from edgelora_runtime.adapter import read_adapter
from tests.tiny import write_adapter


@pytest.mark.parametrize(
    ("share", "store", "most"), [(0.5, "float32", 0.5), (0.5, "float16", 0.3), (1, "float16", 0.6)]
)
def test_what_is_stored_is_smaller_and_near(tmp_path: Path, share: float, store: str, most: float) -> None:
    whole = write_adapter(tmp_path / "whole", rank=16)
    compression.compress(whole, tmp_path / "small", share, store)
    sizes = [(folder / "adapter_model.safetensors").stat().st_size for folder in (whole, tmp_path / "small")]
    assert sizes[1] <= most * sizes[0]
    before, after = (read_adapter(folder).factors for folder in (whole, tmp_path / "small"))
    assert before.keys() == after.keys()
    off = [np.linalg.norm(before[m].delta() - after[m].delta()) / np.linalg.norm(before[m].delta()) for m in before]
    assert max(off) < (0.002 if share == 1 else 0.9)


def test_each_way_is_measured_on_the_adapters_own_task(shared_artifact: Path, tmp_path: Path) -> None:
    whole = write_adapter(tmp_path / "whole", rank=4)
    rows = "".join(json.dumps({"text": word, "label": word}) + "\n" for word in ("ja", "nein"))
    (tmp_path / "data" / "usual").mkdir(parents=True)
    (tmp_path / "data" / "usual" / "heldout.jsonl").write_text(rows)
    found = []
    with load(shared_artifact) as model:
        for share in (1.0, 0.5):
            place = tmp_path / f"{share}"
            compression.compress(whole, place, share, "float16")
            figures, answers = compression.measure(model, shared_artifact, tmp_path / "data", "usual", place, 2)
            assert len(answers.labels) == 2
            found.append(figures)
    assert found[0]["n"] == 2
    assert found[0]["bytes"] > found[1]["bytes"]
    assert found[0]["loss"] != found[1]["loss"]
    ways = [{"share": 1.0, "store": "float16"}, {"share": 0.5, "store": "float16"}]
    whole_score, other_score = {"score": 0.5, "standard_error": 0}, {"score": 0.25, "standard_error": 0.1}
    page = compression.write_page(
        {
            "model": "tiny", "date": "today", "machine": {"cpu": "one", "onnxruntime": "1"}, "ways": ways,
            "adapters": {"usual": [{**found[0], **whole_score}, {**found[1], **other_score}]},
        }
    )  # fmt: skip
    assert "| whole | float16 | 100 %, " in page
    assert "50.0 % (+0.0) |" in page
    assert "25.0 % (+25.0 ± 10.0) |" in page


def test_the_standard_error_is_that_of_the_difference_on_the_same_rows() -> None:
    whole = Answers([("a", "a")] * 50 + [("a", "b")] * 50, [])
    assert compression.standard_error(whole, whole, "accuracy") == 0
    worse = Answers([("a", "a")] * 30 + [("a", "b")] * 70, [])
    assert compression.standard_error(whole, worse, "accuracy") == pytest.approx((0.2 * 0.8 / 100) ** 0.5, rel=0.1)
    assert compression.standard_error(whole, worse, None) is None
