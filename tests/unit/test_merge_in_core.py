from collections.abc import Sequence

import numpy as np
import pytest

from edgelora.adapter.combine import Combined, Parent, combine
from edgelora.adapter.delta import add_deltas, distance, norm
from edgelora.adapter.merge_options import CORE, METHODS, MergeOptions
from edgelora.adapter.task_vectors import add_agreeing, keep_largest
from edgelora.errors import ConfigError
from edgelora_runtime.adapter import Adapter, Factors

IN_CORE = [name for name, method in METHODS.items() if method.space == CORE]
WEIGHTS = (0.6, -0.9, 1.3)
SHAPES = {"wide": (17, 91), "tall": (83, 13), "flat": (1, 40), "thin": (40, 1)}


def product(item: Factors) -> np.ndarray:
    return item.scaling * (item.b.astype(np.float64) @ item.a)


def adapters(ranks: Sequence[int], sizes: Sequence[float] = (1.0, 1.0, 1.0), seed: int = 0) -> list[Adapter]:
    rng = np.random.default_rng(seed)

    def one(rank: int, size: float) -> Adapter:
        return Adapter({
            name: Factors(
                rng.standard_normal((rank, n)).astype(np.float32),
                (size * rng.standard_normal((m, rank))).astype(np.float32),
                8 / rank,
            )
            for name, (m, n) in SHAPES.items()
        })  # fmt: skip

    return [one(rank, size) for rank, size in zip(ranks, sizes, strict=True)]


def merge(parts: Sequence[Adapter], weights: Sequence[float] = WEIGHTS, **options: object) -> Combined:
    parents = [Parent(str(i), part, weight) for i, (part, weight) in enumerate(zip(parts, weights, strict=True))]
    return combine(parents, MergeOptions(**options))  # type: ignore[arg-type]


def exact(parts: Sequence[Adapter], module: str) -> Factors:
    return add_deltas([part.factors[module] for part in parts], WEIGHTS)


@pytest.mark.parametrize("ranks", [(4, 4, 4), (1, 7, 3), (64, 2, 1)])
@pytest.mark.parametrize("method", ["magnitude_prune_core", "dare_linear_core"])
def test_a_sum_in_core_space_is_the_sum(method: str, ranks: Sequence[int]) -> None:
    parts = adapters(ranks)
    found = merge(parts, method=method, density=1.0, rank=sum(ranks))
    assert found.relative_error < 1e-6
    for module, item in found.adapter.factors.items():
        expected = product(exact(parts, module))
        np.testing.assert_allclose(product(item), expected, atol=1e-5 * np.abs(expected).max(), err_msg=module)
        assert item.a.shape[0] <= min(sum(ranks), *SHAPES[module])


def test_a_small_adapter_beside_a_large_one_is_not_lost() -> None:
    parts = adapters((3, 3, 3), sizes=(1e4, 1e-4, 1.0))
    small = next(iter(SHAPES))
    parts[1].factors[small] = Factors(parts[1].factors[small].a * np.float32(1e-4), parts[1].factors[small].b, 1.0)
    found = merge(parts, (0.0, 1.0, 0.0), method="magnitude_prune_core", density=1.0, rank=9)
    expected = parts[1].factors[small]
    assert distance(found.adapter.factors[small], expected) < 1e-4 * norm(expected)


def test_ties_equals_what_the_paper_does_on_whole_matrices() -> None:
    """Panariello and others, 2025: M = U_B' dW V_A, with U_B and V_A of the stacked factors' SVD, and U_B M V_A'."""
    parts = adapters((4, 2, 3))
    found = merge(parts, method="ties_core", density=0.5, rank=9)
    for module, item in found.adapter.factors.items():
        if module in ("flat", "thin"):
            continue
        factors = [part.factors[module] for part in parts]
        u = np.linalg.svd(np.concatenate([f.b for f in factors], axis=1).astype(np.float64), full_matrices=False)[0]
        v = np.linalg.svd(np.concatenate([f.a for f in factors], axis=0).astype(np.float64), full_matrices=False)[2]
        cores = [keep_largest((u.T @ product(f) @ v.T).astype(np.float32), 0.5) for f in factors]
        np.testing.assert_allclose(product(item), u @ add_agreeing(cores, WEIGHTS) @ v, atol=1e-4, err_msg=module)


def test_tsv_equals_the_same_on_whole_matrices() -> None:
    ranks = (4, 2, 3)
    parts = adapters(ranks)
    found = merge(parts, method="tsv_core", rank=9)
    for module in ("wide", "tall"):
        spectra = [np.linalg.svd(product(part.factors[module]), full_matrices=False) for part in parts]
        u = np.concatenate([item[0][:, :rank] for item, rank in zip(spectra, ranks, strict=True)], axis=1)
        v = np.concatenate([item[2][:rank] for item, rank in zip(spectra, ranks, strict=True)], axis=0)
        kept = zip(spectra, ranks, WEIGHTS, strict=True)
        values = np.concatenate([weight * item[1][:rank] for item, rank, weight in kept])
        (lu, _, lv), (ru, _, rv) = (np.linalg.svd(item, full_matrices=False) for item in (u, v))
        np.testing.assert_allclose(
            product(found.adapter.factors[module]), (lu @ lv * values) @ (ru @ rv), atol=1e-4, err_msg=module
        )


@pytest.mark.parametrize("method", IN_CORE)
def test_a_factor_that_all_share_leaves_a_core_of_its_rank(method: str) -> None:
    parts = adapters((4, 4, 4))
    for part in parts[1:]:
        for module, item in part.factors.items():
            part.factors[module] = Factors(parts[0].factors[module].a, item.b, item.scaling)
    density = {"density": 1.0} if METHODS[method].prunes else {}
    found = merge(parts, method=method, rank=12, **density)
    assert found.adapter.rank == 4
    if METHODS[method].prunes and not METHODS[method].elects:
        for module, item in found.adapter.factors.items():
            np.testing.assert_allclose(product(item), product(exact(parts, module)), atol=1e-4, err_msg=module)


@pytest.mark.parametrize("method", IN_CORE)
def test_the_rank_is_the_largest_unless_another_is_asked_for(method: str) -> None:
    density = {"density": 0.4} if METHODS[method].prunes else {}
    assert merge(adapters((4, 1, 6)), method=method, **density).adapter.rank == 6
    assert merge(adapters((4, 1, 6)), method=method, rank=2, **density).adapter.rank == 2


def test_one_adapter_or_many_of_rank_one_or_zeros_have_a_tsv() -> None:
    (alone,) = adapters((4,), sizes=(1.0,))
    found = merge([alone], (-0.5,), method="tsv_core")
    for module, item in found.adapter.factors.items():
        np.testing.assert_allclose(product(item), -0.5 * product(alone.factors[module]), atol=1e-5, err_msg=module)
    many = adapters((1,) * 20, sizes=(1.0,) * 19 + (0.0,))
    assert merge(many, (1.0,) * 20, method="tsv_core", rank=30).adapter.rank <= 20
    with pytest.raises(ConfigError, match="needs two adapters or more"):
        merge([alone], (1.0,), method="ties_core", density=0.5)
