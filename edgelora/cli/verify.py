"""``edgelora verify``: check an artifact; exit code 1 when a check fails.

artifact -> checks as lines or JSON, exit code
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgelora.artifact.verify import Rounding, verify_artifact
from edgelora.cli.output import Json, emit
from edgelora.cli.thread_options import Threads


def verify(
    artifact: Annotated[Path, typer.Argument(help="Folder written by `edgelora export`.", show_default=False)],
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Check hashes, the graph against PyTorch's answers in exact arithmetic, and that adapters act and leave no trace.

    What the device rounds for speed is reported in figures: KL, top tokens and logits over at least 500 positions; of
    classifiers, taggers and embedders the cosine of outputs.

    Example: edgelora verify smol
    """
    report = verify_artifact(artifact, threads=threads)
    failed = sum(not check.passed for check in report.checks)
    lines = [f"{'ok    ' if check.passed else 'FAILED'} {check.name}: {check.detail}" for check in report.checks]
    lines.append(f"{failed} of {len(report.checks)} checks failed" if failed else "all checks passed")
    checks = [dataclasses.asdict(check) for check in report.checks]
    rounding = None if report.rounding is None else _rounding_payload(report.rounding)
    closeness = None if report.closeness is None else dataclasses.asdict(report.closeness)
    emit(as_json, {"passed": report.passed, "checks": checks, "rounding": rounding, "closeness": closeness}, lines)
    if not report.passed:
        raise typer.Exit(1)


def _rounding_payload(rounding: Rounding) -> dict[str, object]:
    return {**dataclasses.asdict(rounding.figures), "unread_kl": rounding.unread_kl}
