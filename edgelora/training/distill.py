"""The losses of a recovery adapter: how far the model on the grid is from the float model, token by token.

two torch models, Example -> loss

Source: knowledge distillation (Hinton et al. 2015, arXiv:1503.02531) at temperature 1, from the float weights of the
same checkpoint, as LLM-QAT (Liu et al. 2023, arXiv:2305.17888) does for a quantized student.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from edgelora.data.encode import Example
from edgelora.training.loss import logits_at, pad_examples


def distill_loss(teacher: Any, student: Any, examples: Sequence[Example], device: torch.device) -> torch.Tensor:
    """Sum of KL(teacher || student) in nats over the positions that predict a learned token; differentiable.

    Both models speak the same vocabulary. The teacher's answers are computed here and never kept.
    """
    ids, learned = pad_examples(examples, device)
    predicting = learned[:, 1:]  # position t predicts t + 1; the last position predicts nothing
    with torch.no_grad():
        taught = logits_at(teacher, predicting, input_ids=ids[:, :-1], use_cache=False)
    found = logits_at(student, predicting, input_ids=ids[:, :-1], use_cache=False)
    return divergence(taught.float(), found.float())


def hidden_loss(teacher: Any, student: Any, examples: Sequence[Example], device: torch.device) -> torch.Tensor:
    """Sum over tokens of the share of the teacher's last hidden state that the student's is off, squares over squares.

    Both read a text once; what stands behind their layers has no say.
    """
    padding = getattr(student.config, "pad_token_id", None) or 0
    longest = max(len(example.ids) for example in examples)
    rows = [(*example.ids, *[padding] * (longest - len(example.ids))) for example in examples]
    ids = torch.tensor(rows, device=device)
    lengths = torch.tensor([len(example.ids) for example in examples], device=device)
    mask = (torch.arange(longest, device=device) < lengths[:, None]).long()
    with torch.no_grad():
        taught = teacher.base_model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    found = student.base_model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    off = (found - taught).square().sum(-1) / taught.square().sum(-1).clamp(min=1e-12)
    total: torch.Tensor = (off * mask).sum()
    return total


def divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Sum over rows of KL(teacher || student) in nats, of logits (n, vocab_size); only the student gets a gradient."""
    total: torch.Tensor = _Divergence.apply(teacher, student)  # type: ignore[no-untyped-call]
    return total


class _Divergence(torch.autograd.Function):
    """The vocabulary is the largest axis there is: one array is kept for the gradient, where plain ops keep four."""

    @staticmethod
    def forward(ctx: Any, teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
        expected = torch.log_softmax(teacher, -1)
        found = torch.log_softmax(student, -1)
        shares = expected.exp()
        total = (shares * expected.sub_(found)).sum()
        ctx.save_for_backward(found.exp_().sub_(shares))  # the derivative: softmax(student) - softmax(teacher)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        (derivative,) = ctx.saved_tensors
        return None, derivative * gradients[0]
