import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgelora.adapter.survival import Survival, find_survival, summarize
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import AdapterError
from edgelora.grid.blocks import dequantize, quantize, unpack_codes
from edgelora.grid.make import Grid, parse_quant, plan_grid
from edgelora.values import QuantSpec
from edgelora_runtime.adapter import Factors, read_adapter
from tests.tiny import write_adapter


@pytest.fixture(scope="module")
def grid(tiny_checkpoint: Path) -> Grid:
    return plan_grid(open_checkpoint(str(tiny_checkpoint)), parse_quant("int4"))


def factors_of(folder: Path, size: float) -> Mapping[str, Factors]:
    return read_adapter(write_adapter(folder, size=size)).factors


def codes(weight: np.ndarray, spec: QuantSpec) -> np.ndarray:
    return unpack_codes(quantize(weight, spec).packed, spec.bits)


def test_figures_are_those_of_the_definition(grid: Grid, tmp_path: Path) -> None:
    factors = factors_of(tmp_path / "a", size=0.01)
    found = find_survival(grid, factors)
    assert found.keys() == factors.keys()
    for module in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
        item, name = factors[module], f"{module}.weight"
        delta = item.scaling * item.b @ item.a
        base = grid.value(name)
        spec = grid.specs[name]
        step = np.median(np.abs(grid.matrix(name).scales))
        change = dequantize(quantize(base + delta, spec)) - base
        assert found[module].step_to_delta == pytest.approx(step / np.sqrt(np.mean(delta**2)), rel=1e-4)
        assert found[module].codes_changed == pytest.approx(
            np.mean(codes(base, spec) != codes(base + delta, spec)), abs=1e-6
        )
        cosine = np.vdot(change, delta) / np.linalg.norm(change) / np.linalg.norm(delta)
        assert found[module].correlation == pytest.approx(cosine, abs=1e-4)


def test_a_small_delta_rounds_away_and_a_large_one_stays(grid: Grid, tmp_path: Path) -> None:
    small = summarize(find_survival(grid, factors_of(tmp_path / "s", size=1e-5)))
    large = summarize(find_survival(grid, factors_of(tmp_path / "l", size=0.5)))
    assert small.codes_changed < 0.02
    assert small.correlation < 0.3
    assert small.step_to_delta > 100
    assert large.codes_changed > 0.8
    assert large.correlation > 0.95
    assert large.step_to_delta < 1


def test_wider_codes_keep_more(grid: Grid, tmp_path: Path) -> None:
    factors = factors_of(tmp_path / "a", size=0.003)
    narrow = summarize(find_survival(grid, factors, spec=QuantSpec(2, 32, symmetric=False), from_float=True))
    usual = summarize(find_survival(grid, factors, from_float=True))
    wide = summarize(find_survival(grid, factors, spec=QuantSpec(8), from_float=True))
    assert narrow.correlation < usual.correlation < wide.correlation
    assert narrow.step_to_delta > usual.step_to_delta > wide.step_to_delta


def test_nothing_added_survives_as_nothing(grid: Grid, tmp_path: Path) -> None:
    for item in find_survival(grid, factors_of(tmp_path / "a", size=0.0)).values():
        assert (item.step_to_delta, item.codes_changed, item.correlation) == (0, 0, 0)


def test_without_quantization_everything_survives(tiny_checkpoint: Path, tmp_path: Path) -> None:
    plain = plan_grid(open_checkpoint(str(tiny_checkpoint)), parse_quant("none"))
    factors = factors_of(tmp_path / "a", size=1e-5)
    assert {dataclasses.astuple(item)[:3] for item in find_survival(plain, factors).values()} == {(0.0, 1.0, 1.0)}
    told = summarize(find_survival(plain, factors, spec=QuantSpec(4)))
    assert told.correlation < 0.3


def test_a_sample_of_rows_comes_near_the_whole(grid: Grid, tmp_path: Path) -> None:
    factors = factors_of(tmp_path / "a", size=0.01)
    whole, part = (summarize(find_survival(grid, factors, max_rows=rows)) for rows in (None, 16))
    assert part.codes_changed == pytest.approx(whole.codes_changed, rel=0.1)
    assert part.correlation == pytest.approx(whole.correlation, rel=0.1)
    assert part.weights == whole.weights


def test_padding_of_a_last_block_is_not_counted(grid: Grid, tmp_path: Path) -> None:
    factors = factors_of(tmp_path / "a", size=10.0)
    spec = QuantSpec(4, 128, symmetric=False)  # in_features are 64 and 96
    for item in find_survival(grid, factors, spec=spec, from_float=True).values():
        assert 0.8 < item.codes_changed <= 1


def test_transposed_weights_are_turned() -> None:
    from tests.parity.architectures import checkpoint_of, random_model

    turned = plan_grid(checkpoint_of(random_model("gpt2"), "gpt2"), parse_quant("int4"))
    module = next(name for name in turned.matrices if name.endswith("c_fc.weight")).removesuffix(".weight")
    in_features, out_features = turned.checkpoint.shape(f"{module}.weight")
    assert in_features != out_features
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, in_features)), rng.standard_normal((out_features, 2))
    item = Factors(a.astype(np.float32), b.astype(np.float32), 0.01)
    spec = turned.specs[f"{module}.weight"]
    base, delta = turned.value(f"{module}.weight").T, 0.01 * item.b @ item.a
    change = dequantize(quantize(np.ascontiguousarray(base + delta), spec)) - base
    cosine = np.vdot(change, delta) / np.linalg.norm(change) / np.linalg.norm(delta)
    assert find_survival(turned, {module: item})[module].correlation == pytest.approx(cosine, abs=1e-4)
    assert find_survival(turned, {module: item}, spec=spec, from_float=True)[module].correlation > 0.5


def test_modules_of_another_base_are_refused(grid: Grid) -> None:
    strange = {"model.layers.9.mlp.up_proj": Factors(np.ones((1, 64), np.float32), np.ones((96, 1), np.float32), 1.0)}
    with pytest.raises(AdapterError, match=r"1 of 1 modules are not in tiny-llama, first model\.layers\.9"):
        find_survival(grid, strange)
    misshapen = {"model.layers.0.mlp.up_proj": Factors(np.ones((1, 9), np.float32), np.ones((96, 1), np.float32), 1.0)}
    with pytest.raises(AdapterError, match=r"the base \(96, 64\)"):
        find_survival(grid, misshapen)


def test_the_mean_counts_weights() -> None:
    mean = summarize({"a": Survival(1.0, 0.0, 0.0, 30), "b": Survival(5.0, 1.0, 0.5, 10)})
    assert mean == Survival(2.0, 0.25, 0.125, 40)
    assert summarize({}).weights == 0
