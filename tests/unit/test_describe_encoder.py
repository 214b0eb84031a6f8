"""``edgelora inspect``, ``bench`` and ``adapter list`` for artifacts of encoders."""

import json
from pathlib import Path

import pytest

from edgelora.cli import main

FOLDER = Path(__file__).parents[2] / "runtime" / "conformance"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_an_artifact_is_described_with_its_task_head_and_labels(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "inspect", str(FOLDER / "encoder-topics"))
    for line in (
        "task       text-classification, 16 wide",
        "labels     3: billing, delivery, other",
        "head       bert.pooler.dense.weight, bert.pooler.dense.bias, classifier.weight, classifier.bias",
        "4: urgent, angry, spam, question",
    ):
        assert line in lines
    assert "cache" not in lines
    lines = said(capsys, "inspect", str(FOLDER / "encoder-headless"))
    assert "of adapters alone: the base has no whole head" in lines
    assert "images of 3x2x4" in said(capsys, "inspect", str(FOLDER / "encoder-images"))
    data = json.loads(said(capsys, "inspect", str(FOLDER / "encoder-vectors"), "--json"))
    assert (data["task"], data["encoder"]["output"]) == ("feature-extraction", "embeddings")


def test_an_adapter_folder_is_described_with_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "inspect", str(FOLDER / "encoder-adapters/head-alone"))
    assert "head       classifier.bias [3], classifier.weight [3, 16]" in lines
    assert "rank       none, a head alone" in lines
    listed = json.loads(said(capsys, "adapter", "list", str(FOLDER / "encoder-headless"), "--json"))["adapters"]
    assert [(item["name"], item["rank"], len(item["head"]["labels"])) for item in listed] == [
        ("flags", 4, 4),
        ("probe", 0, 3),
    ]


@pytest.mark.parametrize("name", ["topics", "headless", "tags", "vectors", "images"])
def test_every_task_is_measured(capsys: pytest.CaptureFixture[str], name: str) -> None:
    found = json.loads(said(capsys, "bench", str(FOLDER / f"encoder-{name}"), "--rounds", "2", "--json"))
    specs = list(found["text_ms"])
    assert ("none" in specs) == (name not in ("headless", "tags"))
    assert all(item["p10"] > 0 for item in found["text_ms"].values())
    assert found["ratio"][specs[0]] == 1
    assert (found["each_ms"] is not None) == (len(specs) > 1)
    assert 0 < found["swap_ms"] < found["load_ms"]
    assert "switch" in said(capsys, "bench", str(FOLDER / f"encoder-{name}"), "--rounds", "1")
