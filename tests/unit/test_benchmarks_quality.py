"""The overview of ``python -m benchmarks.quality`` and the commands that it runs.

Knows nothing about training: reports are written down here.
"""

from pathlib import Path
from typing import Any

from benchmarks.quality import DECODE, GRIDS, base_commands, compare_command, grid_file, overview


def over(median: float, least: float, most: float) -> dict[str, float]:
    return {"median": median, "least": least, "most": most}


def arm(name: str, loss_over_float: dict[str, float] | None, metric: dict[str, float]) -> dict[str, Any]:
    return {
        "name": name,
        "loss": over(0.5, 0.4, 0.6),
        "loss_over_float": loss_over_float,
        "figures": {"accuracy": metric},
        "bytes": 2_340_000,
    }


def test_overview_shows_the_reference_by_its_loss_and_the_others_by_their_distance() -> None:
    grid = arm("grid", over(0.01, -0.02, 0.03), over(0.4, 0.3, 0.5))
    one = {"metric": "accuracy", "arms": [arm("float", None, over(0.5, 0.5, 0.5)), grid]}
    other = {"metric": "accuracy", "arms": [arm("float", None, over(0.7, 0.7, 0.7))]}
    table = overview({"icd": one, "names": other}, {"grid": {"median": 5.678}})
    assert table.splitlines() == [
        "| arm | icd: loss over float LoRA | accuracy | names: loss over float LoRA | accuracy | MB | decode ms |",
        "|---|---:|---:|---:|---:|---:|---:|",
        "| `float` | 0.500 (0.400 to 0.600) | 0.50 | 0.500 (0.400 to 0.600) | 0.70 | 2.3 |  |",
        "| `grid` | +0.010 (-0.020 to +0.030) | 0.40 (0.30 to 0.50) |  |  | 2.3 | 5.68 |",
    ]


def test_losses_are_measured_without_timing_and_times_with_one_seed(tmp_path: Path) -> None:
    losses = compare_command(tmp_path / "m.gguf", tmp_path, "icd", "0,1,2", 2)
    assert losses[-1] == "--no-decode"
    assert losses[losses.index("--seeds") + 1] == "0,1,2"
    times = compare_command(tmp_path / "m.gguf", tmp_path, DECODE, "0,1,2", 1)
    assert times[-1] == "--decode"
    assert times[times.index("--seeds") + 1] == "0"
    assert losses.count("--grid") == times.count("--grid") == len(GRIDS)


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    assert [command[0] for command in base_commands(tmp_path / "m.gguf", tmp_path)] == [
        "quantize",
        "quantize",
        "recover",
    ]
    for name in GRIDS:
        grid_file(tmp_path, name).touch()
    (tmp_path / "recovery").mkdir()
    (tmp_path / "recovery" / "receipt.json").touch()
    assert base_commands(tmp_path / "m.gguf", tmp_path) == []
