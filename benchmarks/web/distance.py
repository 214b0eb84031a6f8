"""How far the two web forms of one base answer from the float model, on native onnxruntime.

Knows nothing about browsers or time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edgelora.values import FloatArray
from edgelora_runtime import load
from edgelora_runtime.sampling import log_softmax


def distance(answers: FloatArray, reference: FloatArray) -> dict[str, float]:
    """Logits (n, vocab_size) against those of the float model: KL divergence in nats, share of equal top tokens."""
    found, expected = log_softmax(answers), log_softmax(reference)
    kl = (np.exp(expected) * (expected - found)).sum(axis=1).mean()
    same = (found.argmax(axis=1) == expected.argmax(axis=1)).mean()
    return {"kl": round(float(kl), 5), "same_top": round(float(same), 4)}


def artifact_logits(folder: Path, ids: Sequence[int]) -> FloatArray:
    """Of the project's artifact, without an adapter."""
    found: FloatArray = load(folder).logits(list(ids), adapter="none")
    return found


def optimum_logits(file: Path, ids: Sequence[int]) -> FloatArray:
    """Of a decoder as optimum exports it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    tokens = np.array([list(ids)], np.int64)
    feeds: dict[str, Any] = {
        "input_ids": tokens,
        "attention_mask": np.ones_like(tokens),
        "position_ids": np.arange(tokens.shape[1])[None],
    }
    for item in session.get_inputs():
        if item.name.startswith("past_key_values"):
            feeds[item.name] = np.zeros((1, item.shape[1], 0, item.shape[3]), np.float32)
    names = {item.name for item in session.get_inputs()}
    logits: FloatArray = session.run(["logits"], {name: feeds[name] for name in feeds if name in names})[0][0]
    return logits
