"""The commands that ``python -m benchmarks.quality`` runs.

Knows nothing about training; nothing is run here.
"""

from pathlib import Path

from benchmarks.quality import DECODE, GRIDS, base_commands, compare_command, grid_file


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
