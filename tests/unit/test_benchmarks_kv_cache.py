"""The benchmark of KV caches: what it finds in two models, and the page that it writes."""

from pathlib import Path

import pytest

from benchmarks import kv_cache
from edgelora_runtime import load
from tests.unit.test_runtime_model import ARTIFACT


def test_a_model_beside_itself_is_equal_and_as_fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 4)
    monkeypatch.setattr(kv_cache, "TEXTS", (str(text),))
    models = {kind: load(ARTIFACT, threads=1) for kind in kv_cache.KINDS}
    found = kv_cache.compare_text(models)
    assert found["kl"] == {"mean": 0.0, "p99": 0.0}
    assert found["same_top_token"] == 1.0
    assert found["loss"]["float32"] == found["loss"]["int8"] > 0
    times = kv_cache.decode(models, context=20, rounds=3, steps=5)
    assert set(times["ms"]) == set(kv_cache.KINDS)
    assert times["ratio"]["p10"] <= times["ratio"]["median"] <= times["ratio"]["p90"]
    page = kv_cache.write_page(
        {
            "model": "tiny", "date": "today", "machine": {"cpu": "one", "onnxruntime": "1"}, "threads": 1, "rounds": 3,
            "bytes_per_token": {"float32": 4096, "int8": 1024}, "text": found, "decode": {"20": times},
        }
    )  # fmt: skip
    assert "| kB for each token of a row | 4.1 | 1.0 |" in page
    assert "| the same likeliest token | | 100.0 % |" in page
    assert page.count("\n| 20 |") == 1
