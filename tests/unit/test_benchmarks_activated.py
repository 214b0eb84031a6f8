"""The benchmark of activated adapters: what it times on a tiny model, and the page that it writes."""

from pathlib import Path

from benchmarks import activated
from edgelora_runtime import load


def test_a_switch_is_timed_and_told(tiny_checkpoint: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    name = activated.prepare(str(tiny_checkpoint), artifact, rank=2)
    with load(artifact, threads=1) as model:
        assert len(model.invocation("activated-1")) > 1
        assert model.invocation("plain-1") == ()
    runs = {arm: [activated.time_switches(artifact, arm, 120, 3, 1) for _ in range(2)] for arm in activated.ARMS}
    assert all(len(run["switch_ms"]) == 3 for of_arm in runs.values() for run in of_arm)
    page = activated.write_page(
        {
            "model": name, "date": "today", "machine": {"cpu": "one", "onnxruntime": "1"}, "context": 120, "rank": 2,
            "switches": 3, "processes": 2, "threads": 1,
            "arms": {arm: activated.sum_up(of_arm) for arm, of_arm in runs.items()},
        }
    )  # fmt: skip
    assert page.count("\n| plain | ") == 1 and page.count("\n| activated | ") == 1
    assert "% of one between plain ones" in page
