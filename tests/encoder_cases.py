"""Cases of runtime/conformance/encoders.json from what a model answers; near ties are refused.

Knows nothing about which artifacts there are, nor how a case is checked in any language.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelora_runtime import EncoderModel

TOLERANCE = 1e-4
MARGIN = 1e-3  # between the two largest logits of a word, and of a score from 0.5, so that noise changes no label


def outputs_case(
    name: str, rows: list[Any], specs: list[str], found: Sequence[Any], tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """What the graph gives for each row, with an adapter of its own."""
    images = isinstance(rows[0], np.ndarray)
    field = {"pixel_values": [numbers(row) for row in rows]} if images else {"input_ids": rows}
    return {
        "kind": "outputs", "name": name, **field, "adapters": specs,
        "expected": [numbers(output) for output in found], "tolerance": tolerance,
    }  # fmt: skip


def classify_case(
    model: EncoderModel, name: str, texts: list[str], specs: list[str], tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """The labels and scores of each text with its adapter."""
    found = model.classify(texts, adapter=specs)
    return {
        "kind": "classify", "name": f"classify {name}", "texts": texts, "adapters": specs,
        "expected": [classification(item) for item in found], "tolerance": tolerance,
    }  # fmt: skip


def each_case(model: EncoderModel, text: str, specs: Sequence[str], tolerance: float = TOLERANCE) -> dict[str, Any]:
    """One text with every adapter."""
    found = model.classify_each(text, specs)
    return {
        "kind": "each", "name": f"each of {len(specs)}", "text": text, "adapters": list(specs),
        "expected": {spec: classification(item) for spec, item in found.items()}, "tolerance": tolerance,
    }  # fmt: skip


def tag_case(model: EncoderModel, text: str, spec: str, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """The spans of a text."""
    encoded = model.tokenizer.encode_texts([text])[0]  # type: ignore[union-attr]
    ids = encoded.cut(0, len(encoded.ids))
    if len(ids) <= model.manifest.model.context_length:
        top = np.sort(model.outputs([ids], adapter=spec)[0], axis=1)
        assert (top[:, -1] - top[:, -2]).min() > MARGIN, f"a near tie in {text!r} with {spec}"
    found = model.tag(text, adapter=spec)
    spans = [
        {"start": item.start, "end": item.end, "label": item.label, "score": round(item.score, 7), "text": item.text}
        for item in found.spans
    ]
    return {
        "kind": "tag", "name": f"tag {spec} {text[:30]!r}", "text": text, "adapter": spec,
        "expected": {"spans": spans, "windows": found.windows}, "tolerance": tolerance,
    }  # fmt: skip


def refused_case(name: str, method: str, specs: list[str], message: str) -> dict[str, Any]:
    texts = ["My order is late!"] * len(specs)
    return {
        "kind": "refused", "name": name, "method": method, "texts": texts, "adapters": specs, "message_has": message
    }  # fmt: skip


def classification(item: Any) -> dict[str, Any]:
    """A classification as JSON; its label must not hang on rounding."""
    scores = sorted(item.scores.values())
    assert len(scores) < 2 or scores[-1] > scores[-2] * (1 + MARGIN), f"a near tie: {item.scores}"
    assert all(abs(score - 0.5) > MARGIN for score in scores) or len(item.labels) == 1
    told = {label: round(score, 7) for label, score in item.scores.items()}
    labels, truncated = list(item.labels), item.truncated
    return {"label": item.label, "scores": told, "labels": labels, "truncated": truncated}


def numbers(array: Any) -> Any:
    """An array as JSON."""
    return np.round(np.asarray(array, np.float64), 6).tolist()
