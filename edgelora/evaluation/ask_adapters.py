"""Asks an artifact, or a base model on a grid, with two adapters and their blend for the next token.

artifact or base, two adapters, rows -> Interference
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgelora.adapter.combine import Parent, combine
from edgelora.adapter.lineage import Source, check_agree, check_base, read_source, split_weight
from edgelora.adapter.merge_options import MergeOptions
from edgelora.adapter.receipt import begin_receipt
from edgelora.checkpoint.context_length import own_context_length
from edgelora.checkpoint.tokenizer import UNDATED, open_tokenizer
from edgelora.data.encode import encode_rows
from edgelora.data.probes import find_probes
from edgelora.errors import AdapterError, InputError
from edgelora.evaluation.asked import Asked
from edgelora.evaluation.interference import (
    BLEND,
    NONE,
    A,
    B,
    Interference,
    Numbers,
    Question,
    measure_interference,
    questions_of_examples,
    questions_of_probes,
)
from edgelora.evaluation.score import encode_cases, rendering_of
from edgelora.grid.make import MakeGrid
from edgelora.values import Checkpoint
from edgelora_runtime import Model, load
from edgelora_runtime.adapter import Factors
from edgelora_runtime.manifest import TEXT_GENERATION, read_manifest
from edgelora_runtime.receipt import Receipt, read_receipt
from edgelora_runtime.rendering import parse_date
from edgelora_runtime.sampling import log_softmax

_LONGEST = 2048  # tokens of a row for a base model; an artifact knows its own length
_LOADED = "interference-{}"  # names of folders while they are asked


def ask_artifact(artifact: Path, a: str, b: str, asked: Asked) -> Interference:
    """Measure on the graph of an artifact; ``a`` and ``b`` are adapters in it or folders, each with its weight.

    Raises AdapterError for what does not fit, InputError for an artifact that writes no text.
    """
    manifest = read_manifest(artifact)
    if manifest.task != TEXT_GENERATION:
        raise InputError(f"{artifact} is for {manifest.task}; interference asks for the next token of a text")
    paths = {info.name: artifact / info.path for info in manifest.adapters}
    with load(artifact) as model:
        names: dict[str, str] = {NONE: NONE}
        terms: list[str] = []
        questions: dict[str, list[Question]] = {}
        for key, text in ((A, a), (B, b)):
            folder, weight = (Path(text), 1.0) if text in paths else split_weight(text)
            names[key] = str(folder) if str(folder) in paths else _LOADED.format(key)
            if names[key] not in paths:
                model.load_adapter(names[key], folder)
            terms.append(f"{names[key]}:{weight!r}")
            receipt = read_receipt(paths.get(names[key], folder))
            questions[key] = _rows_of_artifact(model, asked, key, receipt) or _probes(receipt, text)
        names[BLEND] = "+".join(terms)
        if asked.merged is not None:
            names[BLEND] = _LOADED.format("merged")
            model.load_adapter(names[BLEND], asked.merged)

        def ask(question: Question, who: str) -> Numbers:
            return log_softmax(model.logits(question.ids, adapter=names[who], positions=question.positions))

        return measure_interference(ask, questions)


def ask_model(checkpoint: Checkpoint, make_grid: MakeGrid, a: str, b: str, asked: Asked) -> Interference:
    """Measure on a base model in PyTorch, on the grid that both were trained on; ``a`` and ``b`` are folders.

    Raises AdapterError for adapters that do not belong to one another, or to the base.
    """
    if not checkpoint.task.generates:
        raise InputError(f"{checkpoint.name} writes no text; interference asks for its next token")
    weighed = {key: split_weight(text) for key, text in ((A, a), (B, b))}
    sources = {key: read_source(folder) for key, (folder, _) in weighed.items()}
    if asked.merged is not None:
        sources[BLEND] = read_source(asked.merged)
    check_agree(list(sources.values()))
    if activated := next((source.folder for source in sources.values() if source.adapter.invocation), None):
        raise AdapterError(
            f"{activated} is an activated adapter (alora_invocation_tokens), and no blend has one; add it to an "
            "artifact beside what `edgelora adapter merge` makes of both, and ask that with --merged"
        )
    questions = {key: _rows_of_model(checkpoint, asked, key, sources[key]) for key in (A, B)}
    grid = make_grid(checkpoint)
    ours = begin_receipt(grid)
    for source in sources.values():
        check_base(source, ours)
    from edgelora.torch_model.ask import next_tokens  # torch
    from edgelora.torch_model.build import load_torch

    model = load_torch(checkpoint, grid)
    factors: dict[str, Mapping[str, Factors]] = {key: source.adapter.factors for key, source in sources.items()}
    if BLEND not in factors:
        parents = [Parent(key, sources[key].adapter, weight) for key, (_, weight) in weighed.items()]
        factors[BLEND] = combine(parents, MergeOptions("cat")).adapter.factors
    factors[NONE] = {}

    def ask(question: Question, who: str) -> Numbers:
        return next_tokens(model, factors[who], question.ids, question.positions)

    return measure_interference(ask, questions)


def _probes(receipt: Receipt | None, text: str) -> list[Question]:
    found = questions_of_probes(receipt)
    if not found:
        raise InputError(
            f"{text} has no probes in a receipt; give rows to ask with --prompts, or write its receipt with "
            "`edgelora adapter receipt`"
        )
    return found


def _rows_of_artifact(model: Model, asked: Asked, key: str, receipt: Receipt | None) -> list[Question]:
    path = asked.file(key)
    if path is None:
        return []
    cases, _ = encode_cases(asked.rows(path).rows, model, str(path), rendering_of(receipt))
    return questions_of_examples(case.example for case in cases)


def _rows_of_model(checkpoint: Checkpoint, asked: Asked, key: str, source: Source) -> Sequence[Question]:
    path = asked.file(key)
    if path is None:
        return [Question(probe.input_ids, (len(probe.input_ids) - 1,)) for probe in find_probes(checkpoint)]
    how = rendering_of(source.receipt)
    tokenizer = open_tokenizer(checkpoint, how.variables, parse_date(how.date) or UNDATED)
    rows, holds = asked.rows(path), own_context_length(checkpoint)
    encoded = encode_rows(rows, tokenizer, checkpoint.eos_token_ids, _LONGEST, how.raw, str(path), context=holds)
    return questions_of_examples(encoded.examples)
