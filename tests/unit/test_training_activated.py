"""Training an activated adapter: the loss and gradient are PEFT's own, however little of the batch is computed."""

import dataclasses

import numpy as np
import pytest
import torch

from edgelora.data.encode import Example
from edgelora.data.invocation import read_invocation
from edgelora.errors import ConfigError
from edgelora.torch_model.activated import Activation, is_activated
from edgelora.torch_model.recompute import recompute_layers
from edgelora.training.lora import attach_lora, trainable
from edgelora.training.loss import completion_loss
from edgelora.training.recipe import Recipe
from edgelora_runtime.invocation import find_last
from tests.opened import open_parts
from tests.parity.architectures import random_model

CPU = torch.device("cpu")
CALL = (7, 8)


pytestmark = pytest.mark.usefixtures("one_thread")


def examples(shared: int, called_early: bool) -> list[Example]:
    """Rows that open with the same tokens; where called early, they call within these, and only that once."""
    draw = np.random.default_rng(0)
    opening = [int(token) for token in draw.integers(20, 500, shared)]
    if called_early:
        opening[4:6] = CALL
    found = []
    for row, (prompt, answer) in enumerate(((3, 2), (9, 5), (0, 9))):
        middle, end = ([int(token) for token in draw.integers(20, 500, size)] for size in (prompt, answer))
        ids = (*opening, 10 + row, *middle, *(() if called_early else CALL), 9, *end)
        start = find_last(ids, CALL)
        assert start is not None
        found.append(Example(row, ids, len(ids) - answer, start))
    return found


def loss_of_peft(wrapped, batch):
    """The sum over a padded batch; PEFT looks for the invocation itself."""
    longest = max(len(example.ids) for example in batch)
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    labels = torch.full((len(batch), longest), -100)
    for row, example in enumerate(batch):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        labels[row, example.prompt_length : len(example.ids)] = torch.tensor(example.ids[example.prompt_length :])
    return wrapped(input_ids=ids, labels=labels).loss * sum(example.learned for example in batch)


@pytest.mark.parametrize("forgetful", [False, True])
@pytest.mark.parametrize("called_early", [False, True])
@pytest.mark.parametrize(("name", "shared"), [("llama", 13), ("llama", 6), ("gpt2", 13), ("qwen3", 13)])
def test_loss_and_gradient_equal_peft(name, shared, called_early, forgetful):
    model = random_model(name)
    wrapped = attach_lora(model, Recipe(rank=3), name, invocation=CALL)
    assert is_activated(model)
    parameters = trainable(model)
    torch.manual_seed(1)
    for parameter in parameters:
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    batch = examples(shared, called_early)
    expected = loss_of_peft(wrapped, batch)
    expected_gradient = torch.autograd.grad(expected, parameters)
    activation = Activation(model)
    if forgetful:
        recompute_layers(model)
    found = completion_loss(model, batch, CPU, activation)
    gradient = torch.autograd.grad(found, parameters)
    assert abs(float(found.detach()) - float(expected.detach())) < 1e-4
    for one, other in zip(gradient, expected_gradient, strict=True):
        assert float((one - other).abs().max()) < 1e-4 + 1e-3 * float(other.abs().max())
    with wrapped.disable_adapter():
        plain = completion_loss(model, batch, CPU, activation)
    assert abs(float(plain.detach()) - float(found.detach())) > 0.01


def test_a_single_row_and_a_call_at_the_start():
    model = random_model("llama")
    wrapped = attach_lora(model, Recipe(rank=3), "llama", invocation=CALL)
    for parameter in trainable(model):
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    for batch in (
        [Example(1, (30, *CALL, 9, 41, 42), 4, 1)],
        [Example(1, (*CALL, 9, 41), 3), Example(2, (*CALL, 9), 2)],
    ):
        expected = float(loss_of_peft(wrapped, batch).detach())
        found = float(completion_loss(model, batch, CPU, Activation(model)).detach())
        assert abs(found - expected) < 1e-4


def test_the_invocation_is_the_generation_prompt_or_a_text(shared_artifact):
    tokenizer = open_parts(shared_artifact, threads=1).model.tokenizer
    found = read_invocation(tokenizer, None)
    assert tokenizer.decode(found, special=True) == "<|im_start|>assistant\n"
    asked = tokenizer.encode_chat([{"role": "user", "content": "say one"}])
    assert find_last(asked, found) == len(asked) - len(found)
    assert tokenizer.decode(read_invocation(tokenizer, "<|im_start|>x"), special=True) == "<|im_start|>x"
    with pytest.raises(ConfigError, match="--raw leaves it out; give --invocation TEXT"):
        read_invocation(tokenizer, None, raw=True)
    with pytest.raises(ConfigError, match="--invocation '' has no tokens"):
        read_invocation(tokenizer, "")


def test_an_invocation_needs_an_activated_adapter():
    with pytest.raises(ConfigError, match="give --activated as well"):
        Recipe(invocation="x")
    assert dataclasses.asdict(Recipe(activated=True))["activated"] is True
