"""Layers that compute twice give the same loss and the same gradient, and keep a fraction of the activations."""

import pytest
import torch

from edgelora.data.encode import Example
from edgelora.torch_model.recompute import recompute_layers
from edgelora.training.lora import attach_lora, trainable
from edgelora.training.loss import completion_loss
from edgelora.training.recipe import Recipe
from tests.parity.architectures import MODELS, random_model

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


def batch_of(shared: int) -> list[Example]:
    """Three rows that open with the same ``shared`` tokens and then differ."""
    torch.manual_seed(0)
    opening = torch.randint(3, 500, (shared,)).tolist()
    rows = [torch.randint(3, 500, (size,)).tolist() for size in (6, 13, 10)]
    return [Example(row, (*opening, 10 + row, *rest), shared + 3) for row, rest in enumerate(rows)]


@pytest.mark.parametrize(("name", "shared"), [*((name, 13) for name in MODELS), ("llama", 0), ("gpt2", 0)])
def test_loss_and_gradient_are_the_same_and_less_is_kept(name, shared):
    model = random_model(name)
    attach_lora(model, Recipe(rank=3), name)
    parameters = trainable(model)
    torch.manual_seed(1)
    for parameter in parameters:
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    found = []
    for forgetful in (False, True):
        if forgetful:
            recompute_layers(model)
        kept: list[int] = []

        def note(tensor, kept=kept):
            kept.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = completion_loss(model, batch_of(shared), CPU)
        found.append((float(loss.detach()), torch.autograd.grad(loss, parameters), sum(kept)))
    (loss, gradient, kept_bytes), (again, repeated, few_bytes) = found
    assert again == loss
    assert all(torch.equal(one, other) for one, other in zip(gradient, repeated, strict=True))
    assert few_bytes < kept_bytes / 4


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_without_gradients_nothing_changes(name):
    model = random_model(name)
    ids = torch.tensor([[5, 9, 300, 41, 7]])
    with torch.inference_mode():
        before = model(ids, use_cache=True)
        recompute_layers(model)
        after = model(ids, use_cache=True)
        following = model(torch.tensor([[8]]), past_key_values=after.past_key_values, use_cache=True)
        whole = model(torch.tensor([[5, 9, 300, 41, 7, 8]]), use_cache=False)
    assert torch.equal(before.logits, after.logits)
    assert torch.allclose(following.logits[0, -1], whole.logits[0, -1], atol=1e-4)


def test_a_cache_that_is_filled_with_gradients_can_be_read_on():
    model = random_model("llama")
    recompute_layers(model)
    first = model(torch.tensor([[5, 9, 300]]), use_cache=True)
    second = model(torch.tensor([[41, 7]]), past_key_values=first.past_key_values, use_cache=True)
    third = model(torch.tensor([[8]]), past_key_values=second.past_key_values, use_cache=True)
    whole = model(torch.tensor([[5, 9, 300, 41, 7, 8]]), use_cache=False)
    assert third.past_key_values.get_seq_length() == 6
    assert torch.allclose(third.logits[0, -1], whole.logits[0, -1], atol=1e-4)
