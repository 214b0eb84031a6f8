"""Rows with labels, tags and pairs: what is read, what is listed by its line, and the tokens that are learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.task import with_head
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.data.encode_labelled import NOT_LEARNED, Labelled, Pair, encode_labelled
from edgelora.data.labelled import LabelledRow, LabelledRows, PairRow, TaggedRow, balanced_weights, read_labelled
from edgelora.errors import DataError
from edgelora.evaluation.calibrate import fit_temperature, mean_surprise
from edgelora.evaluation.metrics import entity_f1, label_f1, recall_at, token_f1
from edgelora.torch_model.build import load_torch
from edgelora.training.run import hold_back
from edgelora.training.task_loss import SCALE, TaskModel, label_loss, pair_loss, read_outputs
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    MULTI_LABEL,
    TEXT_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    HeadInfo,
)
from edgelora_runtime.text import Tokenizer
from tests.parity.encoders import random_encoder, write_encoder


def _write(path: Path, *rows: object) -> Path:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def test_labels_are_sorted_and_problems_keep_their_lines(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "rows.jsonl",
        {"text": "one", "label": "b"},
        {"text": " ", "label": "b"},
        {"text": "two", "label": 7},
        {"text": "three", "label": ["a"]},
        {"text": "four", "labels": ["a"]},
        {"text": "five", "label": "two\nlines"},
        {"tokens": ["a"], "tags": ["O"]},
        "no json",
        {"text": "half \ud83d", "label": "a"},
        {"text": "six", "label": " a "},
    )
    rows = read_labelled(path, TEXT_CLASSIFICATION)
    assert rows.labels == ("7", "a", "b")
    assert not rows.many
    assert [row.line for row in rows.rows] == [1, 3, 10]
    told = {problem.line: problem.reason for problem in rows.problems}
    assert list(told) == [2, 4, 5, 6, 7, 8, 9]
    assert told[2] == "text is empty or no string"
    assert told[4].startswith("label is ['a'], expected text in one line")
    assert told[5] == "has labels, the rows before it have label"
    assert told[7] == "has the keys ['tags', 'tokens']"
    assert told[9] == "not JSON (half of a surrogate pair, which is no character)"
    numbers = _write(tmp_path / "numbers.jsonl", *({"text": "x", "label": index} for index in (10, 9, 2)))
    assert read_labelled(numbers, TEXT_CLASSIFICATION).labels == ("2", "9", "10")


def test_several_labels_come_from_lists_and_from_cells(tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.jsonl", {"text": "one", "labels": ["b", "a", "b"]}, {"text": "two", "labels": []})
    rows = read_labelled(path, TEXT_CLASSIFICATION)
    assert rows.rows == (LabelledRow(1, "one", ("b", "a"), many=True), LabelledRow(2, "two", (), many=True))
    assert rows.many
    table = _write(tmp_path / "rows.csv", "text,labels", '"one","[""a""]"', "two,[]", "three,a")
    found = read_labelled(table, TEXT_CLASSIFICATION)
    assert [row.labels for row in found.rows if isinstance(row, LabelledRow)] == [("a",), ()]
    assert found.problems[0].reason == "labels is 'a', expected a list"
    assert balanced_weights(rows, ("a", "b")) == [1.0, 1.0]


def test_conll_files_hold_sentences(tmp_path: Path) -> None:
    path = tmp_path / "rows.conll"
    path.write_text(
        "-DOCSTART- -X- O O\n\n# sent_id = 1\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nbroken\n\n# O\nfine\tB-X\n",
        encoding="utf-8",
    )
    rows = read_labelled(path, TOKEN_CLASSIFICATION)
    assert rows.rows == (TaggedRow(4, ("EU", "rejects"), ("B-ORG", "O")), TaggedRow(9, ("#", "fine"), ("O", "B-X")))
    assert [(problem.line, problem.reason) for problem in rows.problems] == [(7, "line 7 has a token and no tag")]
    uneven = _write(tmp_path / "rows.jsonl", {"tokens": ["a", "b"], "tags": ["O"]}, {"tokens": [], "tags": []})
    with pytest.raises(
        DataError, match="line 1: has 2 tokens and 1 tags; line 2: tokens and tags are no lists, or emp"
    ):
        read_labelled(uneven, TOKEN_CLASSIFICATION)


def test_pairs_may_have_a_negative(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "rows.jsonl",
        {"anchor": "a", "positive": "b"},
        {"anchor": "a", "positive": "b", "negative": "c"},
        {"anchor": "a", "positive": ""},
    )
    rows = read_labelled(path, FEATURE_EXTRACTION)
    assert rows.rows == (PairRow(1, "a", "b"), PairRow(2, "a", "b", "c"))
    assert rows.problems[0].reason == "positive is empty or no string"


def test_rare_labels_weigh_more() -> None:
    rows = [LabelledRow(index, "x", ("rare" if index == 0 else "common",)) for index in range(4)]
    assert balanced_weights(LabelledRows(tuple(rows), ()), ("common", "rare")) == [4 / 6, 2.0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_encoder(random_encoder("bert", FEATURE_EXTRACTION), tmp_path / "base")


@pytest.fixture
def tokenizer(folder: Path) -> Tokenizer:
    return open_tokenizer(open_checkpoint(str(folder)))


def test_a_long_text_loses_its_end_and_is_counted(tokenizer: Tokenizer) -> None:
    rows = LabelledRows((LabelledRow(1, "the a of to in it", ("b",)), LabelledRow(2, "the", ("c",))), ())
    encoded = encode_labelled(rows, tokenizer, ("a", "b"), 5, "rows")
    first = encoded.examples[0]
    assert (len(first.ids), first.ids[0], first.ids[-1], first.targets) == (5, 1, 2, (1,))
    assert encoded.cut == 1
    assert encoded.problems[0].reason == "label 'c' is none of those that are trained"


def test_tags_are_learned_where_the_device_reads_words(tokenizer: Tokenizer) -> None:
    labels = ("B-X", "I-X", "O", "OTHER")
    rows = LabelledRows((TaggedRow(1, ("the", "to.in", "a"), ("O", "B-X", "OTHER")),), ())
    (found,) = encode_labelled(rows, tokenizer, labels, 40, "rows").examples
    # [CLS] the to . in a [SEP]: what follows in one token of the row goes on with its span
    assert found.targets == (NOT_LEARNED, 2, 0, 1, 1, 3, NOT_LEARNED)
    assert found.learned == 5


def test_label_losses_are_those_of_torch(folder: Path) -> None:
    checkpoint = with_head(open_checkpoint(str(folder), TEXT_CLASSIFICATION), HeadInfo(tuple("abc")))
    reader = TaskModel(load_torch(checkpoint, None), checkpoint.task, torch.device("cpu"))
    examples = [Labelled(1, (1, 5, 2), (2,)), Labelled(2, (1, 5, 6, 7, 2), (0,))]
    weights = torch.tensor([1.0, 2.0, 3.0])
    alone = [reader.read([example.ids])[0] for example in examples]
    expected = sum(
        weights[item.targets[0]] * torch.nn.functional.cross_entropy(row, torch.tensor(item.targets[0]))
        for row, item in zip(alone, examples, strict=True)
    )
    torch.testing.assert_close(label_loss(reader, weights, examples), expected)
    logits, targets = read_outputs(reader, examples, 1)
    assert (logits.shape, sorted(targets.tolist())) == ((2, 3), [0, 2])
    several = with_head(checkpoint, HeadInfo(tuple("abc"), MULTI_LABEL))
    many = TaskModel(reader.model, several.task, reader.device)
    texts = [Labelled(1, (1, 5, 2), (1, 0, 1)), Labelled(2, (1, 5, 6, 7, 2), (0, 0, 0))]
    wanted = torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    mean = torch.nn.functional.binary_cross_entropy_with_logits(torch.stack(alone), wanted, reduction="sum") / 3
    torch.testing.assert_close(label_loss(many, None, texts), mean)


def test_a_text_that_stands_twice_is_no_wrong_answer(folder: Path) -> None:
    checkpoint = open_checkpoint(str(folder))
    reader = TaskModel(load_torch(checkpoint, None), checkpoint.task, torch.device("cpu"))
    one, two, three = (1, 5, 2), (1, 8, 9, 2), (1, 30, 2)
    pairs = [Pair(1, one, two), Pair(2, three, two), Pair(3, two, one, three)]
    near, far = (
        torch.nn.functional.normalize(reader.read(rows), dim=-1) for rows in ([one, three, two], [two, one, three])
    )
    scores = SCALE * near @ far.T  # the second positive is the first's
    expected = -(scores.log_softmax(1)[[0, 1], [0, 0]].sum() + torch.cat([scores[2, [0, 0, 1, 2]]]).log_softmax(0)[2])
    torch.testing.assert_close(pair_loss(reader, pairs), expected)


def test_a_temperature_undoes_a_scale() -> None:
    drawn = np.random.default_rng(0)
    logits = drawn.normal(size=(4000, 3)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.array([drawn.choice(3, p=row) for row in shares])
    assert fit_temperature((logits * 4).astype(np.float32), targets) == pytest.approx(4, rel=0.1)
    several = (drawn.random((4000, 3)) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    assert fit_temperature((logits / 3).astype(np.float32), several) == pytest.approx(1 / 3, rel=0.1)
    assert mean_surprise(np.zeros((2, 4)), np.array([0, 3])) == pytest.approx(np.log(4))


def test_a_tenth_is_held_back_where_there_are_rows_enough() -> None:
    assert hold_back(range(199), 0) == (tuple(range(199)), ())
    kept, held = hold_back(range(200), 0)
    assert len(held) == 20
    assert sorted((*kept, *held)) == list(range(200))
    assert hold_back(range(200), 0) == (kept, held)
    assert hold_back(range(200), 1) != (kept, held)


def test_spans_and_tags_are_scored_as_the_format_reads_them() -> None:
    expected = [["B-X", "I-X", "O", "B-Y"], ["O"]]
    assert entity_f1(expected, [["B-X", "I-X", "O", "I-Y"], ["O"]]) == 1.0
    assert entity_f1(expected, [["B-X", "B-X", "O", "B-Y"], ["O"]]) == pytest.approx(2 / 5)
    assert entity_f1([["A", "A", "B"]], [["A", "A", "B"]]) == 1.0
    assert token_f1(expected, [["B-X", "O", "O", "B-Y"], ["B-X"]]) == pytest.approx(4 / 6)
    assert label_f1([["a", "b"], []], [["a"], ["b"]]) == pytest.approx(0.5)


def test_recall_counts_what_is_nearer_than_the_own_text() -> None:
    texts = np.array([[1, 0], [0, 1], [1, 0.2]], np.float32)
    anchors = np.array([[1, 0.05], [0, 2]], np.float32)
    assert recall_at(1, anchors, texts, [0, 1]) == 1.0
    assert recall_at(1, anchors, texts, [1, 1]) == 0.5
    assert recall_at(3, anchors, texts, [1, 1]) == 1.0
