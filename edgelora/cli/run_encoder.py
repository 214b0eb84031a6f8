"""``edgelora run`` for a classifier, tagger or embedder.

artifact, texts -> labels, spans or vectors as lines or JSON
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora.cli.output import emit, table
from edgelora.errors import InputError
from edgelora_runtime import Classification, EncoderModel, Tagging, load
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    TEXT_GENERATION,
    TOKEN_CLASSIFICATION,
    Manifest,
)

_FLAGS = {TEXT_CLASSIFICATION: "--classify", TOKEN_CLASSIFICATION: "--tag", FEATURE_EXTRACTION: "--embed"}
_SHOWN = 6  # numbers of a vector that people see


@dataclass(frozen=True)
class Wanted:
    """What a text is asked for; ``each`` asks every adapter of the artifact."""

    classify: bool = False
    tag: bool = False
    embed: bool = False
    each: bool = False

    def check(self, manifest: Manifest) -> None:
        """Raise InputError where the artifact is for something else."""
        flags = {"--classify": self.classify, "--tag": self.tag, "--embed": self.embed}
        given = [flag for flag, is_given in flags.items() if is_given]
        own = _FLAGS.get(manifest.task)
        if manifest.task == IMAGE_CLASSIFICATION:
            raise InputError(
                f"{manifest.model.name} classifies images, and a command line has none; use load(...).classify(pixels)"
            )
        if len(given) > 1 or (given and given[0] != own):
            told = "none of them" if manifest.task == TEXT_GENERATION else own
            raise InputError(f"{' '.join(given)}: {manifest.model.name} is for {manifest.task}; give {told}")
        if self.each and manifest.task != TEXT_CLASSIFICATION:
            raise InputError(f"--each is for classifiers, and {manifest.model.name} is for {manifest.task}")


def run_encoder(
    artifact: Path, manifest: Manifest, texts: Sequence[str], specs: Sequence[str], wanted: Wanted, **options: Any
) -> None:
    """Answer every text with its adapter; ``options`` are threads and as_json."""
    model: Any = load(artifact, threads=options["threads"])
    assert isinstance(model, EncoderModel)
    answers = list(_answers(model, list(texts), list(specs), wanted.each))
    results = [{"text": text, **told} for text, (told, _) in zip(texts, answers, strict=True)]
    emit(options["as_json"], {"results": results}, (line for _, lines in answers for line in lines))


def _answers(
    model: EncoderModel, texts: list[str], specs: list[str], each: bool
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """For each text what JSON tells, and lines."""
    if each:
        for text in texts:
            found = model.classify_each(text)
            rows = [("adapter", "label", "score"), *((name, *_cells(item)) for name, item in found.items())]
            yield {"adapters": {name: dataclasses.asdict(item) for name, item in found.items()}}, table(rows)
    elif model.manifest.task == TEXT_CLASSIFICATION:
        for spec, item in zip(specs, model.classify(texts, adapter=specs), strict=True):
            yield {"adapter": spec, **dataclasses.asdict(item)}, ["\t".join(_cells(item))]
    elif model.manifest.task == TOKEN_CLASSIFICATION:
        for spec, tagged in zip(specs, model.tag(texts, adapter=specs), strict=True):
            yield {"adapter": spec, **dataclasses.asdict(tagged)}, list(_span_lines(tagged))
    else:
        cut = model.is_truncated(texts)
        for spec, vector, truncated in zip(specs, model.embed(texts, adapter=specs).tolist(), cut, strict=True):
            shown = " ".join(f"{number:.4f}" for number in vector[:_SHOWN])
            more = " …" if len(vector) > _SHOWN else ""
            yield {"adapter": spec, "vector": vector, "truncated": truncated}, [f"{len(vector)} numbers: {shown}{more}"]


def _cells(item: Classification) -> tuple[str, str]:
    """Labels, and the score of each."""
    labels = item.labels or ("(none)",)
    scores = [f"{item.scores[label]:.4f}" for label in item.labels] or [f"{item.score:.4f}"]
    return ", ".join(labels), ", ".join(scores) + (" (text cut)" if item.truncated else "")


def _span_lines(tagged: Tagging) -> Iterator[str]:
    for span in tagged.spans:
        yield f"{span.start}-{span.end}\t{span.label}\t{span.score:.4f}\t{' '.join(span.text.split())}"
    if not tagged.spans:
        yield "no spans"
