"""The distillation loss is KL in nats with the gradient that plain ops give; windows of text lose no token."""

import json

import numpy as np
import pytest
import torch

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.data.encode import Example
from edgelora.errors import ConfigError, DataError
from edgelora.training.distill import distill_loss, divergence
from edgelora.training.lora import attach_lora, trainable
from edgelora.training.recipe import Recipe
from edgelora.training.recover import cut_windows, read_texts
from tests import tiny
from tests.parity.architectures import random_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return open_checkpoint(str(tiny.write_checkpoint(tmp_path_factory.mktemp("base") / "tiny")))


def test_value_and_gradient_are_those_of_plain_ops():
    torch.manual_seed(0)
    teacher = torch.randn(7, 50) * 3
    student = (torch.randn(7, 50) * 3).requires_grad_()
    plain = torch.nn.functional.kl_div(
        student.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="sum"
    )
    (expected,) = torch.autograd.grad(plain / 7, student)
    found = divergence(teacher, student)
    (gradient,) = torch.autograd.grad(found / 7, student)
    assert found.item() == pytest.approx(plain.item(), rel=1e-5)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)
    assert divergence(teacher, teacher.clone()).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_the_loss_covers_what_is_learned_and_never_the_padding(name):
    teacher = random_model(name)
    student = random_model(name)
    attach_lora(student, Recipe(rank=3), name)
    for parameter in trainable(student):
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    draw = np.random.default_rng(0)
    batch = [Example(row, tuple(int(token) for token in draw.integers(3, 200, n)), 1) for row, n in enumerate((9, 4))]
    expected = 0.0
    with torch.no_grad():
        for example in batch:
            ids = torch.tensor([example.ids])
            taught, found = (
                model(input_ids=ids).logits[0, :-1].float().log_softmax(-1) for model in (teacher, student)
            )
            expected += float((taught.exp() * (taught - found)).sum())
    loss = distill_loss(teacher, student, batch, CPU)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert expected > 0.1
    loss.backward()
    assert all(parameter.grad is not None for parameter in trainable(student))
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_windows_hold_every_token_once_and_open_like_any_text():
    windows = cut_windows(list(range(10, 30)), [1], 8)
    assert [len(window.ids) for window in windows] == [8, 8, 7]
    assert all(window.ids[0] == 1 and window.prompt_length == 1 for window in windows)
    assert [token for window in windows for token in window.ids[1:]] == list(range(10, 30))
    # A single token left over has nothing to be predicted from.
    assert [window.ids for window in cut_windows([5, 6, 7], [], 2)] == [(5, 6)]
    with pytest.raises(ConfigError, match="--max-length is 2, expected at least 3"):
        cut_windows([5, 6], [1], 2)


def test_text_is_cut_and_rows_count_from_their_first_token(checkpoint, tmp_path):
    text = tmp_path / "corpus.txt"
    text.write_text("\ufeff" + "Zürich, 8001\n" * 10, encoding="utf-8")
    found = read_texts(checkpoint, text, Recipe(max_length=50))
    assert sum(len(example.ids) for example in found.examples) == len("Zürich, 8001\n".encode() * 10)
    assert {len(example.ids) for example in found.examples[:-1]} == {50}

    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps(row) for row in ({"prompt": "hi", "completion": "ho"}, {"text": "ab"}, 3)))
    found = read_texts(checkpoint, rows, Recipe(max_length=99))
    assert [example.prompt_length for example in found.examples] == [1, 1]
    assert len(found.examples[0].ids) > len("hiho") + 10  # rendered with the chat template
    assert [problem.line for problem in found.problems] == [3]


def test_text_that_cannot_be_used_is_refused(checkpoint, tmp_path):
    (tmp_path / "empty.txt").write_text("x")
    (tmp_path / "latin.txt").write_bytes(b"abc\xff")
    for name, reason in (
        ("empty.txt", "too few tokens"),
        ("latin.txt", "is not UTF-8 at byte 3"),
        ("none.txt", "is not a file; expected plain text"),
        ("none.jsonl", "is not a file"),
    ):
        with pytest.raises(DataError, match=reason):
            read_texts(checkpoint, tmp_path / name, Recipe())
