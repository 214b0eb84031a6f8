"""``edgelora verify``: check an artifact; exit code 1 when a check fails.

Knows nothing about what is checked.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgelora.cli.output import Json, emit
from edgelora.compiler.verify import verify_artifact


def verify(
    artifact: Annotated[Path, typer.Argument(help="Folder written by `edgelora export`.", show_default=False)],
    threads: Annotated[int | None, typer.Option(help="Threads for one matrix product; all cores if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Check hashes, logits and greedy tokens against PyTorch's, and that adapters act and leave no trace."""
    report = verify_artifact(artifact, threads=threads)
    failed = sum(not check.passed for check in report.checks)
    lines = [f"{'ok    ' if check.passed else 'FAILED'} {check.name}: {check.detail}" for check in report.checks]
    lines.append(f"{failed} of {len(report.checks)} checks failed" if failed else "all checks passed")
    checks = [dataclasses.asdict(check) for check in report.checks]
    emit(as_json, {"passed": report.passed, "checks": checks}, lines)
    if not report.passed:
        raise typer.Exit(1)
