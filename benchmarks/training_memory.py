"""``python -m benchmarks.training_memory MODEL DATA.jsonl``: memory and time of training, plain PEFT against EdgeLoRA.

Knows nothing about training itself: each mode runs in a process of its own, whose peak the system reports. This one
stays small, because a new process starts with its parent's peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

MODES = {  # how `training_steps` calls it -> what the table says
    "plain": "plain PEFT, float32",
    "default": "int4 grid in float32",
    "packed": "packed",
    "low-memory": "packed, layers recomputed (--low-memory)",
}
_RETURNING = "low-memory, memory returned"
# glibc keeps large blocks for later once it has seen one freed; a fixed limit makes it give them back.
_RETURN_LARGE_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": str(4 << 20)}


@dataclass(frozen=True)
class ModeResult:
    """What one process took."""

    name: str
    peak_bytes: int  # resident, of the whole process: Python, libraries, weights, activations
    weight_bytes: int
    weight_ratio: float  # over the same weights in float32
    losses: tuple[float, ...]  # nats per completion token, each step
    seconds: float  # of a step, without the first
    cpu_seconds: float  # the same as the processor counts it, which a busy machine disturbs less


def main() -> None:
    """Print a table, or with --json one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_memory", description=main.__doc__)
    parser.add_argument("model", help="Hugging Face folder or GGUF file")
    parser.add_argument("data", help="rows, as for `edgelora train`")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    results = {mode: run_mode(mode, name, options.model, options.data, {}) for mode, name in MODES.items()}
    if sys.platform == "linux":
        name = f"the same with {'='.join(next(iter(_RETURN_LARGE_BLOCKS.items())))}"
        results[_RETURNING] = run_mode("low-memory", name, options.model, options.data, _RETURN_LARGE_BLOCKS)
    if options.json:
        found = {mode: asdict(result) for mode, result in results.items()}
        print(json.dumps({"modes": found, "loss_difference": loss_difference(results)}))
    else:
        print(write_table(results))


def run_mode(mode: str, name: str, model: str, data: str, environment: Mapping[str, str]) -> ModeResult:
    """Run one mode in a process of its own; raises RuntimeError when it fails."""
    print(f"{name} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "stdout.json"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.training_steps", mode, model, data],
                stdout=stream,
                env={**os.environ, **environment},
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"mode {mode} ended with {process.returncode}; its message is above")
        found = json.loads(output.read_bytes())
    kilo = 1 if sys.platform == "darwin" else 1024
    return ModeResult(
        name=name,
        peak_bytes=usage.ru_maxrss * kilo,
        weight_bytes=found["weight_bytes"],
        weight_ratio=found["weight_ratio"],
        losses=tuple(found["losses"]),
        seconds=median(found["seconds"][1:]),
        cpu_seconds=median(found["cpu_seconds"][1:]),
    )


def loss_difference(results: Mapping[str, ModeResult]) -> float:
    """Largest difference of a step's loss between float weights on the grid and any mode that keeps them packed."""
    expected = results["default"].losses
    packed = [result for mode, result in results.items() if mode not in ("plain", "default")]
    return max(abs(one - other) for result in packed for one, other in zip(result.losses, expected, strict=True))


def write_table(results: Mapping[str, ModeResult]) -> str:
    """Markdown; ratios are to plain PEFT."""
    plain = results["plain"]
    lines = [
        "| mode | weights MB | of float32 | peak MB | of plain PEFT | s a step | CPU s a step |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {result.name} | {result.weight_bytes / 1e6:.1f} | {result.weight_ratio:.3f} "
        f"| {result.peak_bytes / 1e6:.0f} | {result.peak_bytes / plain.peak_bytes:.2f} "
        f"| {result.seconds:.2f} | {result.cpu_seconds:.2f} |"
        for result in results.values()
    ]
    return "\n".join([*lines, "", f"Largest loss difference on the same grid: {loss_difference(results):.1e} nats"])


if __name__ == "__main__":
    main()
