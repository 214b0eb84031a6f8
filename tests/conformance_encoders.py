"""Tiny artifacts of encoders for runtime/conformance, and the cases that every runtime must answer with them.

Knows nothing about how a case is checked in any language; it holds every answer to numpy and refuses near ties.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgelora_runtime import EncoderModel, load
from edgelora_runtime.adapter import parse_spec
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    MULTI_LABEL,
    REGRESSION,
    TEXT_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    HeadInfo,
)
from tests.conformance_exported import write_exported
from tests.conformance_heads import MANIFESTS, refused_folders
from tests.encoder_cases import (
    TOLERANCE,
    classification,
    classify_case,
    each_case,
    numbers,
    outputs_case,
    refused_case,
    tag_case,
)
from tests.tiny_encoder import (
    CONTEXT,
    IMAGE,
    TinyEncoder,
    adapter_tensors,
    list_adapter,
    make_encoder,
    write_answers,
    write_encoder,
    write_encoder_adapter,
)

FOLDER = Path(__file__).resolve().parents[1] / "runtime" / "conformance"


TOPICS = HeadInfo(("billing", "delivery", "other"), temperature=1.7)
FLAGS = HeadInfo(("urgent", "angry", "spam", "question"), MULTI_LABEL, 0.8)
STARS = HeadInfo(("stars",), REGRESSION)
PLACES = HeadInfo(("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
PLAIN = HeadInfo(("O", "street", "town"), temperature=1.3)
TEXTS = (
    "My order is late!",
    "",
    "Anna from New York, to Paris: is the mail in?",
    "Zürich, 東京 🚀 the city",
    "the mail from Anna is late " * 6,
)
ARTIFACTS: dict[str, tuple[str, HeadInfo | None, dict[str, tuple[int, int, HeadInfo | None]]]] = {
    # task, head of the base, adapters: rank, seed, head
    "encoder-topics": (
        TEXT_CLASSIFICATION, TOPICS,
        {"flags": (4, 1, FLAGS), "stars": (1, 2, STARS), "topics": (8, 3, TOPICS), "more": (2, 4, TOPICS)},
    ),
    "encoder-headless": (TEXT_CLASSIFICATION, None, {"flags": (4, 5, FLAGS), "probe": (0, 6, TOPICS)}),
    "encoder-tags": (TOKEN_CLASSIFICATION, None, {"places": (4, 7, PLACES), "plain": (1, 8, PLAIN)}),
    "encoder-vectors": (FEATURE_EXTRACTION, None, {"one": (1, 9, None), "four": (4, 10, None)}),
    "encoder-images": (IMAGE_CLASSIFICATION, TOPICS, {"flags": (4, 11, FLAGS)}),
}  # fmt: skip


def update(folder: Path = FOLDER) -> None:
    """Write the artifacts and ``encoders.json`` anew."""
    with tempfile.TemporaryDirectory() as name:
        work, out = Path(name) / "work", Path(name) / "out"
        topics = ARTIFACTS["encoder-topics"]
        base = make_encoder(topics[0], topics[1], seed=_seed("encoder-topics"))
        cases = [*write_encoders(out, work), *write_exported(out, work), *refused_folders(out, base)]
        told = [",\n".join(json.dumps(case, ensure_ascii=False) for case in part) for part in (cases, MANIFESTS)]
        text = f'{{"format_version": 1, "cases": [\n{told[0]}\n], "refuse": [\n{told[1]}\n]}}\n'
        (out / "encoders.json").write_text(text, encoding="utf-8")
        for old in folder.glob("encoder-*"):
            shutil.rmtree(old)
        shutil.copytree(out, folder, dirs_exist_ok=True)


def write_encoders(out: Path, work: Path) -> Iterator[dict[str, Any]]:
    """The artifacts into ``out``, and their cases."""
    for name, (task, base_head, adapters) in ARTIFACTS.items():
        encoder = write_encoder(out / name, task, base_head, seed=_seed(name))
        known = {}
        for adapter, (rank, seed, head) in adapters.items():
            tensors = known[adapter] = adapter_tensors(task, rank, 0 if head is None else len(head.labels), seed)
            folder = write_encoder_adapter(work / name / adapter, tensors)
            if task != IMAGE_CLASSIFICATION:
                write_answers(folder, encoder, tensors, head, [[2, 7, 9, 30, 3], [2, 40, 3]])
            list_adapter(out / name, adapter, folder, rank, head)
        model = load(out / name, probe=True, task=task)
        for case in _cases(model, encoder, known):
            yield {"artifact": name, **case}


def _seed(artifact: str) -> int:
    """One with which no answer of an artifact is a near tie."""
    return len(artifact) - 3


def _cases(model: EncoderModel, encoder: TinyEncoder, adapters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = list(adapters)
    none = ["none"] if encoder.task == FEATURE_EXTRACTION or model.manifest.encoder.base_head else []  # type: ignore[union-attr]
    blend = f"{names[-2]}:0.75+{names[-1]}:0.25" if encoder.task in (FEATURE_EXTRACTION,) or "more" in names else None
    specs = [*none, *names, f"{names[0]}:0.5", *([blend] if blend else [])]
    rows = _rows(encoder)
    yield from _outputs(model, encoder, adapters, rows, specs)
    if encoder.task == IMAGE_CLASSIFICATION:
        yield from _pixels(model, rows, specs)
    elif encoder.task == TEXT_CLASSIFICATION:
        for number in range(len(specs)):
            given = [specs[(number + index) % len(specs)] for index in range(len(TEXTS))]
            yield classify_case(model, f"rows from {specs[number]}", list(TEXTS), given)
        yield classify_case(model, "all with one adapter", list(TEXTS), [specs[-1]] * len(TEXTS))
        yield each_case(model, TEXTS[2], specs)
        yield each_case(model, TEXTS[4], names)
        if not none:
            yield refused_case("no head of its own", "classify", ["none"], "has no head of its own")
            yield refused_case("a row without a head", "classify", [names[0], "none"], "has no head of its own")
        else:
            yield refused_case("a blend of other labels", "classify", ["flags+topics"], "other labels")
            yield refused_case("weights that add up to 0", "classify", ["more+topics:-1"], "add up to 0")
        yield refused_case("an unknown adapter", "classify", ["topic"], "unknown adapter 'topic'")
        yield refused_case("another task", "tag", [names[0]], "classify")
    elif encoder.task == TOKEN_CLASSIFICATION:
        for text in (*TEXTS, "U.S.-Paris", "  New   York\n", "annaparisnewyork東京の city", "don't order in 東京"):
            for spec in specs[:2]:
                yield tag_case(model, text, spec)
        yield refused_case("another task", "classify", [names[0]], "tag")
    else:
        for number in range(len(specs)):
            yield _embed(model, [specs[(number + index) % len(specs)] for index in range(len(TEXTS))])
        yield refused_case("another task", "classify", ["none"], "embed")


def _rows(encoder: TinyEncoder) -> list[Any]:
    rng = np.random.default_rng(3)
    if encoder.task == IMAGE_CLASSIFICATION:
        return [np.round(0.2 * rng.standard_normal(IMAGE), 3).astype(np.float32) for _ in range(4)]
    return [rng.integers(0, encoder.vocabulary, count).tolist() for count in (1, 5, CONTEXT, 9)]


def _outputs(
    model: EncoderModel, encoder: TinyEncoder, adapters: dict[str, Any], rows: list[Any], specs: Sequence[str]
) -> Iterator[dict[str, Any]]:
    images = encoder.task == IMAGE_CLASSIFICATION
    for number, spec in enumerate(specs):
        given = [spec, specs[0], spec, specs[-1]]
        found = model.outputs(np.stack(rows) if images else rows, adapter=given)
        for row, own, output in zip(rows, given, found, strict=True):
            terms = parse_spec(own)
            if len(terms) < 2:  # numpy knows one adapter; blends are held to it through their cases of one label
                name, weight = terms[0] if terms else (None, 1.0)
                expected = encoder.output(row, adapters.get(name), weight)
                np.testing.assert_allclose(output, expected, atol=TOLERANCE / 2)
        yield outputs_case(f"outputs {number} {spec}", rows, given, found)


def _pixels(model: EncoderModel, rows: list[Any], specs: Sequence[str]) -> Iterator[dict[str, Any]]:
    for spec in specs:
        found = model.classify(np.stack(rows), adapter=spec)
        assert isinstance(found, list)
        yield {
            "kind": "classify", "name": f"images {spec}", "pixel_values": [numbers(row) for row in rows],
            "adapters": [spec] * len(rows), "expected": [classification(item) for item in found],
            "tolerance": TOLERANCE,
        }  # fmt: skip


def _embed(model: EncoderModel, specs: list[str]) -> dict[str, Any]:
    texts = list(TEXTS)
    return {
        "kind": "embed", "name": f"embed from {specs[0]}", "texts": texts, "adapters": specs,
        "expected": [numbers(vector) for vector in model.embed(texts, adapter=specs)],
        "truncated": model.is_truncated(texts), "tolerance": TOLERANCE,
    }  # fmt: skip


if __name__ == "__main__":
    update()
