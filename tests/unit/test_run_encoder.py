"""``edgelora run`` for classifiers, taggers and embedders: what it says, in lines and in JSON, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgelora.cli import main
from edgelora_runtime import load
from edgelora_runtime.manifest import FEATURE_EXTRACTION, TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION

FOLDER = Path(__file__).parents[2] / "runtime" / "conformance"


def run(capsys: pytest.CaptureFixture[str], artifact: str, *arguments: str) -> str:
    assert main(["run", str(FOLDER / f"encoder-{artifact}"), *arguments]) == 0
    return capsys.readouterr().out


def told(capsys: pytest.CaptureFixture[str], artifact: str, *arguments: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = json.loads(run(capsys, artifact, *arguments, "--json"))["results"]
    return results


def test_a_text_is_classified(capsys: pytest.CaptureFixture[str]) -> None:
    model = load(FOLDER / "encoder-topics", task=TEXT_CLASSIFICATION)
    found = model.classify("my order", adapter="topics")
    arguments = ("--classify", "--adapter", "topics", "--prompt", "my order")
    assert run(capsys, "topics", *arguments) == f"{found.label}\t{found.score:.4f}\n"
    (result,) = told(capsys, "topics", *arguments)
    assert result["scores"] == pytest.approx(dict(found.scores))
    assert (result["text"], result["adapter"], result["truncated"]) == ("my order", "topics", False)
    assert "(text cut)" in run(capsys, "topics", "--prompt", "my order " * 40)


def test_every_adapter_is_asked_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    model = load(FOLDER / "encoder-topics", task=TEXT_CLASSIFICATION)
    lines = run(capsys, "topics", "--each", "--prompt", "my order").splitlines()
    assert [line.split()[0] for line in lines] == ["adapter", *model.adapters]
    (result,) = told(capsys, "topics", "--each", "--prompt", "my order")
    assert list(result["adapters"]) == list(model.adapters)


def test_a_file_of_texts_with_adapters_of_their_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [{"text": "my order"}, {"prompt": "Anna", "adapter": "stars"}, {"text": "", "label": "unread"}]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    results = told(capsys, "topics", "--file", str(path), "--adapter", "flags")
    assert [item["adapter"] for item in results] == ["flags", "stars", "flags"]
    assert [len(item["scores"]) for item in results] == [4, 1, 4]


def test_spans_and_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Anna from  New York"
    tagged = load(FOLDER / "encoder-tags", task=TOKEN_CLASSIFICATION).tag(text, adapter="places")
    (result,) = told(capsys, "tags", "--tag", "--adapter", "places", "--prompt", text)
    assert [(item["start"], item["end"]) for item in result["spans"]] == [(s.start, s.end) for s in tagged.spans]
    assert len(run(capsys, "tags", "--adapter", "places", "--prompt", text).splitlines()) == len(tagged.spans)
    assert run(capsys, "tags", "--adapter", "places", "--prompt", " ") == "no spans\n"
    vector = load(FOLDER / "encoder-vectors", task=FEATURE_EXTRACTION).embed(text, adapter="four")
    (result,) = told(capsys, "vectors", "--embed", "--adapter", "four", "--prompt", text)
    assert result["vector"] == pytest.approx(vector.tolist())
    assert run(capsys, "vectors", "--prompt", text).startswith("16 numbers: ")


@pytest.mark.parametrize(
    ("artifact", "arguments", "message"),
    [
        ("encoder-topics", ["--tag"], "--tag: tiny-text-classification is for text-classification; give --classify"),
        ("encoder-tags", ["--classify", "--tag"], "--classify --tag: tiny-token-classification is for token-class"),
        ("encoder-tags", ["--each"], "--each is for classifiers"),
        ("encoder-images", [], "classifies images, and a command line has none"),
        ("encoder-topics", ["--choices", "a"], "makes no text; leave out --raw, --choices"),
        ("encoder-topics", ["--temperature", "0.5"], "makes no text"),
        ("encoder-headless", ["--classify"], "has no head of its own; use an adapter: flags, probe"),
        ("tiny-float", ["--embed"], "is for text-generation; give none of them"),
    ],
)
def test_what_an_artifact_is_not_for_is_one_line(
    capsys: pytest.CaptureFixture[str], artifact: str, arguments: list[str], message: str
) -> None:
    assert main(["run", str(FOLDER / artifact), "--prompt", "my order", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_nobody_chats_with_a_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", str(FOLDER / "encoder-topics")]) == 2
    assert "encoder-topics is for text-classification, expected text-generation" in capsys.readouterr().err
