"""``edgelora export --kv-cache int8``: a quarter of the memory, nearly the same answers, with adapters and prefixes."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgelora.artifact.kv_cache_steps import cache_scales
from edgelora.cli import main
from edgelora_runtime import ArtifactError, load
from edgelora_runtime.manifest import read_manifest
from tests.opened import Opened, open_parts
from tests.tiny import write_adapter, write_checkpoint

IDS = [int(token) for token in np.random.default_rng(3).integers(0, 60, 40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``base``, ``adapter``, and artifacts ``float32`` and ``int8`` of both."""
    folder = tmp_path_factory.mktemp("cache")
    base = write_checkpoint(folder / "base", spread=0.1)  # wider ones attend so sharply that any rounding shows
    adapter = write_adapter(folder / "adapter", size=0.01)
    for kind in ("float32", "int8"):
        options = ["--accuracy-level", "0", "--adapter", f"x={adapter}", "--kv-cache", kind]
        assert main(["export", str(base), "-o", str(folder / kind), *options]) == 0
    return folder


def _cached(parts: Opened, spec: str) -> np.ndarray:
    parts.model.logits(IDS, adapter=spec)
    return parts.session.cached()


def test_it_verifies_and_says_what_a_token_takes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for kind in ("float32", "int8"):
        assert main(["verify", str(folder / kind)]) == 0
        capsys.readouterr()
        assert main(["inspect", str(folder / kind), "--json"]) == 0
        found[kind] = json.loads(capsys.readouterr().out)["kv_cache"]
        assert found[kind]["type"] == kind
    assert found["float32"]["bytes_per_token"] == 4 * found["int8"]["bytes_per_token"]


@pytest.mark.parametrize("spec", ["none", "x", "x:-0.5"])
def test_answers_are_nearly_those_of_a_float_cache(folder: Path, spec: str) -> None:
    exact, rounded = (load(folder / kind, threads=1).logits(IDS, adapter=spec) for kind in ("float32", "int8"))
    off = np.abs(rounded - exact).max()
    assert 0 < off < 0.05 * np.abs(exact).max()


def test_memory_holds_bytes_and_a_prefix_is_kept_in_them(folder: Path, tmp_path: Path) -> None:
    opened = {kind: open_parts(folder / kind, threads=1) for kind in ("float32", "int8")}
    for kind, parts in opened.items():
        assert _cached(parts, "x").dtype == kind
    models = {kind: parts.model for kind, parts in opened.items()}
    file = tmp_path / "kept"
    models["int8"].keep_prefix(IDS[:30], file, adapter="x")
    again = load(folder / "int8", threads=1)
    assert again.load_prefix(file, adapter="x") == 30
    answers = [model.generate_ids(IDS, adapter="x", max_new_tokens=8) for model in (models["int8"], again)]
    assert answers[0] == answers[1]
    with pytest.raises(ArtifactError, match="another artifact"):
        models["float32"].load_prefix(file, adapter="x")


def test_steps_leave_room_and_know_the_adapters(folder: Path) -> None:
    scales = {
        name: cache_scales(folder / "float32", [IDS], adapters)
        for name, adapters in (("none", {}), ("x", {"x": folder / "adapter"}))
    }
    parts = open_parts(folder / "float32", threads=1)
    for spec in ("none", "x"):
        reach = np.abs(_cached(parts, spec)).max(axis=2)
        assert (127 * scales[spec] >= 2 * reach - 1e-6).all()
    assert (scales["x"] >= scales["none"]).all()
    assert (scales["x"] > scales["none"]).any()
    typical = np.median(scales["x"], axis=(1, 2), keepdims=True)
    assert (scales["x"] >= 0.09 * typical).all(), "a channel that is silent here may speak elsewhere"


def test_a_merged_model_and_calibration_rows(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "what a day", "completion": "a good one"}\n' * 3, encoding="utf-8")
    options = ["--kv-cache", "int8", "--calibration", str(rows), "--merge", str(folder / "adapter")]
    out = tmp_path / "merged"
    assert main(["export", str(folder / "base"), "-o", str(out), "--quant", "int8", *options]) == 0
    assert main(["verify", str(out)]) == 0
    assert read_manifest(out).graph.kv_cache == "int8"
