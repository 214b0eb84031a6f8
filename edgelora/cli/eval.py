"""``edgelora eval``: score an artifact on a data file, rendered exactly as training renders it.

Knows nothing about how scores are computed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from edgelora.cli.output import Json, emit, finite, note
from edgelora.data import Problem, Row, name_problems, read_rows
from edgelora.errors import DataError, EdgeLoraError, InputError
from edgelora.metrics import accuracy, exact_match, field_f1, is_json, json_valid, macro_f1
from edgelora.training.encode import Example, encode_row
from edgelora_runtime import Model, load

_BATCH = 8  # rows decoded side by side
_SPARE = 16  # tokens an answer may be longer than the longest expected one


@dataclass(frozen=True)
class Case:
    """A row and its token ids; rows without a prompt (plain text) are scored by loss alone."""

    row: Row
    example: Example

    @property
    def prompt_ids(self) -> list[int]:
        """Tokens before the answer."""
        return list(self.example.ids[: self.example.prompt_length])

    @property
    def completion_ids(self) -> list[int]:
        """Tokens of the answer, the one that ends it included."""
        return list(self.example.ids[self.example.prompt_length :])


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="Folder written by `edgelora export`.", show_default=False)],
    data: Annotated[Path, typer.Argument(help="JSONL as for training.", show_default=False)],
    adapter: Annotated[str, typer.Option(metavar="SPEC", help="none, NAME, NAME:0.5 or A:0.7+B:0.3.")] = "none",
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first N rows.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer; a little over the longest expected one if left out.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads for one matrix product; all cores if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Score answers and loss on a data file."""
    rows = read_rows(data)
    model = load(artifact, threads=threads)
    model.set_adapter(adapter)
    cases, problems = encode_cases(rows.rows[:limit], model, str(data))
    problems = sorted([*rows.problems, *problems], key=lambda problem: problem.line)
    if problems:
        note(f"{data}: {len(problems)} lines left out: {name_problems(problems)}")
    choices = sorted({row.completion for row in rows.rows if row.label})
    payload = {"n": len(cases), "skipped": len(problems), "adapter": adapter}
    payload |= score(model, cases, choices, adapter, max_new_tokens)
    emit(as_json, payload, [f"{key:15} {_show(value)}" for key, value in payload.items()])


def encode_cases(rows: Sequence[Row], model: Model, where: str) -> tuple[list[Case], list[Problem]]:
    """Token ids of every row that fits the model; raises DataError when none does."""
    if model.tokenizer is None:
        raise InputError(f"{model.manifest.model.name} was exported without a tokenizer; eval needs one")
    info = model.manifest.model
    cases: list[Case] = []
    problems: list[Problem] = []
    for row in rows:
        try:
            example = encode_row(row, model.tokenizer, info.eos_token_ids)
        except EdgeLoraError as error:
            problems.append(Problem(row.line, str(error)))
            continue
        if len(example.ids) > info.context_length:
            problems.append(Problem(row.line, f"{len(example.ids)} tokens, the model holds {info.context_length}"))
        elif len(example.ids) <= example.prompt_length:
            problems.append(Problem(row.line, "too few tokens to predict one from another"))
        else:
            cases.append(Case(row, example))
    if not cases:
        raise DataError(f"{where} has no row to evaluate: {name_problems(problems)}")
    return cases, problems


def score(
    model: Model, cases: Sequence[Case], choices: Sequence[str], adapter: str, max_new_tokens: int | None
) -> dict[str, Any]:
    """Every figure that the rows allow; ``loss`` is the mean over all answer tokens, in nats."""
    total = tokens = 0.0
    labels: list[tuple[str, str]] = []  # expected, found
    texts: list[tuple[str, str]] = []
    asked = [case for case in cases if case.row.prompt]
    with tqdm(total=len(cases) + len(asked), desc="eval", unit="row", file=sys.stderr) as bar:
        for case in cases:
            logprobs = model.score(case.prompt_ids, case.completion_ids, adapter=adapter)
            total -= float(logprobs.sum())
            tokens += len(logprobs)
            if case.row.label:
                labels.append((case.row.completion, _choose(model, case, choices, adapter)))
                bar.update()
            bar.update()
        for batch in _batches([case for case in asked if not case.row.label]):
            found = _answer(model, batch, adapter, max_new_tokens)
            texts += zip([case.row.completion for case in batch], found, strict=True)
            bar.update(len(batch))
    payload: dict[str, Any] = {"loss": finite(total / tokens)}
    payload["exact_match"] = exact_match(*_columns([*labels, *texts])) if asked else None
    if texts and all(is_json(expected) for expected, _ in texts):
        payload |= {"json_valid": json_valid(_columns(texts)[1]), "field_f1": field_f1(*_columns(texts))}
    if labels:
        payload |= {"accuracy": accuracy(*_columns(labels)), "macro_f1": macro_f1(*_columns(labels))}
        payload["labels"] = len(choices)
    return payload


def _answer(model: Model, batch: Sequence[Case], adapter: str, max_new_tokens: int | None) -> list[str]:
    """Greedy answers, one text for each case."""
    assert model.tokenizer is not None  # encode_cases refused such a model
    longest = max_new_tokens or max(len(case.completion_ids) for case in batch) + _SPARE
    info = model.manifest.model
    room = info.context_length - max(len(case.prompt_ids) for case in batch)
    found = model.generate_ids(
        [case.prompt_ids for case in batch], adapter=adapter, max_new_tokens=min(longest, max(1, room))
    )
    ends = set(info.eos_token_ids)
    return [model.tokenizer.decode([token for token in ids if token not in ends]) for ids in found]


def _choose(model: Model, case: Case, choices: Sequence[str], adapter: str) -> str:
    """The label that the model finds most likely."""
    assert not isinstance(case.row.prompt, str)  # read_rows makes a label row a conversation
    messages = [dict(message) for message in case.row.prompt]
    if model.tokenizer is not None and model.tokenizer.chat_template is None:
        return model.generate(messages[-1]["content"], raw=True, adapter=adapter, choices=choices).text
    return model.chat(messages, adapter=adapter, choices=choices).text


def _batches(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases of like length side by side, so that little is padding."""
    ordered = sorted(cases, key=lambda case: len(case.example.ids))
    return [ordered[start : start + _BATCH] for start in range(0, len(ordered), _BATCH)]


def _columns(pairs: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [expected for expected, _ in pairs], [found for _, found in pairs]


def _show(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
