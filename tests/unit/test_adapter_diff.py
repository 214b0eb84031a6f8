import json
from pathlib import Path

import numpy as np
import pytest

import edgelora
from edgelora.adapter.difference import find_difference
from edgelora.adapter.lineage import read_source
from edgelora.cli import main
from edgelora.errors import AdapterError
from edgelora_runtime.adapter import Factors, read_adapter
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
from tests.tiny import TARGETS, write_adapter


def product(item: Factors) -> np.ndarray:
    return item.scaling * (item.b.astype(np.float64) @ item.a)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The second is larger, of another rank, lacks ``down_proj`` and has ``up_proj`` alone in turn."""
    folder = tmp_path_factory.mktemp("pair")
    return (
        write_adapter(folder / "a", rank=4, seed=1, targets=TARGETS[:5]),
        write_adapter(folder / "b", rank=3, seed=2, alpha=6, size=0.2, targets=(*TARGETS[:4], "up_proj")),
    )


def test_figures_are_those_of_whole_matrices(pair: tuple[Path, Path]) -> None:
    found = find_difference(*map(read_source, pair))
    a, b = (read_adapter(folder).factors for folder in pair)
    assert found.modules.keys() == a.keys() & b.keys()
    assert found.only_a.keys() == a.keys() - b.keys()
    assert found.only_b.keys() == b.keys() - a.keys()
    for module, item in found.modules.items():
        one, other = product(a[module]), product(b[module])
        assert (item.rank_a, item.rank_b) == (4, 3)
        assert item.norm_a == pytest.approx(float(np.linalg.norm(one)))
        assert item.norm_b == pytest.approx(float(np.linalg.norm(other)))
        assert item.distance == pytest.approx(float(np.linalg.norm(one - other)))
        assert item.cosine == pytest.approx(float(np.vdot(one, other) / np.linalg.norm(one) / np.linalg.norm(other)))
    zeros = {module: np.zeros_like(product(item)) for module, item in {**a, **b}.items()}
    one, other = (
        np.concatenate([({**zeros, **{m: product(f) for m, f in factors.items()}}[m]).ravel() for m in zeros])
        for factors in (a, b)
    )
    assert found.distance == pytest.approx(float(np.linalg.norm(one - other)))
    assert found.relative_distance == pytest.approx(float(np.linalg.norm(one - other) / np.linalg.norm(one)))
    assert found.cosine == pytest.approx(float(np.vdot(one, other) / np.linalg.norm(one) / np.linalg.norm(other)))
    assert found.config == {
        "r": (4, 3),
        "lora_alpha": (8, 6),
        "target_modules": ([*TARGETS[:5]], [*TARGETS[:4], "up_proj"]),
    }


def test_an_adapter_differs_in_nothing_from_itself(pair: tuple[Path, Path]) -> None:
    found = edgelora.diff_adapters(str(pair[0]), pair[0])
    assert found.distance == pytest.approx(0, abs=1e-5)
    assert found.cosine == pytest.approx(1)
    assert (found.only_a, found.only_b, found.config, found.base, found.heads) == ({}, {}, {}, {}, {})


def test_zeros_have_no_direction(pair: tuple[Path, Path], tmp_path: Path) -> None:
    found = find_difference(read_source(pair[0]), read_source(write_adapter(tmp_path / "zero", size=0)))
    assert found.cosine is None
    assert all(item.cosine is None for item in found.modules.values())
    assert found.distance == pytest.approx(found.norm_a)


def test_the_command_tells_it(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapter", "diff", *map(str, pair), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["config"]["r"] == [4, 3]
    assert set(told["modules"]["model.layers.1.self_attn.q_proj"]) == {
        "rank_a", "rank_b", "norm_a", "norm_b", "distance", "cosine",
    }  # fmt: skip
    assert main(["adapter", "diff", *map(str, pair)]) == 0
    text = capsys.readouterr().out
    assert "only in A: model.layers.0.mlp.gate_proj, model.layers.1.mlp.gate_proj\n" in text
    assert "lora_alpha: 8 and 6\n" in text
    assert "q_proj  2        " in text


def test_adapters_of_bases_of_other_sizes_are_refused(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_adapter(tmp_path / "turned", rank=4, seed=1)
    path = folder / "adapter_model.safetensors"
    write_safetensors(path, {key: np.concatenate([value, value], 1) if "lora_A" in key else value
                             for key, value in read_safetensors(path).items()})  # fmt: skip
    with pytest.raises(AdapterError, match=r"are for different bases: .*q_proj is \(64, 64\) and \(64, 128\)"):
        find_difference(read_source(pair[0]), read_source(folder))
    assert main(["adapter", "diff", str(pair[0]), str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
