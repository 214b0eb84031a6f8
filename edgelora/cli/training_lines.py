"""What ``train`` and ``recover`` say of a run that is done, and the arguments that both have.

TrainResult -> lines, JSON payload
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelora.cli.output import finite
from edgelora.data.rows import Problem

if TYPE_CHECKING:  # torch, which help does not wait for
    from edgelora.training.run import TrainResult

_SHOWN = 5  # skipped lines named to people; --json names all

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="Hugging Face folder, hub id (owner/name, owner/name@revision) or GGUF file."),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="ADAPTER_DIR", help="Folder that the adapter becomes.")]


def payload(result: TrainResult) -> dict[str, object]:
    """What a run says with ``--json``."""
    return {
        "adapter": str(result.adapter),
        "steps": result.steps,
        "planned_steps": result.planned_steps,
        "first_loss": finite(result.first_loss),
        "loss": finite(result.loss),
        "eval_loss": None if result.eval_loss is None else finite(result.eval_loss),
        "trainable_parameters": result.trainable_parameters,
        "trainable_share": result.trainable_share,
        "truncation": None if result.truncation is None else dict(result.truncation.record()),
        "rows": _rows(result.rows_used, result.rows_skipped),
        "earlier_answers": result.earlier_answers,
        "rows_cut": result.rows_cut,
        "calibration": None if result.calibrated is None else _calibration(result),
        "eval_rows": _rows(result.eval_rows_used, result.eval_rows_skipped),
        "tokens_per_s": result.tokens_per_s,
        "seconds": result.seconds,
    }


def lines(result: TrainResult, what: str = "loss") -> list[str]:
    """What a run says to people; ``what`` is the name of its loss."""
    said = [
        f"{result.adapter}: {result.steps} steps, {what} {result.loss:.4f}"
        + ("" if result.eval_loss is None else f", evaluation {what} {result.eval_loss:.4f}"),
        f"trainable parameters: {result.trainable_parameters:,} ({result.trainable_share:.2%} of all)",
        f"{result.tokens_per_s:.0f} tokens/s, {result.seconds:.0f} s",
    ]
    if result.steps < result.planned_steps:
        said.append(f"stopped after {result.steps} of {result.planned_steps} steps: the evaluation got no better")
    if result.truncation is not None:
        cut = result.truncation.record()
        ranks = f"{cut['mean_rank']} on average, {cut['largest_rank']} at most"
        said.append(f"rank {cut['rank_before']} cut to {ranks}: {cut['parameters']:,} parameters left")
        said.append(f"{what} {cut['loss_before']:.4f} before the cut, {cut['loss_after']:.4f} after it")
    if result.calibrated is not None:
        told = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in result.calibrated.scores.items())
        judged = "the evaluation rows" if not result.calibration_rows else f"{result.calibration_rows} rows held back"
        said.append(f"temperature {result.calibrated.head.temperature:g}, {told} on {judged}")
    if result.rows_cut:
        said.append(f"{result.rows_cut} texts were longer than is read, and lost their end")
    if result.earlier_answers:
        said.append(
            f"conversations: the last answer of each was learned, {result.earlier_answers} earlier ones were only read"
        )
    for kind, used, skipped in (
        ("rows", result.rows_used, result.rows_skipped),
        ("evaluation rows", result.eval_rows_used, result.eval_rows_skipped),
    ):
        if skipped:
            said.append(f"{kind}: {used} used, {len(skipped)} skipped")
            said += [f"  line {problem.line}: {problem.reason}" for problem in skipped[:_SHOWN]]
            if len(skipped) > _SHOWN:
                said.append(f"  and {len(skipped) - _SHOWN} more; --json names all")
    return said


def _calibration(result: TrainResult) -> dict[str, object]:
    assert result.calibrated is not None
    return {
        "held_back": result.calibration_rows,
        "temperature": result.calibrated.head.temperature,
        **result.calibrated.scores,
    }


def _rows(used: int, skipped: tuple[Problem, ...]) -> dict[str, object]:
    return {"used": used, "skipped": [{"line": problem.line, "reason": problem.reason} for problem in skipped]}
