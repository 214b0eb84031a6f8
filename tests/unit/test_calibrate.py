"""Calibration: second moments of what each linear is really handed, under the checkpoint's own tensor names."""

import numpy as np
import pytest
import torch

from edgelora.checkpoint.names import is_layer_linear, is_transposed
from edgelora.errors import DataError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.moments import calibrate, weigh_inputs
from tests.parity.architectures import checkpoint_of, random_model

SEQUENCES = [[1, 5, 9, 2], [7, 7, 3], [4]]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_moments_are_those_of_the_inputs(name: str) -> None:
    checkpoint = checkpoint_of(random_model(name), name)
    found = calibrate(checkpoint, SEQUENCES)
    assert (found.rows, found.tokens) == (3, 8)
    model = load_torch(checkpoint, None)
    modules = dict(model.named_modules())
    for tensor in list(found.hessians)[:6]:
        seen: list[torch.Tensor] = []
        handle = modules[tensor.removesuffix(".weight")].register_forward_pre_hook(
            lambda _module, inputs, seen=seen: seen.append(inputs[0][0])
        )
        with torch.inference_mode():
            for sequence in SEQUENCES:
                model(torch.tensor([sequence]))
        handle.remove()
        inputs = torch.cat(seen).numpy()
        np.testing.assert_allclose(found.hessians[tensor], inputs.T @ inputs / 8, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gemma2", "gpt2", "phi3", "qwen3"])
def test_every_linear_of_the_layers_is_watched(name: str) -> None:
    checkpoint = checkpoint_of(random_model(name), name)
    found = calibrate(checkpoint, SEQUENCES)
    linears = {tensor for tensor in checkpoint.names() if is_layer_linear(tensor)}
    assert set(found.hessians) == linears
    assert linears
    for tensor, hessian in found.hessians.items():
        shape = checkpoint.shape(tensor)
        width = shape[0] if is_transposed(tensor) else shape[1]
        assert hessian.shape == (width, width)
        assert hessian.dtype == np.float32
        assert hessian.trace() > 0
    plan_grid(checkpoint, parse_quant("int4", 16, method="gptq"), calibration=found)


def test_linears_with_one_input_share_one_matrix() -> None:
    found = calibrate(checkpoint_of(random_model("llama"), "llama"), SEQUENCES).hessians
    q, k, v, o, gate, up = (
        found[f"model.layers.0.{part}.weight"]
        for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                     "mlp.gate_proj", "mlp.up_proj")
    )  # fmt: skip
    assert q is k
    assert k is v
    assert gate is up
    assert o is not q
    assert found["model.layers.1.self_attn.q_proj.weight"] is not q


def test_the_fingerprint_follows_the_ids() -> None:
    checkpoint = checkpoint_of(random_model("llama"), "llama")
    first, same, other = (calibrate(checkpoint, rows) for rows in (SEQUENCES, [*SEQUENCES, []], SEQUENCES[:2]))
    assert first.fingerprint == same.fingerprint != other.fingerprint
    for name, hessian in first.hessians.items():
        assert hessian.tobytes() == same.hessians[name].tobytes()


@pytest.mark.parametrize(
    ("rows", "message"), [([], "no calibration text"), ([[]], "no calibration"), ([[9999]], "9999")]
)
def test_unusable_text_is_refused(rows: list[list[int]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        calibrate(checkpoint_of(random_model("llama"), "llama"), rows)


def test_importance_is_the_mean_square_of_each_input_as_a_power_of_two() -> None:
    checkpoint = checkpoint_of(random_model("llama"), "llama")
    whole, found = calibrate(checkpoint, SEQUENCES), weigh_inputs(checkpoint, SEQUENCES)
    assert found.hessians == {}
    assert set(found.importance) == {*whole.hessians, "model.embed_tokens.weight"}  # the tied head meets the last state
    for name, powers in found.importance.items():
        if name not in whole.hessians:
            continue
        squares = np.diagonal(whole.hessians[name])
        assert np.array_equal(np.log2(powers), np.rint(np.log2(powers)))
        np.testing.assert_allclose(powers, squares / squares.mean(), rtol=2**0.5 - 1 + 1e-3)
