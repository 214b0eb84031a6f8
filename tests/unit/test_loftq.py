"""Residual factors: the nearest sum of grid and adapter to the float weights, whatever the shape, and repeatably."""

import numpy as np
import pytest

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import ConfigError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.progress import Silent
from edgelora.training.loftq import best_factors, loftq_factors
from tests import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return open_checkpoint(str(tiny.write_checkpoint(tmp_path_factory.mktemp("base") / "tiny")))


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (32, 32)])
@pytest.mark.parametrize("scaling", [2.0, 0.5])
def test_the_product_is_the_best_approximation_of_its_rank(shape, scaling):
    residual = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = best_factors(residual, 6, scaling)
    u, sigma, v = np.linalg.svd(residual, full_matrices=False)
    best = (u[:, :6] * sigma[:6]) @ v[:6]
    assert found.scaling == scaling
    np.testing.assert_allclose(scaling * found.b @ found.a, best, atol=2e-5)
    # Each side carries the root of its value, so that neither learns much faster than the other.
    np.testing.assert_allclose((found.a**2).sum(axis=1), sigma[:6] / scaling, rtol=1e-4)
    np.testing.assert_allclose((found.b**2).sum(axis=0), sigma[:6] / scaling, rtol=1e-4)


def test_signs_are_fixed_and_do_not_depend_on_the_orientation():
    residual = np.random.default_rng(1).standard_normal((20, 12)).astype(np.float32)
    found = best_factors(residual, 5, 1.0)
    largest = found.b[np.abs(found.b).argmax(axis=0), np.arange(5)]
    assert (largest > 0).all()
    again = best_factors(residual.copy(), 5, 1.0)
    assert found.a.tobytes() == again.a.tobytes()
    assert found.b.tobytes() == again.b.tobytes()


def test_a_rank_above_the_matrix_gives_all_of_it_and_zeros():
    residual = np.random.default_rng(2).standard_normal((6, 30)).astype(np.float32)
    found = best_factors(residual, 9, 2.0)
    assert found.a.shape == (9, 30)
    assert found.b.shape == (6, 9)
    np.testing.assert_allclose(2.0 * found.b @ found.a, residual, atol=1e-5)
    assert not found.a[6:].any()
    assert not found.b[:, 6:].any()


def test_factors_bring_every_module_nearer_to_the_float_weights(checkpoint):
    grid = plan_grid(checkpoint, parse_quant("int2"))
    modules = [f"model.layers.{layer}.self_attn.{kind}_proj" for layer in range(tiny.LAYERS) for kind in "qkvo"]
    seen = []

    class Watching(Silent):
        def track(self, items, what, unit):
            seen.extend(items)
            return items

    factors = loftq_factors(grid, modules, 8, 2.0, Watching())
    assert seen == modules
    assert sorted(factors) == sorted(modules)
    for module, item in factors.items():
        name = f"{module}.weight"
        weight, value = checkpoint.read(name), grid.value(name)
        before = np.linalg.norm(weight - value)
        after = np.linalg.norm(weight - value - item.scaling * item.b @ item.a)
        sigma = np.linalg.svd(weight - value, compute_uv=False)
        assert after == pytest.approx(np.sqrt((sigma[8:] ** 2).sum()), rel=1e-4)
        assert after < 0.9 * before


def test_a_base_that_is_not_rounded_is_refused(checkpoint):
    for label in ("none", "fp16"):
        grid = plan_grid(checkpoint, parse_quant(label))
        with pytest.raises(ConfigError, match=f"{label} rounds none of the adapted modules; use --quant int4"):
            loftq_factors(grid, ["model.layers.0.mlp.up_proj"], 4, 2.0)


def test_what_the_grid_left_alone_has_no_factors(checkpoint):
    grid = plan_grid(checkpoint, parse_quant("int4"))
    factors = loftq_factors(grid, ["model.norm", "model.layers.0.mlp.up_proj"], 4, 2.0)
    assert list(factors) == ["model.layers.0.mlp.up_proj"]
