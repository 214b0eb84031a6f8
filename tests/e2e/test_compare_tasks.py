"""A comparison of a classifier and of an embedder: every arm has its row, and a second run trains nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgelora.checkpoint.task import TASK_WORDS
from edgelora.cli import main
from tests.parity.encoders import random_encoder, write_encoder

_WORDS = "abcdefgh"
_ROWS = {
    "classification": [{"text": f"the {word} of it", "label": "xy"[_WORDS.index(word) % 2]} for word in _WORDS],
    "embedding": [{"anchor": f"the {word} of it", "positive": f"it {word}"} for word in _WORDS],
}


@pytest.mark.parametrize(("word", "metric"), [("classification", "accuracy"), ("embedding", "recall_at_1")])
def test_every_way_to_ship_an_encoder_has_its_row(
    word: str, metric: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_encoder(random_encoder("bert", TASK_WORDS["embedding"]), tmp_path / "base")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in _ROWS[word]), encoding="utf-8")
    options = ["--task", word, "--quant", "int4", "--block-size", "16", "--method", "none", "--seeds", "0"]
    options += ["--rank", "2", "--max-steps", "2", "--json"]
    command = ["compare", str(base), str(rows), "--eval-data", str(rows), "-o", str(tmp_path / "report"), *options]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    bases = ["base-float", "base-grid"] if word == "embedding" else []  # this base has no classifier of its own
    assert [arm["name"] for arm in found["arms"]] == [*bases, "float", "float-merged", "float-factored", "grid"]
    assert found["metric"] == metric
    assert found["trained"] == ["float-seed0", "grid-seed0"]
    assert all(arm["decode_ms"] is None for arm in found["arms"])
    page = (tmp_path / "report/report.md").read_text(encoding="utf-8")
    expected = "Loss is the mean (nats) over the 8 rows" if word == "classification" else "what recall at 1 lacks to 1"
    assert expected in page
    assert f"--task {word}" in page
    assert main(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["trained"] == []
    assert again["arms"] == found["arms"]
