"""GPTQ: outputs stay close where inputs are correlated, in the layout of every other method, for odd shapes too."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgelora.checkpoint.names import is_layer_linear
from edgelora.errors import ConfigError
from edgelora.grid import gptq
from edgelora.grid.blocks import dequantize, quantize
from edgelora.grid.gptq import output_error, quantize_gptq
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.grid.moments import Calibration
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.moments import calibrate
from edgelora.values import FloatArray, QuantSpec
from edgelora_onnx import OnnxExporter
from tests.parity.architectures import TorchCheckpoint, checkpoint_of, random_model
from tests.parity.decoder import Decoder, no_adapter

SPECS = [QuantSpec(2, 16), QuantSpec(2, 32, symmetric=False), QuantSpec(4), QuantSpec(4, 128, symmetric=False)]


def _problem(shape: tuple[int, int], seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A weight, inputs whose columns move together, and their second moments."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((400, shape[1])) @ (rng.standard_normal((shape[1], shape[1])) / shape[1] ** 0.5)
    inputs = (rng.standard_normal((400, 1)) + mixed).astype(np.float32)
    weight = (rng.standard_normal(shape) * 0.05).astype(np.float32)
    return weight, inputs, inputs.T @ inputs / np.float32(400)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("shape", [(48, 128), (7, 75)], ids=str)
def test_outputs_are_much_closer_than_with_rounding_to_nearest(spec: QuantSpec, shape: tuple[int, int]) -> None:
    weight, inputs, hessian = _problem(shape)
    found, plain = (dequantize(matrix) for matrix in (quantize_gptq(weight, spec, hessian), quantize(weight, spec)))
    wanted = inputs @ weight.T
    after, before = (float(np.linalg.norm(inputs @ value.T - wanted)) for value in (found, plain))
    assert after < 0.75 * before
    relative = after / float(np.linalg.norm(wanted))
    assert output_error(weight, found, hessian) == pytest.approx(relative, rel=1e-2)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("shape", [(1, 16), (5, 33), (6, 300)], ids=str)
def test_the_layout_is_that_of_rounding_to_nearest(spec: QuantSpec, shape: tuple[int, int]) -> None:
    weight, _, hessian = _problem(shape)
    found, plain = quantize_gptq(weight, spec, hessian), quantize(weight, spec)
    assert (found.packed.shape, found.scales.shape) == (plain.packed.shape, plain.scales.shape)
    assert (found.packed.dtype, found.scales.dtype, found.in_features) == (np.uint8, np.float32, shape[1])
    assert (found.zero_points is None) == spec.symmetric
    assert found.zero_points is None or found.zero_points.shape == plain.zero_points.shape
    assert (found.scales.view(np.uint32) & 0xFFFF == 0).all()
    again = quantize_gptq(weight.copy(), spec, hessian.copy())
    assert again.packed.tobytes() == found.packed.tobytes()
    assert again.scales.tobytes() == found.scales.tobytes()


def test_columns_that_never_had_an_input_stay_near() -> None:
    weight, inputs, _ = _problem((16, 96))
    dead = np.arange(0, 96, 3)
    inputs[:, dead] = 0
    spec = QuantSpec(4)
    found = quantize_gptq(weight, spec, inputs.T @ inputs)
    step = np.repeat(np.abs(found.scales), 32, axis=1)[:, dead]
    assert np.isfinite(dequantize(found)).all()
    inside = np.abs(weight[:, dead]) <= 7 * step
    assert (np.abs(dequantize(found)[:, dead] - weight[:, dead]) <= 0.75 * step)[inside].all()
    assert inside.mean() > 0.9


def test_scales_solved_together_lower_the_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, _, hessian = _problem((40, 150))
    spec = QuantSpec(2, 32)
    solved = output_error(weight, dequantize(quantize_gptq(weight, spec, hessian)), hessian)
    monkeypatch.setattr(gptq, "_refit", lambda _weight, _levels, scales, _hessian: scales)
    assert solved < 0.98 * output_error(weight, dequantize(quantize_gptq(weight, spec, hessian)), hessian)


def test_a_block_of_zeros_stays_zero() -> None:
    weight, _, hessian = _problem((6, 96))
    weight[:, 32:64] = 0
    weight[2] = 0
    for spec in (QuantSpec(2), QuantSpec(4, 32, symmetric=False)):
        found = dequantize(quantize_gptq(weight, spec, np.diag(np.diagonal(hessian))))
        assert not found[:, 32:64].any()
        assert not found[2].any()


def test_without_any_input_nothing_breaks() -> None:
    weight, _, hessian = _problem((16, 96))
    spec = QuantSpec(4)
    blind = dequantize(quantize_gptq(weight, spec, np.zeros_like(hessian)))
    assert np.linalg.norm(blind - weight) <= np.linalg.norm(dequantize(quantize(weight, spec)) - weight) * 1.2


@pytest.fixture(scope="module")
def llama() -> tuple[TorchCheckpoint, Calibration]:
    checkpoint = checkpoint_of(random_model("llama"), "llama")
    rng = np.random.default_rng(3)
    return checkpoint, calibrate(checkpoint, [rng.integers(0, 50, 40).tolist() for _ in range(6)])


@pytest.mark.parametrize(("quant", "method"), [("int2", "gptq"), ("int4", "gptq")])
def test_the_graph_multiplies_with_what_torch_holds(
    llama: tuple[TorchCheckpoint, Calibration], quant: str, method: str, tmp_path: Path
) -> None:
    checkpoint, calibration = llama
    grid = plan_grid(checkpoint, parse_quant(quant, 16, method=method), calibration=calibration)
    exported = OnnxExporter().export(grid, tmp_path, accuracy_level=0)
    ids = np.random.default_rng(1).integers(0, exported.vocab_size, 12)
    with torch.inference_mode():
        expected = load_torch(checkpoint, grid)(torch.tensor(ids)[None]).logits[0].numpy()
    found = Decoder(tmp_path, exported, no_adapter(exported)).step(ids)
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)


def test_a_gptq_grid_records_its_calibration_and_other_grids_none(
    llama: tuple[TorchCheckpoint, Calibration],
) -> None:
    checkpoint, calibration = llama
    grids = {
        method: plan_grid(checkpoint, parse_quant("int4", method=method), calibration=calibration)
        for method in ("rtn", "gptq")
    }
    assert {method: grid.record()["calibration"] for method, grid in grids.items()} == {
        "rtn": None,
        "gptq": calibration.fingerprint,
    }
    assert len({grid.fingerprint for grid in grids.values()}) == 2
    for name, hessian in calibration.hessians.items():
        weight = checkpoint.read(name)
        found, plain = (output_error(weight, grids[method].value(name), hessian) for method in ("gptq", "rtn"))
        assert found < plain, name
    table = "model.embed_tokens.weight"
    assert (grids["gptq"].matrix(table).packed == grids["rtn"].matrix(table).packed).all()


def test_a_calibration_of_another_model_is_refused(llama: tuple[TorchCheckpoint, Calibration]) -> None:
    checkpoint, calibration = llama
    first, *rest = (name for name in checkpoint.names() if is_layer_linear(name))
    fewer = {name: calibration.hessians[name] for name in rest}
    narrow = {**calibration.hessians, first: np.eye(3, dtype=np.float32)}
    for hessians, found in ((fewer, "nothing"), (narrow, r"a matrix of \(3, 3\)")):
        with pytest.raises(ConfigError, match=f"holds {found} for {first}"):
            plan_grid(checkpoint, parse_quant("int4", method="gptq"), calibration=Calibration("x", 1, 1, hessians))
