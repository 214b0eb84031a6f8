"""``edgelora eval``: score an artifact on a data file, rendered exactly as training renders it.

artifact, rows -> figures as lines or JSON
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgelora.cli.bars import BARS
from edgelora.cli.flags import spread
from edgelora.cli.output import Json, emit, finite, note
from edgelora.cli.thread_options import Threads
from edgelora.data.labelled import read_labelled
from edgelora.data.rows import name_problems, read_rows
from edgelora.data.template_options import Day, TemplateVariables
from edgelora.errors import InputError
from edgelora.evaluation.score import (
    Rendering,
    count_answers,
    encode_cases,
    mean_loss,
    score_answers,
    trained_rendering,
)
from edgelora.evaluation.score_encoder import score_rows
from edgelora_runtime import load
from edgelora_runtime.manifest import IMAGE_CLASSIFICATION, TEXT_GENERATION, read_manifest


@spread
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="Folder written by `edgelora export`.", show_default=False)],
    data: Annotated[
        Path, typer.Argument(help="JSON lines, a JSON list, CSV or Parquet, as for training.", show_default=False)
    ],
    adapter: Annotated[str, typer.Option(metavar="SPEC", help="none, NAME, NAME:0.5 or A:0.7+B:0.3.")] = "none",
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first N rows alone.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer; a little over the longest expected one if left out.")
    ] = None,
    raw: Annotated[
        bool | None,
        typer.Option(
            "--raw/--chat",
            help="Leave the chat template out, or use it.  [default: as the adapter was trained, by its receipt]",
            show_default=False,
        ),
    ] = None,
    template_variables: TemplateVariables = None,
    date: Day = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Score answers and loss on a data file: exact match, labels, fields of JSON; tags and searches of encoders.

    Example: edgelora eval smol heldout.jsonl --adapter support
    """
    manifest = read_manifest(artifact)
    if manifest.task != TEXT_GENERATION:
        flags = ("--raw/--chat", "--template-var", "--date", "--max-new-tokens")
        values = (raw, template_variables, date, max_new_tokens)
        if told := [flag for flag, value in zip(flags, values, strict=True) if value is not None]:
            raise InputError(f"{', '.join(told)}: for models that write text, which {manifest.model.name} is not")
        _evaluate_encoder(artifact, manifest.task, data, adapter, limit, threads, as_json)
        return
    rows = read_rows(data)
    model = load(artifact, threads=threads)
    model.set_adapter(adapter)
    variables = template_variables
    if raw and (variables is not None or date is not None):
        raise InputError("--template-var and --date are for the chat template, which --raw leaves out; leave one out")
    # What is given wins; adapters that disagree need only be asked where something is not.
    given = raw is not None and variables is not None
    trained = Rendering() if given else trained_rendering(artifact, model, adapter)
    how = Rendering(
        trained.raw if raw is None else raw, trained.variables if variables is None else variables, date or trained.date
    )
    if how.raw:
        how = Rendering(raw=True)
    cases, problems = encode_cases(rows.rows[:limit], model, str(data), how)
    problems = sorted([*rows.problems, *problems], key=lambda problem: problem.line)
    if problems:
        note(f"{data}: {len(problems)} lines left out: {name_problems(problems)}")
    choices = sorted({row.completion for row in rows.rows if row.label})
    payload: dict[str, object] = {"n": len(cases), "skipped": len(problems), "adapter": adapter}
    with BARS.counting("eval", len(cases) + count_answers(cases), "row") as step:
        payload["loss"] = finite(mean_loss(model, cases, adapter, step))
        payload |= score_answers(model, cases, choices, adapter, max_new_tokens, step, how)
    emit(as_json, payload, [f"{key:15} {_show(value)}" for key, value in payload.items()])


def _evaluate_encoder(
    artifact: Path, task: str, data: Path, adapter: str, limit: int | None, threads: int | None, as_json: bool
) -> None:
    if task == IMAGE_CLASSIFICATION:
        raise InputError(f"{artifact} classifies images, and rows are texts; score it in Python with classify(pixels)")
    rows = read_labelled(data, task)
    chosen = rows.rows[:limit]
    if rows.problems:
        note(f"{data}: {len(rows.problems)} lines left out: {name_problems(rows.problems)}")
    model: Any = load(artifact, threads=threads)
    payload: dict[str, object] = {"n": len(chosen), "skipped": len(rows.problems), "adapter": adapter}
    with model, BARS.counting("eval", len(chosen), "row") as step:
        payload |= score_rows(model, chosen, adapter, step)
    emit(as_json, payload, [f"{key:15} {_show(value)}" for key, value in payload.items()])


def _show(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
