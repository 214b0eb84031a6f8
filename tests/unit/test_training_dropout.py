"""What a step drops out follows from its number alone, and nothing else is dropped out."""

import pytest
import torch

from edgelora.training.dropout import dropping_out
from edgelora.training.lora import attach_lora, trainable
from edgelora.training.recipe import Recipe
from tests.parity.architectures import random_model

IDS = torch.tensor([[5, 9, 300, 41, 7, 7, 120, 499, 3, 18, 77]])


pytestmark = pytest.mark.usefixtures("one_thread")


def adapted(name, dropout):
    """A model with random factors, so that what enters them counts."""
    model, options = random_model(name), Recipe(rank=3, dropout=dropout)
    wrapped = attach_lora(model, options, name)
    torch.manual_seed(1)
    for parameter in trainable(model):
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    assert wrapped.peft_config["default"].lora_dropout == dropout
    return model, options


@pytest.mark.parametrize("name", ["llama", "gpt2"])  # without dropout of its own, and with
def test_a_step_drops_out_the_same_whenever_it_is_taken(name):
    model, options = adapted(name, 0.3)
    with torch.inference_mode():
        before = model(IDS).logits
        torch.manual_seed(4)
        expected_draw = torch.rand(3)
        torch.manual_seed(4)
        found = []
        for step in (0, 1, 0):
            with dropping_out(model, options, step):
                found.append(model(IDS).logits)
        assert torch.equal(torch.rand(3), expected_draw)
        assert torch.equal(model(IDS).logits, before)
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], before)


def test_without_dropout_a_step_answers_as_the_model():
    model, options = adapted("gpt2", 0.0)
    with torch.inference_mode(), dropping_out(model, options, 0):
        inside = model(IDS).logits
    with torch.inference_mode():
        assert torch.equal(model(IDS).logits, inside)


def test_a_step_that_fails_leaves_nothing_dropped_out():
    model, options = adapted("llama", 0.3)
    with torch.inference_mode():
        before = model(IDS).logits
        with pytest.raises(ValueError, match="broken"), dropping_out(model, options, 0):
            raise ValueError("broken")
        assert torch.equal(model(IDS).logits, before)
