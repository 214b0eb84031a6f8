"""The benchmark of encoders: what the torch arms read, what is not run twice, and the page.

Knows nothing about training: the arms stand still.
"""

import random
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from benchmarks import encoders
from benchmarks.encoder_page import write_page
from benchmarks.encoder_torch import Item, batches, label_names, pad, score
from benchmarks.encoders import Figures, Learning, Work, run_arm


def test_batches_hold_every_row_once_and_rows_of_like_length_together() -> None:
    items = [Item([7] * (1 + index % 40), index % 3) for index in range(100)]
    made = list(batches(items, 8, random.Random(0)))
    assert sorted(id(item) for batch in made for item in batch) == sorted(map(id, items))
    assert {len(batch) for batch in made} == {8, 4}
    spread = [max(len(item.ids) for item in batch) - min(len(item.ids) for item in batch) for batch in made]
    assert max(spread) < 10
    assert made != list(batches(items, 8, random.Random(1)))


def test_padding_is_masked_and_its_tags_are_left_out_of_the_loss() -> None:
    ids, mask, targets = pad([Item([5, 6, 7], [1, -100, 2]), Item([8], [3])])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert targets.tolist() == [[1, -100, 2], [3, -100, -100]]
    assert torch.equal(pad([Item([5], 2), Item([6], 0)])[2], torch.tensor([2, 0]))


def test_labels_are_those_of_rows_or_of_words() -> None:
    assert label_names([{"text": "a", "label": "x"}, {"text": "b", "label": "a"}]) == ["a", "x"]
    assert label_names([{"tokens": ["a", "b"], "tags": ["O", "B-x"]}]) == ["B-x", "O"]
    assert score([["a"], ["b"]], [["a"], ["a"]], is_tagging=False)["accuracy"] == 0.5
    assert score([["B-a", "I-a"], ["O"]], [["I-a", "I-a"], ["O"]], is_tagging=True) == {"token_f1": 1, "entity_f1": 1}


def test_an_arm_with_the_same_options_is_not_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(encoders, "BUILD", tmp_path)
    seen: list[Work] = []

    def arm(work: Work) -> Figures:
        seen.append(work)
        return Figures({"accuracy": 0.5}, 7, 0.25, 100)

    monkeypatch.setattr(encoders, "ARMS", {"full": arm})
    work = Work("icd", 0, 10, 20, Learning(2, 5e-4), Learning(2, 2e-3), threads=2)
    first = run_arm(work, "full")
    assert run_arm(replace(work, threads=1), "full") == first
    assert run_arm(replace(work, lora=Learning(9, 1e-3, 0.2)), "full") == first  # which does not concern it
    assert len(seen) == 1
    for other in (replace(work, rows=11), replace(work, seed=1), replace(work, full=Learning(3, 5e-4))):
        run_arm(other, "full")
    assert len(seen) == 4


def test_the_page_compares_seed_by_seed() -> None:
    def items(*scores: float) -> list[dict[str, object]]:
        return [
            {"scores": {"accuracy": value, "macro_f1": value / 2}, "trained": 1234, "cpu_minutes": 1.5, "bytes": 9e7}
            for value in scores
        ]

    arms = {"full": items(0.9, 0.8), "grid-int8": items(0.91, 0.78)}
    found = {
        "title": "News", "figures": ["accuracy", "macro_f1"], "train": 10, "heldout": 5, "arms": arms,
        "date": "today", "machine": {"cpu": "one", "cores": 2, "onnxruntime": "1"}, "seeds": [0, 1],
        "full": asdict(Learning(2, 5e-4)), "lora": asdict(Learning(9, 2e-3, 0.1)),
    }  # fmt: skip
    page = write_page({"model": "tiny", "rank": 8, "sets": {"news": found}})
    told = (
        "10 rows learned, 5 held out: full fine-tuning 2 times at 0.0005, adapters 9 times at 0.002 with dropout 0.1."
    )
    assert f"{told} Seeds 0, 1. one, onnxruntime 1, today." in page
    assert "| 85.0 (80.0 to 90.0) |  | 42.5 (40.0 to 45.0) | 1,234 | 1.5 | 90.0 |" in page
    assert "| `grid-int8`, LoRA on the int8 values that ship | 84.5 (78.0 to 91.0) | -0.5 |" in page
