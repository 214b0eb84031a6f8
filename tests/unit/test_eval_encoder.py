"""``edgelora eval`` for classifiers, taggers and embedders: rows that the artifact answers itself are right."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora.cli import main
from edgelora_runtime import load
from edgelora_runtime.manifest import FEATURE_EXTRACTION, TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION

FOLDER = Path(__file__).parents[2] / "runtime" / "conformance"
TEXTS = ["my order is late", "Anna from Paris", "the mail", "is New York in the city?", "order order order"]


def score(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, artifact: str, rows: list[dict[str, Any]], *arguments: str
) -> dict[str, Any]:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert main(["eval", str(FOLDER / f"encoder-{artifact}"), str(path), "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_labels_are_counted_and_unknown_ones_are_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answers = load(FOLDER / "encoder-topics", task=TEXT_CLASSIFICATION).classify(TEXTS, adapter=["topics"] * 5)
    rows = [{"text": text, "label": item.label} for text, item in zip(TEXTS, answers, strict=True)]
    found = score(capsys, tmp_path, "topics", rows, "--adapter", "topics")
    assert (found["accuracy"], found["macro_f1"], found["n"], found["labels"]) == (1, 1, 5, 3)
    assert found["loss"] == pytest.approx(np.mean([-np.log(item.score) for item in answers]))
    rows[0]["label"] = "sports"
    found = score(capsys, tmp_path, "topics", rows, "--adapter", "topics", "--limit", "2")
    assert (found["accuracy"], found["unknown_labels"], found["n"]) == (0.5, 1, 2)
    assert found["loss"] == pytest.approx(-np.log(answers[1].score))


def test_several_labels_are_right_together(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answers = load(FOLDER / "encoder-topics", task=TEXT_CLASSIFICATION).classify(TEXTS, adapter=["flags"] * 5)
    rows = [{"text": text, "labels": list(item.labels)} for text, item in zip(TEXTS, answers, strict=True)]
    found = score(capsys, tmp_path, "topics", rows, "--adapter", "flags")
    assert (found["accuracy"], found["macro_f1"]) == (1, 1)
    expected = [-np.log(max(score, 1 - score)) for item in answers for score in item.scores.values()]
    assert found["loss"] == pytest.approx(np.mean(expected))
    (tmp_path / "one.jsonl").write_text('{"text": "my", "label": "spam"}')
    assert main(["eval", str(FOLDER / "encoder-topics"), str(tmp_path / "one.jsonl"), "--adapter", "flags"]) == 2
    assert "the rows have one label each, the head of 'flags' gives labels" in capsys.readouterr().err


@pytest.mark.parametrize("adapter", ["places", "plain"])
def test_tags_are_held_to_words_and_spans(capsys: pytest.CaptureFixture[str], tmp_path: Path, adapter: str) -> None:
    model, rows = load(FOLDER / "encoder-tags", task=TOKEN_CLASSIFICATION), []
    for text in TEXTS:
        tokens = text.replace("?", " ?").split()
        tags, joined = ["O"] * len(tokens), " ".join(tokens)
        for span in model.tag(joined, adapter=adapter).spans:
            first, last = joined[: span.start].count(" "), joined[: span.end].count(" ")
            tags[first : last + 1] = [f"B-{span.label}", *[f"I-{span.label}"] * (last - first)]
        rows.append({"tokens": tokens, "tags": tags})
    found = score(capsys, tmp_path, "tags", rows, "--adapter", adapter)
    assert (found["token_f1"], found["entity_f1"], found["n"]) == (1, 1, 5)
    rows[1]["tags"] = ["O"] * len(rows[1]["tags"])
    found = score(capsys, tmp_path, "tags", rows, "--adapter", adapter)
    assert 0 < found["token_f1"] < 1
    assert 0 < found["entity_f1"] < 1


def test_pairs_are_searched_among_all_texts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    texts = [f"{text} {number}" for number in range(4) for text in TEXTS]
    same = [{"anchor": text, "positive": text} for text in texts]
    found = score(capsys, tmp_path, "vectors", same, "--adapter", "four")
    assert (found["recall_at_1"], found["recall_at_10"], found["texts"]) == (1, 1, 20)
    vectors = load(FOLDER / "encoder-vectors", task=FEATURE_EXTRACTION).embed(texts, adapter="four")
    other = [{"anchor": text, "positive": texts[(index + 7) % 20]} for index, text in enumerate(texts)]
    order = np.argsort(-(vectors @ vectors.T), axis=1)
    ranks = [order[index].tolist().index((index + 7) % 20) for index in range(20)]
    found = score(capsys, tmp_path, "vectors", other, "--adapter", "four")
    assert found["recall_at_10"] == pytest.approx(np.mean([rank < 10 for rank in ranks]))


@pytest.mark.parametrize(
    ("artifact", "row", "arguments", "message"),
    [
        ("encoder-topics", {"tokens": ["a"], "tags": ["O"]}, [], "these are rows for --task tagging"),
        ("encoder-topics", {"text": "a", "label": "b"}, ["--adapter", "stars"], "the head of 'stars' gives numbers"),
        ("encoder-topics", {"text": "a", "label": "b"}, ["--raw"], "--raw/--chat: for models that write text"),
        ("encoder-images", {"text": "a", "label": "b"}, [], "classifies images, and rows are texts"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    artifact: str,
    row: dict[str, Any],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    assert main(["eval", str(FOLDER / artifact), str(tmp_path / "rows.jsonl"), *arguments]) == 2
    assert message in capsys.readouterr().err
