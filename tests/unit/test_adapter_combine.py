import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from peft.tuners.lora import LoraModel
from transformers import AutoModelForCausalLM

from edgelora.adapter.combine import Combined, Parent, combine
from edgelora.adapter.delta import add_deltas, distance, inner, norm
from edgelora.adapter.merge_options import CORE, METHODS, SHARED, MergeOptions
from edgelora.adapter.task_vectors import Draw, add_agreeing, keep_largest
from edgelora.errors import AdapterError, ConfigError
from edgelora_runtime.adapter import Adapter, Factors, read_adapter
from tests.tiny import TARGETS, write_adapter

OF_PEFT = [name for name, method in METHODS.items() if method.space not in (SHARED, CORE)]
Folders = Sequence[tuple[Path, float]]


def product(factors: Factors) -> np.ndarray:
    return factors.scaling * (factors.b.astype(np.float64) @ factors.a)


def ours(folders: Folders, **options: Any) -> Combined:
    parents = [Parent(folder.name, read_adapter(folder), weight) for folder, weight in folders]
    return combine(parents, MergeOptions(**options))


class Theirs:
    """PEFT's ``add_weighted_adapter`` on some adapters, as often as one likes.

    It draws for whatever the model has in whatever order; here each module gets the seed that it has with us.
    """

    def __init__(self, checkpoint: Path, folders: Sequence[Path]) -> None:
        base = AutoModelForCausalLM.from_pretrained(checkpoint)
        self._names = [folder.name for folder in folders]
        self._model = peft.PeftModel.from_pretrained(base, str(folders[0]), adapter_name=self._names[0])
        for folder in folders[1:]:
            self._model.load_adapter(str(folder), adapter_name=folder.name)
        self._layers = {
            name: layer
            for name, layer in self._model.base_model.model.named_modules()
            if isinstance(layer, peft.tuners.lora.LoraLayer)
        }

    def merge(self, weights: Sequence[float], seed: int = 0, **options: Any) -> dict[str, np.ndarray]:
        """Deltas by module."""
        names = {id(layer): name for name, layer in self._layers.items()}

        def seeded(original: Any, place: int) -> Any:
            def call(*given: Any, **more: Any) -> Any:
                torch.manual_seed(Draw.seed_of(seed, names[id(given[place])]))
                return original(*given, **more)

            return call

        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The density 1.0", UserWarning)  # no pruning will be performed
            for method, place in (("_generalized", 4), ("_svd_generalized", 5)):
                full = f"{method}_task_arithmetic_weighted_adapter"
                patch.setattr(LoraModel, full, seeded(getattr(LoraModel, full), place))
            self._model.base_model.add_weighted_adapter(self._names, list(weights), "merged", **options)
        found = {
            name: layer.get_delta_weight("merged").detach().double().numpy()
            for name, layer in self._layers.items()
            if "merged" in layer.lora_A
        }
        self._model.delete_adapter("merged")
        return found


def check(found: Combined, expected: dict[str, np.ndarray]) -> None:
    assert found.adapter.factors.keys() == expected.keys()
    for module, delta in expected.items():
        assert float(np.abs(delta).max()) > 1e-3, module
        np.testing.assert_allclose(product(found.adapter.factors[module]), delta, atol=1e-5, err_msg=module)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Rank 4 each, scalings 2 and 0.75; the second lacks two kinds of modules."""
    folder = tmp_path_factory.mktemp("pair")
    first = write_adapter(folder / "first", rank=4, seed=11, size=0.02, alpha=8)
    second = write_adapter(folder / "second", rank=4, seed=12, size=0.03, alpha=3, targets=TARGETS[:5])
    return first, second


@pytest.fixture(scope="module")
def theirs(tiny_checkpoint: Path, pair: tuple[Path, Path]) -> Theirs:
    return Theirs(tiny_checkpoint, pair)


def with_weights(folders: Sequence[Path], *weights: float) -> Folders:
    return list(zip(folders, weights, strict=True))


@pytest.mark.parametrize("method", [name for name in OF_PEFT if METHODS[name].prunes])
def test_pruning_methods_equal_peft(theirs: Theirs, pair: tuple[Path, Path], method: str) -> None:
    seed = {"seed": 5} if METHODS[method].draws else {}
    for density in (0.2, 0.5, 0.9, 1.0):
        expected = theirs.merge((0.6, 0.9), 5, combination_type=method, density=density)
        check(ours(with_weights(pair, 0.6, 0.9), method=method, density=density, **seed), expected)


@pytest.mark.parametrize("method", ["linear", "cat", "svd"])
def test_sums_equal_peft(theirs: Theirs, pair: tuple[Path, Path], method: str) -> None:
    for weights in ((0.5, 0.5), (1.0, -0.3), (2.0, 0.1)):
        check(ours(with_weights(pair, *weights), method=method), theirs.merge(weights, combination_type=method))


def test_signs_may_be_counted_as_in_peft(tiny_checkpoint: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    folders = (*pair, write_adapter(tmp_path / "third", seed=13, size=0.02))
    three = Theirs(tiny_checkpoint, folders)
    for method in ("ties", "ties_svd", "dare_ties", "dare_ties_svd"):
        options = {"density": 0.6, "majority_sign_method": "frequency"}
        found = ours(with_weights(folders, 0.7, 0.7, 0.7), method=method, **options)
        check(found, three.merge((0.7, 0.7, 0.7), combination_type=method, **options))
        other = ours(with_weights(folders, 0.7, 0.7, 0.7), method=method, density=0.6)
        assert any(distance(other.adapter.factors[m], f) > 1e-3 for m, f in found.adapter.factors.items())


@pytest.mark.parametrize("method", ["svd", "ties_svd", "magnitude_prune_svd", "dare_linear_svd"])
def test_the_rank_of_an_svd_is_chosen_as_in_peft(theirs: Theirs, pair: tuple[Path, Path], method: str) -> None:
    density = {} if method == "svd" else {"density": 0.5}
    for rank in (1, 3, 16):
        found = ours(with_weights(pair, 1.0, 1.0), method=method, rank=rank, **density)
        check(found, theirs.merge((1.0, 1.0), combination_type=method, svd_rank=rank, **density))
        assert found.adapter.rank <= rank


def test_ranks_and_alphas_of_single_modules_are_their_own(
    tiny_checkpoint: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    wide = write_adapter(tmp_path / "wide", rank=6, seed=21, size=0.02, alpha=9)
    config = json.loads((wide / "adapter_config.json").read_text())
    config |= {"r": 2, "rank_pattern": {".*_proj": 6}, "alpha_pattern": {"down_proj": 1.5}}
    (wide / "adapter_config.json").write_text(json.dumps(config))
    two = Theirs(tiny_checkpoint, (pair[0], wide))
    for method in ("cat", "svd", "ties_svd"):
        density = {"density": 0.5} if METHODS[method].prunes else {}
        found = ours(with_weights((pair[0], wide), 0.5, 1.5), method=method, **density)
        check(found, two.merge((0.5, 1.5), combination_type=method, **density))
        assert found.adapter.rank == (10 if method == "cat" else 6)


def test_root_scaling_is_part_of_the_delta_which_peft_forgets_to_take_out(
    tiny_checkpoint: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """PEFT keeps ``use_rslora`` of the first adapter, so that its result is larger by the root of its rank."""
    rooted = write_adapter(tmp_path / "rooted", rank=4, seed=22, size=0.02)
    config = json.loads((rooted / "adapter_config.json").read_text())
    (rooted / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": True}))
    last, first = Theirs(tiny_checkpoint, (pair[0], rooted)), Theirs(tiny_checkpoint, (rooted, pair[0]))
    for method, rank in (("linear", 4), ("cat", 8), ("svd", 4)):
        found = ours(with_weights((pair[0], rooted), 0.5, 0.5), method=method)
        check(found, last.merge((0.5, 0.5), combination_type=method))
        expected = first.merge((0.5, 0.5), combination_type=method)
        found = ours(with_weights((rooted, pair[0]), 0.5, 0.5), method=method)
        check(found, {module: delta / math.sqrt(rank) for module, delta in expected.items()})


def test_draws_are_those_of_torch_each_after_the_last() -> None:
    values = np.random.default_rng(0).standard_normal((37, 11)).astype(np.float32)
    for seed, module in ((0, "a.b"), (7, "a.c"), (1 << 40, "")):
        draw = Draw(seed, module)
        torch.manual_seed(Draw.seed_of(seed, module))
        for density in (0.1, 0.5, 0.97):
            expected = peft.utils.merge_utils.random_pruning(torch.from_numpy(values), density, rescale=True)
            np.testing.assert_array_equal(draw.keep(values, density), expected.numpy())


def test_a_seed_repeats_a_merge_and_another_one_does_not(pair: tuple[Path, Path]) -> None:
    folders = list(zip(pair, (0.5, 0.5), strict=True))

    def merge(seed: int | None) -> bytes:
        found = ours(folders, method="dare_linear", density=0.5, seed=seed)
        return b"".join(item.a.tobytes() for item in found.adapter.factors.values())

    assert merge(None) == merge(0) == merge(0)
    assert merge(0) != merge(1)


@pytest.mark.parametrize("density", [0.3, 1.0])
def test_knots_equals_the_same_on_whole_matrices(pair: tuple[Path, Path], tmp_path: Path, density: float) -> None:
    folders = [(pair[0], 0.6), (write_adapter(tmp_path / "other", rank=3, seed=31, size=0.05), 0.9)]
    found = ours(folders, method="knots_ties", density=density, rank=7)
    adapters = [read_adapter(folder).factors for folder, _ in folders]
    for module, item in found.adapter.factors.items():
        deltas = [product(factors[module]) for factors in adapters]
        u, values, v = np.linalg.svd(np.concatenate(deltas, axis=1), full_matrices=False)
        rank = int((values > 1e-5 * values[0]).sum())
        assert rank == 7
        pruned = [keep_largest(part[:rank].astype(np.float32), density) for part in np.split(v, 2, axis=1)]
        merged = add_agreeing(pruned, [0.6, 0.9])
        np.testing.assert_allclose(product(item), (u[:, :rank] * values[:rank]) @ merged, atol=1e-5, err_msg=module)


def test_what_the_result_is_off_the_sum_is_told(pair: tuple[Path, Path]) -> None:
    folders = list(zip(pair, (0.5, 0.5), strict=True))
    exact = ours(folders, method="cat")
    assert exact.relative_error < 1e-6
    for method, density in (("svd", None), ("linear", None), ("ties", 0.5)):
        found = ours(folders, method=method, density=density)
        wanted = {m: product(item) for m, item in exact.adapter.factors.items()}
        off = sum(np.sum((product(f) - wanted[m]) ** 2) for m, f in found.adapter.factors.items())
        expected = math.sqrt(off / sum(np.sum(delta**2) for delta in wanted.values()))
        assert found.relative_error == pytest.approx(expected, rel=1e-4)
        assert expected > 0.1
    assert ours(folders, method="svd", rank=8).relative_error < 1e-6


def test_norms_are_those_of_the_products() -> None:
    rng = np.random.default_rng(3)
    first, second = (
        Factors(rng.standard_normal((r, 9)).astype(np.float32), rng.standard_normal((5, r)).astype(np.float32), s)
        for r, s in ((2, 0.5), (7, -3.0))
    )
    assert norm(first) == pytest.approx(float(np.linalg.norm(product(first))))
    assert inner(first, second) == pytest.approx(float(np.sum(product(first) * product(second))))
    assert distance(first, second) == pytest.approx(float(np.linalg.norm(product(first) - product(second))))
    np.testing.assert_allclose(
        product(add_deltas([first, second], [2.0, 0.1])), 2 * product(first) + 0.1 * product(second), rtol=1e-5
    )


def test_targets_are_the_union(pair: tuple[Path, Path], tmp_path: Path) -> None:
    def merge(*targets: Any) -> Any:
        adapters = [Adapter(read_adapter(pair[0]).factors, item) for item in targets]
        parents = [Parent(str(index), item, 0.5) for index, item in enumerate(adapters)]
        return combine(parents, MergeOptions("cat")).adapter.targets

    assert merge(("q_proj", "v_proj"), ("q_proj", "up_proj")) == ("q_proj", "up_proj", "v_proj")
    assert merge(".*q_proj", ".*v_proj") == "(.*q_proj)|(.*v_proj)"
    assert merge(".*q_proj", ".*q_proj") == ".*q_proj"
    assert merge(".*q_proj", ("v_proj",)) is None  # which PEFT refuses
    assert merge(("v_proj",), None) is None


def test_heads_are_averaged_by_their_share(pair: tuple[Path, Path]) -> None:
    factors = read_adapter(pair[0]).factors
    heads = [{"classifier.weight": np.full((3, 4), value, np.float32)} for value in (1.0, 5.0)]
    others = read_adapter(pair[1]).factors
    parents = [
        Parent("a", Adapter(factors, ("q_proj",), heads[0], ("classifier",)), 1.0),
        Parent("b", Adapter(others, ("q_proj",), heads[1], ("classifier",)), 3.0),
    ]
    found = combine(parents, MergeOptions("cat")).adapter
    np.testing.assert_allclose(found.head["classifier.weight"], 4.0)
    assert found.saved == ("classifier",)
    other = Parent("c", Adapter(factors, ("q_proj",), {"classifier.weight": np.ones((2, 4), np.float32)}), 1.0)
    with pytest.raises(AdapterError, match=r"a and c have different heads \(classifier.weight \[3, 4\], "):
        combine([parents[0], other], MergeOptions("cat"))
    with pytest.raises(AdapterError, match=r"different heads .*none"):
        combine([parents[0], Parent("d", Adapter(factors), 1.0)], MergeOptions("cat"))
    with pytest.raises(AdapterError, match="add up to 0"):
        combine([Parent("a", parents[0].adapter, 1.0), Parent("b", parents[1].adapter, -1.0)], MergeOptions("cat"))


def test_what_changes_nothing_is_refused(pair: tuple[Path, Path]) -> None:
    for weights in ((1.0, -1.0), (0.0, 0.0)):
        for method in ("cat", "svd", "linear"):
            with pytest.raises(AdapterError, match="changes nothing: the weights are zero, or the adapters cancel"):
                ours(list(zip((pair[0], pair[0]), weights, strict=True)), method=method)
    with pytest.raises(AdapterError, match="changes nothing"):
        ours([(pair[0], 0.5), (pair[1], 0.5)], method="magnitude_prune", density=1e-6)


def test_ranks_and_shapes_that_cannot_be_added_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    wide = write_adapter(tmp_path / "wide", rank=6, seed=1)
    for method in ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"):
        density = {"density": 0.5} if METHODS[method].prunes else {}
        with pytest.raises(
            AdapterError, match=r"down_proj has ranks 4 and 6, and A is added to A; use cat, svd"
        ) as told:
            ours([(pair[0], 0.5), (wide, 0.5)], method=method, **density)
        assert "\n" not in str(told.value)
    turned = {m: Factors(item.b.T.copy(), item.a.T.copy(), 1.0) for m, item in read_adapter(pair[0]).factors.items()}
    with pytest.raises(AdapterError, match="so they are for different bases"):
        combine([Parent("a", read_adapter(pair[0])), Parent("b", Adapter(turned))], MergeOptions("cat"))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"method": "slerp"}, "--method is 'slerp'; choose one of linear, cat, svd"),
        ({"method": "ties"}, "--method ties prunes; say how much is left with --density"),
        ({"method": "ties", "density": 0.0}, "--density is 0, expected a share above 0"),
        ({"method": "ties", "density": 1.5}, "--density is 1.5"),
        ({"method": "ties", "density": math.nan}, "--density is nan"),
        ({"method": "linear", "density": 0.5}, "--density would change nothing with --method linear"),
        ({"method": "ties", "density": 0.5, "seed": 1}, "--seed would change nothing with --method ties"),
        ({"method": "cat", "rank": 3, "seed": 1}, "--seed and --rank would change nothing with --method cat"),
        ({"method": "svd", "rank": 0}, "--rank is 0"),
        ({"method": "dare_ties", "density": 0.5, "seed": -1}, "--seed is -1"),
        ({"method": "ties", "density": 0.5, "majority_sign_method": "size"}, "choose total or frequency"),
    ],
)
def test_options_without_a_meaning_are_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as told:
        MergeOptions(**options)
    assert line in str(told.value)


def test_one_adapter_alone_can_be_scaled_and_not_pruned(pair: tuple[Path, Path]) -> None:
    found = ours([(pair[0], -0.5)], method="cat").adapter.factors
    for module, item in read_adapter(pair[0]).factors.items():
        np.testing.assert_allclose(product(found[module]), -0.5 * product(item), rtol=1e-5)
    with pytest.raises(ConfigError, match="needs two adapters or more"):
        ours([(pair[0], 1.0)], method="ties", density=0.5)
    with pytest.raises(ConfigError, match="nothing to merge"):
        combine([], MergeOptions("cat"))
    with pytest.raises(ConfigError, match="no finite number"):
        ours([(pair[0], math.inf)], method="cat")
