"""How well an artifact does on the rows of a data file, rendered exactly as training renders them.

Model, Row -> figures
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora.data.encode import Example, encode_row
from edgelora.data.rows import Problem, Row, name_problems
from edgelora.errors import DataError, EdgeLoraError, InputError
from edgelora.evaluation.metrics import accuracy, exact_match, field_f1, is_json, json_valid, macro_f1
from edgelora.progress import Count
from edgelora_runtime import Model
from edgelora_runtime.adapter import parse_spec
from edgelora_runtime.messages import as_text
from edgelora_runtime.receipt import Receipt, read_receipt
from edgelora_runtime.rendering import parse_date
from edgelora_runtime.text import Tokenizer

_BATCH = 8  # rows decoded side by side
_SPARE = 16  # tokens an answer may be longer than the longest expected one
# The first that the rows allow is the one of the task.
_TASK_METRICS = ("accuracy", "entity_f1", "recall_at_1", "field_f1", "exact_match")


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

    def expected(self, tokenizer: Tokenizer) -> str:
        """The answer as a model that has learned it would show it."""
        return self.row.completion if self.row.answer is None else tokenizer.decode(self.completion_ids)


@dataclass(frozen=True)
class Rendering:
    """How rows become prompts: as an adapter was trained, unless somebody says otherwise."""

    raw: bool = False
    variables: Mapping[str, Any] | None = None  # beside those of the artifact
    date: str | None = None  # None is today


AS_TODAY = Rendering()  # by the artifact's own template, variables and this day's date


def encode_cases(
    rows: Sequence[Row], model: Model, where: str, rendering: Rendering = AS_TODAY
) -> tuple[list[Case], list[Problem]]:
    """Token ids of every row that fits the model; raises DataError when none does."""
    if model.tokenizer is None:
        raise InputError(f"{model.manifest.model.name} was exported without a tokenizer; eval needs one")
    tokenizer = model.tokenizer.with_template(rendering.variables or {}, parse_date(rendering.date))
    info = model.manifest.model
    cases: list[Case] = []
    problems: list[Problem] = []
    for row in rows:
        try:
            example = encode_row(row, tokenizer, info.eos_token_ids, rendering.raw)
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


def trained_rendering(artifact: Path, model: Model, adapter: str) -> Rendering:
    """How the adapters of a SPEC saw their rows, as their receipts say; raises InputError where they disagree."""
    infos = {info.name: info for info in model.manifest.adapters}
    found: dict[str, Rendering] = {}
    for name, _ in parse_spec(adapter):
        receipt = read_receipt(artifact / infos[name].path) if name in infos else None
        if receipt is not None and receipt.training:
            found[name] = rendering_of(receipt)
    if len({rendering.raw for rendering in found.values()}) > 1:
        told = ", ".join(f"{name} {'--raw' if item.raw else '--chat'}" for name, item in found.items())
        raise InputError(f"the adapters were trained in different ways ({told}); give --raw or --chat")
    if any(item.variables != other.variables for item in found.values() for other in found.values()):
        told = ", ".join(f"{name} {dict(item.variables or {})}" for name, item in found.items())
        raise InputError(f"the adapters were trained with other template variables ({told}); give --template-var")
    return next(iter(found.values()), Rendering())


def rendering_of(receipt: Receipt | None) -> Rendering:
    """How the adapter of a receipt saw its rows; as today where there is none."""
    training = {} if receipt is None else receipt.training
    if training.get("raw", False):
        return Rendering(raw=True)
    return Rendering(False, training.get("template_variables"), training.get("date"))


def mean_loss(model: Model, cases: Sequence[Case], adapter: str, step: Count) -> float:
    """Mean loss over all answer tokens, in nats."""
    total = tokens = 0.0
    for case in cases:
        logprobs = model.score(case.prompt_ids, case.completion_ids, adapter=adapter)
        total -= float(logprobs.sum())
        tokens += len(logprobs)
        step(1)
    return total / tokens


def count_answers(cases: Sequence[Case]) -> int:
    """How many rows ``score_answers`` answers: those with a prompt."""
    return sum(1 for case in cases if case.row.prompt)


@dataclass(frozen=True)
class Answers:
    """What was expected of every row with a prompt, and what came: labels that were chosen, texts that were written."""

    labels: Sequence[tuple[str, str]]  # expected, found
    texts: Sequence[tuple[str, str]]

    def figures(self, n_choices: int) -> dict[str, float | int | None]:
        """Every figure that they allow, each a share from 0 to 1; ``n_choices`` is told beside labels.

        ``exact_match`` is None where nothing was asked.
        """
        both = [*self.labels, *self.texts]
        figures: dict[str, float | int | None] = {"exact_match": exact_match(*_columns(both)) if both else None}
        if self.texts and all(is_json(expected) for expected, _ in self.texts):
            wanted, found = _columns(self.texts)
            figures |= {"json_valid": json_valid(found), "field_f1": field_f1(wanted, found)}
        if self.labels:
            figures |= {"accuracy": accuracy(*_columns(self.labels)), "macro_f1": macro_f1(*_columns(self.labels))}
            figures["labels"] = n_choices
        return figures


def answer_rows(
    model: Model,
    cases: Sequence[Case],
    choices: Sequence[str],
    adapter: str,
    max_new_tokens: int | None,
    step: Count,
    rendering: Rendering = AS_TODAY,
) -> Answers:
    """The answer to every row that has a prompt; a row with a label gets the likeliest of ``choices``."""
    tokenizer = model.tokenizer
    assert tokenizer is not None  # encode_cases refused such a model
    asked = [case for case in cases if case.row.prompt]
    labels: list[tuple[str, str]] = []
    texts: list[tuple[str, str]] = []
    for case in asked:
        if case.row.label:
            labels.append((case.row.completion, _choose(model, case, choices, adapter, rendering)))
            step(1)
    for batch in _batches([case for case in asked if not case.row.label]):
        found = _answer(model, batch, adapter, max_new_tokens)
        texts += zip([case.expected(tokenizer) for case in batch], found, strict=True)
        step(len(batch))
    return Answers(labels, texts)


def score_answers(
    model: Model,
    cases: Sequence[Case],
    choices: Sequence[str],
    adapter: str,
    max_new_tokens: int | None,
    step: Count,
    rendering: Rendering = AS_TODAY,
) -> dict[str, float | int | None]:
    """Figures of what ``answer_rows`` gives, each a share from 0 to 1."""
    return answer_rows(model, cases, choices, adapter, max_new_tokens, step, rendering).figures(len(choices))


def task_metric(figures: Mapping[str, float | int | None]) -> str | None:
    """Name of the figure that says most about the task: accuracy, F1 of spans or JSON, recall or exact match."""
    return next((name for name in _TASK_METRICS if figures.get(name) is not None), None)


def _answer(model: Model, batch: Sequence[Case], adapter: str, max_new_tokens: int | None) -> list[str]:
    """Greedy answers, one text for each case."""
    assert model.tokenizer is not None  # encode_cases refused such a model
    longest = max_new_tokens or max(len(case.completion_ids) for case in batch) + _SPARE
    info = model.manifest.model
    # A row that fills the context ends there, and the others go on.
    found = model.generate_ids([case.prompt_ids for case in batch], adapter=adapter, max_new_tokens=longest)
    ends = set(info.eos_token_ids)
    return [model.tokenizer.decode([token for token in ids if token not in ends]) for ids in found]


def _choose(model: Model, case: Case, choices: Sequence[str], adapter: str, rendering: Rendering) -> str:
    """The label that the model finds most likely."""
    assert not isinstance(case.row.prompt, str)  # read_rows makes a label row a conversation
    messages = [dict(message) for message in case.row.prompt]
    if rendering.raw or (model.tokenizer is not None and model.tokenizer.chat_template is None):
        return model.generate(as_text(messages[-1]["content"]), raw=True, adapter=adapter, choices=choices).text
    return model.chat(
        messages,
        tools=case.row.tools,
        adapter=adapter,
        choices=choices,
        template=rendering.variables,
        date=rendering.date,
    ).text


def _batches(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases of like length side by side, so that little is padding."""
    ordered = sorted(cases, key=lambda case: len(case.example.ids))
    return [ordered[start : start + _BATCH] for start in range(0, len(ordered), _BATCH)]


def _columns(pairs: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [expected for expected, _ in pairs], [found for _, found in pairs]
