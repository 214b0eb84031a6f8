import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from edgelora.adapter.spectrum import find_spectra, find_spectrum
from edgelora.adapter.truncate import cost_of_cut, truncate, write_adapter
from edgelora.errors import AdapterError, ConfigError
from edgelora_runtime.adapter import Adapter, Factors, read_adapter
from tests.tiny import write_adapter as make_adapter


def product(factors: Factors) -> np.ndarray:
    return factors.scaling * (factors.b.astype(np.float64) @ factors.a)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """Random factors whose modules differ in size by up to 100, so that one threshold gives different ranks."""
    found = read_adapter(make_adapter(tmp_path_factory.mktemp("a") / "a", rank=8, seed=5))
    sizes = np.geomspace(1, 100, len(found.factors))
    return Adapter(
        {
            module: Factors(item.a * np.geomspace(1, 0.01, 8, dtype=np.float32)[:, None], size * item.b, item.scaling)
            for size, (module, item) in zip(sizes, found.factors.items(), strict=True)
        }
    )


@pytest.mark.parametrize(("out_features", "in_features", "rank"), [(48, 32, 4), (8, 64, 16), (64, 8, 16), (5, 3, 1)])
def test_the_spectrum_is_that_of_the_full_product(out_features: int, in_features: int, rank: int) -> None:
    rng = np.random.default_rng(0)
    item = Factors(
        rng.standard_normal((rank, in_features)).astype(np.float32),
        rng.standard_normal((out_features, rank)).astype(np.float32),
        0.5,
    )
    full = np.linalg.svd(product(item), compute_uv=False)
    found = find_spectrum(item)
    np.testing.assert_allclose(found.values, full[: len(found.values)], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose((found.u * found.values) @ found.v, product(item), atol=1e-4)


def test_effective_rank_counts_equal_directions() -> None:
    equal = find_spectrum(Factors(np.eye(3, 6, dtype=np.float32), np.eye(6, 3, dtype=np.float32), 2.0))
    assert equal.effective_rank == pytest.approx(3)
    zero = find_spectrum(Factors(np.eye(3, 6, dtype=np.float32), np.zeros((6, 3), np.float32), 2.0))
    assert zero.effective_rank == 0


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99, 1.0])
def test_energy_keeps_that_share_over_all_modules(adapter: Adapter, energy: float) -> None:
    cut = truncate(adapter, energy=energy)
    total = sum(np.sum(product(item) ** 2) for item in adapter.factors.values())
    kept = sum(np.sum(product(item) ** 2) for item in cut.factors.values())
    assert kept >= energy * total * (1 - 1e-5)
    error = sum(np.sum((product(item) - product(cut.factors[m])) ** 2) for m, item in adapter.factors.items())
    assert error <= (1 - energy) * total + 1e-5 * total
    assert all(item.scaling == 1 for item in cut.factors.values())
    # No value that was cut is larger than one that was kept beyond the first of its module.
    spectra = find_spectra(adapter.factors)
    ranks = {module: item.a.shape[0] for module, item in cut.factors.items()}
    cut_most = max((s.values[ranks[m]] for m, s in spectra.items() if ranks[m] < len(s.values)), default=0.0)
    kept_least = min((s.values[ranks[m] - 1] for m, s in spectra.items() if ranks[m] > 1), default=np.inf)
    assert kept_least >= cut_most
    if energy == 0.9:
        assert len(set(ranks.values())) > 2  # one threshold, many ranks


def test_rank_is_an_average_and_every_module_keeps_one(adapter: Adapter) -> None:
    cut = truncate(adapter, rank=2)
    ranks = [item.a.shape[0] for item in cut.factors.values()]
    assert sum(ranks) == 2 * len(ranks)
    assert min(ranks) == 1
    assert max(ranks) > 2
    assert truncate(adapter, rank=100).rank == 8


def test_bytes_are_a_bound_on_the_file(adapter: Adapter, tmp_path: Path) -> None:
    sizes = []
    for limit in (20_000, 24_000, 30_000):
        write_adapter(tmp_path / str(limit), truncate(adapter, max_bytes=limit), {})
        sizes.append((tmp_path / str(limit) / "adapter_model.safetensors").stat().st_size)
        assert limit * 0.85 < sizes[-1] <= limit
    with pytest.raises(ConfigError, match="rank 1 in each takes"):
        truncate(adapter, max_bytes=5000)


def test_cost_is_what_was_cut(adapter: Adapter) -> None:
    cut = truncate(adapter, energy=0.8)
    for module, cost in cost_of_cut(adapter, cut).items():
        before, after = product(adapter.factors[module]), product(cut.factors[module])
        assert (cost.rank_before, cost.rank_after) == (8, cut.factors[module].a.shape[0])
        assert cost.relative_error == pytest.approx(
            float(np.linalg.norm(before - after) / np.linalg.norm(before)), abs=2e-4
        )
        assert cost.energy_kept == pytest.approx(1 - cost.relative_error**2, abs=1e-6)


@pytest.mark.parametrize("choice", [{}, {"energy": 0.5, "rank": 2}, {"energy": 0.0}, {"energy": 1.5}, {"rank": 0}])
def test_bounds_without_a_meaning_are_refused(adapter: Adapter, choice: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        truncate(adapter, **choice)  # type: ignore[arg-type]


def test_an_adapter_of_zeros_is_refused(adapter: Adapter) -> None:
    zero = {module: Factors(item.a, 0 * item.b, item.scaling) for module, item in adapter.factors.items()}
    with pytest.raises(AdapterError, match="changes nothing"):
        truncate(Adapter(zero), energy=0.9)


@pytest.mark.parametrize("scaling", [1.0, 0.37])
def test_peft_and_the_runtime_read_the_same_adapter_back(
    adapter: Adapter, tiny_checkpoint: Path, tmp_path: Path, scaling: float
) -> None:
    cut = Adapter(
        {
            module: Factors(item.a, item.b, scaling if index % 3 else 1.0)
            for index, (module, item) in enumerate(truncate(adapter, energy=0.95).factors.items())
        }
    )
    config = {"r": 8, "lora_alpha": 16, "use_rslora": True, "rank_pattern": {"q_proj": 3}, "bias": "none"}
    targets = sorted({module.rsplit(".", 1)[-1] for module in cut.factors})
    write_adapter(tmp_path / "cut", cut, {**config, "target_modules": targets, "task_type": "CAUSAL_LM"})
    again = read_adapter(tmp_path / "cut")
    assert again.factors.keys() == cut.factors.keys()
    for module, item in cut.factors.items():
        np.testing.assert_allclose(product(again.factors[module]), product(item), rtol=1e-6)
    base = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    wrapped = peft.PeftModel.from_pretrained(base, str(tmp_path / "cut"))
    layers = dict(wrapped.base_model.model.named_modules())
    for module, item in cut.factors.items():
        delta = layers[module].get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(delta, product(item), rtol=1e-4, atol=1e-5)
    assert all(torch.isfinite(parameter).all() for parameter in wrapped.parameters())
    written = json.loads((tmp_path / "cut" / "adapter_config.json").read_text())
    assert "q_proj" not in written["rank_pattern"]
