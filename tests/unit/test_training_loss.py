"""The cheap loss equals the plain one: value and gradient, for every architecture, with and without a shared prefix."""

import numpy as np
import pytest
import torch

from edgelora.data.encode import Example
from edgelora.training.lora import attach_lora, trainable
from edgelora.training.loss import common_prefix, completion_loss
from edgelora.training.recipe import Recipe
from tests.parity.architectures import MODELS, random_model

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


def examples(shared: int, lengths: tuple[tuple[int, int], ...], seed: int = 0) -> list[Example]:
    """Examples of (prompt, completion) lengths that open with the same ``shared`` tokens and then differ."""
    draw = np.random.default_rng(seed)
    opening = [int(token) for token in draw.integers(3, 500, shared)]
    return [
        Example(
            row,
            (*opening, 10 + row, *(int(token) for token in draw.integers(3, 500, prompt + answer))),
            shared + 1 + prompt,
        )
        for row, (prompt, answer) in enumerate(lengths)
    ]


def plain_loss(model, batch):
    """Transformers' own loss: right padding, mask, labels of -100."""
    longest = max(len(example.ids) for example in batch)
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    labels = torch.full((len(batch), longest), -100)
    mask = torch.zeros((len(batch), longest), dtype=torch.long)
    for row, example in enumerate(batch):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        labels[row, example.prompt_length : len(example.ids)] = torch.tensor(example.ids[example.prompt_length :])
        mask[row, : len(example.ids)] = 1
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shared", [0, 13])
def test_loss_and_gradient_equal_transformers(name, shared):
    model = random_model(name)
    attach_lora(model, Recipe(rank=3), name)
    parameters = trainable(model)
    for parameter in parameters:
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    batch = examples(shared, ((3, 2), (7, 5), (0, 9)))
    expected = plain_loss(model, batch)
    expected_gradient = torch.autograd.grad(expected, parameters)
    learned = sum(len(example.ids) - example.prompt_length for example in batch)
    found = completion_loss(model, batch, CPU) / learned
    gradient = torch.autograd.grad(found, parameters)
    assert abs(float(found.detach()) - float(expected.detach())) < 1e-5
    for one, other in zip(gradient, expected_gradient, strict=True):
        assert float((one - other).abs().max()) < 1e-5 + 1e-3 * float(other.abs().max())


def test_head_runs_at_completion_positions_alone():
    model = random_model("llama")
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda _module, hidden, _out: seen.append(hidden[0].shape))
    completion_loss(model, examples(9, ((3, 2), (7, 5))), CPU)
    assert seen == [(1, 7, 96)]


def test_plain_text_and_single_rows():
    model = random_model("qwen3")
    for batch in ([Example(1, (5, 6, 7), 1)], [Example(1, (5, 6), 1), Example(2, (5, 9, 4, 4), 1)]):
        learned = sum(len(example.ids) - 1 for example in batch)
        assert abs(completion_loss(model, batch, CPU).item() / learned - plain_loss(model, batch).item()) < 1e-5


def test_common_prefix_stops_before_the_last_prompt_token():
    assert common_prefix([Example(1, (1, 2, 3, 4, 5), 3), Example(2, (1, 2, 3, 4, 6), 4)]) == 2
    assert common_prefix([Example(1, (1, 2, 3), 2), Example(2, (9, 2, 3), 2)]) == 0
    assert common_prefix([Example(1, (1, 2), 1), Example(2, (1, 2), 1)]) == 0
