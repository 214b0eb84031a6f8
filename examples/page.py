"""``python -m examples.page``: the artifact that `make web` serves, two adapters for browsers without a GPU.

Knows nothing about pages. The adapters are those of the demonstration, which trains them where they are missing;
``--short`` trains a few steps instead: such adapters act, and are not yet of use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from examples import prepare_addresses, prepare_icd
from examples.demo import TRAINING, link_base, plan_training, trained_folders
from examples.download import DatasetError
from examples.introductions import run_introducing
from examples.steps import DemoError, Step, run_steps

SHORT: Mapping[str, Sequence[str]] = {
    "addresses": ("--max-steps", "10", "--batch-size", "4", "--max-length", "192", "--learning-rate", "3e-3"),
    "icd": ("--max-steps", "10", "--batch-size", "8", "--max-length", "128", "--learning-rate", "3e-3"),
}
BASE = ("--source", "HuggingFaceTB/SmolLM2-135M-Instruct", "--license", "apache-2.0")


def plan_page(model: Path, data: Path, build: Path, short: bool) -> list[Step]:
    """Both trainings, as the demonstration has them unless ``short``, and the export."""
    adapters = [word for name, folder in trained_folders(build).items() for word in ("--adapter", f"{name}={folder}")]
    artifact = build / "page"
    export = ("export", str(model), "-o", str(artifact), "--overwrite", "--target", "web-wasm", *BASE, *adapters)
    return [
        *plan_training(model, data, build, SHORT if short else TRAINING),
        Step("export for browsers", export, artifact / "manifest.json"),
    ]


def main() -> int:
    """Make what is missing; prints the folder of the artifact last."""
    parser = argparse.ArgumentParser(description="Export SmolLM2 with the demonstration's adapters for browsers.")
    parser.add_argument("-o", "--output", type=Path, default=None, help="build/demo, or build/short with --short")
    parser.add_argument("--short", action="store_true", help="train a few steps: adapters that act, for tests")
    given = parser.parse_args()
    build = given.output or Path("build/short" if given.short else "build/demo")
    try:
        build.mkdir(parents=True, exist_ok=True)
        model = link_base(build)
        prepare_addresses.prepare(build / "data" / "addresses")
        prepare_icd.prepare(build / "data" / "icd")
        run_steps(plan_page(model, build / "data", build, given.short), build / "steps.json", run_introducing)
    except (DemoError, DatasetError, OSError) as error:
        print(f"page: {error}", file=sys.stderr)
        return 2
    print(build / "page")
    return 0


if __name__ == "__main__":
    sys.exit(main())
