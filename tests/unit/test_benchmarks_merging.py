"""The benchmark of merges: what it finds for two tiny adapters, and the page and plot that it writes."""

import argparse
import json
from pathlib import Path

import pytest

import edgelora
from benchmarks import merging
from edgelora.adapter.merge_options import METHODS
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.torch_model.choose_grid import GridChoice, grid_maker
from edgelora.training.finish_receipt import make_receipt
from edgelora_runtime import load
from tests.tiny import write_adapter, write_checkpoint


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make demo`` leaves, in small."""
    folder = tmp_path_factory.mktemp("demo")
    base = write_checkpoint(folder / "model")
    adapters = {}
    for seed, name in enumerate(merging.ADAPTERS):
        adapters[name] = write_adapter(folder / "adapters" / name, rank=2, seed=seed, size=0.05)
        make_receipt(open_checkpoint(str(base)), adapters[name], grid_maker(GridChoice("int4")))
        (folder / "data" / name).mkdir(parents=True)
        for part in ("train", "heldout"):
            rows = [{"text": f"{part} {word}", "label": word} for word in ("ja", "nein")]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / "data" / name / f"{part}.jsonl").write_text(text)
    edgelora.export(base, folder / "artifact", edgelora.ExportOptions(adapters=adapters))
    return folder


def test_every_way_is_measured_and_told(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "DENSITIES", (0.5,))
    folders = {name: demo / "adapters" / name for name in merging.ADAPTERS}
    ways = merging.make_ways(folders, (1.0, 0.5), tmp_path / "work")
    assert [way.label for way in ways[:5]] == ["addresses alone", "icd alone", merging.BLEND, "linear", "cat"]
    assert len(ways) == 3 + len(METHODS)
    assert {way.label: way.rank for way in ways if way.folder}["cat"] == 4
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}
    assert merging.make_ways(folders, (1.0, 0.5), tmp_path / "work") == ways
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()} == kept
    options = argparse.Namespace(limit=None, asked=2)
    chosen = [way for way in ways if way.label in ("icd alone", merging.BLEND, "cat", "ties_svd 0.5")]
    with load(demo / "artifact") as model:
        found = [merging.measure(model, demo / "artifact", demo / "data", way, (1.0, 0.5), options) for way in chosen]
    by_label = {item["label"]: item for item in found}
    assert by_label["icd alone"]["interference"] == {}
    for name in merging.ADAPTERS:
        blend, cat = (by_label[label] for label in (merging.BLEND, "cat"))
        assert cat["tasks"][name]["loss"] == pytest.approx(blend["tasks"][name]["loss"], rel=1e-2)
        assert cat["interference"][name]["kl"] == pytest.approx(blend["interference"][name]["kl"], rel=5e-2)
        assert by_label["ties_svd 0.5"]["relative_error"] > 0.1
        assert blend["tasks"][name]["metric"] == "accuracy"
    times = merging.time_ways(demo / "artifact", chosen, rounds=1, threads=1)
    assert list(times) == ["none", "addresses", merging.BLEND, "merged, rank 4", "merged, rank 2"]
    result = {
        "model": "tiny", "date": "today", "machine": {"cpu": "one", "onnxruntime": "1"}, "asked": 2,
        "weights": {"addresses": 1.0, "icd": 0.5}, "decode_ms": times,
        "ways": [{**by_label["icd alone"], "label": "addresses alone"}, *found],
    }  # fmt: skip
    page = merging.write_page(result)
    assert "| way | rank | off the sum | addresses: foretold, loss, accuracy | icd: foretold, loss, accuracy |" in page
    assert "Weights: addresses 1, icd 0.5." in page
    assert page.count("\n| merged, rank") == 2
    assert merging.draw(result).startswith(b"\x89PNG")
