"""The benchmark of ten classifiers: random heads that a runtime takes, and the page with its ratios."""

from pathlib import Path

import edgelora_runtime
from benchmarks.adapters import write_random_adapter
from benchmarks.ten_classifiers import ADAPTERS, MERGED, ONE, write_page
from benchmarks.ten_peers import OPTIMUM
from edgelora_runtime.manifest import read_manifest

ARTIFACT = Path("runtime/conformance/encoder-topics")


def test_a_random_adapter_of_an_encoder_brings_a_head_of_its_own(tmp_path: Path) -> None:
    manifest = read_manifest(ARTIFACT)
    assert manifest.encoder is not None
    with edgelora_runtime.load(ARTIFACT, threads=1) as model:
        assert isinstance(model, edgelora_runtime.EncoderModel)
        for count in (1, 5):
            folder = write_random_adapter(manifest, 2, tmp_path / f"random-{count}", n_labels=count)
            model.load_adapter(f"r{count}", folder, trust=True)
        answers = model.classify_each("news of today", ["r1", "r5"])
    assert [len(answer.scores) for answer in answers.values()] == [1, 5]


def test_the_page_compares_with_one_model_and_adapters_and_with_ten() -> None:
    def runs(*values: float) -> list[dict[str, float]]:
        names = ("private_mb", "pss_mb", "open_s", "all_ms", "texts_s", "short_ms", "later_mb")
        return [dict(zip(names, values, strict=True)) for _ in range(2)]

    arms = {ADAPTERS: runs(120, 130, 0.2, 50, 60, 3, 150), MERGED: runs(400, 410, 2, 100, 70, 12, 400),
            ONE: runs(80, 90, 0.2, 10, 70, 1, 80), OPTIMUM: runs(90, 100, 0.3, 9, 80, 1, 90)}  # fmt: skip
    machine = {"cpu": "one", "cores": 2, "onnxruntime": "1"}
    page = write_page(
        {"model": "tiny", "date": "today", "machine": machine, "threads": 2, "rounds": 2, "cpu_time": False, "rank": 8,
         "adapters_mb": 20 * (1 << 20) / 1e6, "arms": arms}
    )  # fmt: skip
    assert "| all 10 labels of a text, ms | 50.0 (50.0 to 50.0) | 100.0 (100.0 to 100.0) |  |  |" in page
    assert "MB of adapters | 1.20 |" in page
    assert "| all ten labels, time over ten merged models | 0.50 |" in page
    assert "| the same of short texts | 0.25 |" in page
    assert "| the same after short texts, ten rows in a call | 1.50 |" in page
    assert "| texts a second with an adapter on, over optimum's int8 | 0.75 |" in page
