import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgelora.errors import AdapterError
from edgelora_runtime import load
from edgelora_runtime.manifest import BaseInfo, FileInfo, Manifest, read_manifest
from edgelora_runtime.probe import replay
from edgelora_runtime.receipt import Receipt, find_mismatch, parse_receipt

VOCAB = 200


class Answers:
    """A model whose two answers are given: enough to hold the judgement to its definition."""

    def __init__(self, manifest: Manifest, base: np.ndarray, adapted: np.ndarray) -> None:
        self.manifest = manifest
        self._logits = {"none": base, "a": adapted}

    def logits(
        self, ids: Sequence[int], *, adapter: str | None = None, positions: Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        assert positions == [len(ids) - 1]
        return self._logits[adapter or "none"][None].astype(np.float32)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits)


def top(logits: np.ndarray) -> dict[str, Any]:
    ids = np.argsort(-logits)[:64]
    return {"ids": ids.tolist(), "logprobs": np.round(log_softmax(logits)[ids], 5).tolist()}


def record(base: np.ndarray, adapted: np.ndarray) -> dict[str, Any]:
    p, q = log_softmax(base), log_softmax(adapted)
    return {
        "input_ids": [1, 2, 3],
        "kl": float((np.exp(p) * (p - q)).sum()),
        "base": top(base),
        "adapted": top(adapted),
    }


def receipt_of(*probes: object) -> Receipt:
    data = {"format_version": 1, "base": {"fingerprint": "0" * 64}, "probes": probes}
    return parse_receipt(json.dumps(data).encode())


@pytest.fixture
def manifest(shared_artifact: Path) -> Manifest:
    return read_manifest(shared_artifact)


@pytest.fixture
def logits() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    base = rng.standard_normal(VOCAB) * 2
    change, other, noise = (rng.standard_normal(VOCAB) for _ in range(3))
    return {"base": base, "adapted": base + change, "other": base + other, "noise": 0.02 * noise}


def test_the_same_answers_pass(manifest: Manifest, logits: dict[str, np.ndarray]) -> None:
    receipt = receipt_of(record(logits["base"], logits["adapted"]))
    result = replay(Answers(manifest, logits["base"], logits["adapted"]), "a", receipt)
    assert result.passed
    assert result.kl_found == pytest.approx(result.kl_expected, rel=1e-4)


def test_noise_of_the_kernels_passes(manifest: Manifest, logits: dict[str, np.ndarray]) -> None:
    receipt = receipt_of(record(logits["base"], logits["adapted"]))
    noisy = Answers(manifest, logits["base"] + logits["noise"], logits["adapted"] - logits["noise"])
    assert replay(noisy, "a", receipt).passed


@pytest.mark.parametrize(
    ("device", "match"),
    [
        ("base", "it does nothing here"),
        ("other", "does not do what its receipt says"),
        ("faint", "next to nothing here: KL .* its receipt says"),
    ],
)
def test_other_answers_are_refused(manifest: Manifest, logits: dict[str, np.ndarray], device: str, match: str) -> None:
    logits["faint"] = logits["base"] + 0.1 * (logits["adapted"] - logits["base"])
    receipt = receipt_of(record(logits["base"], logits["adapted"]))
    result = replay(Answers(manifest, logits["base"], logits[device]), "a", receipt)
    assert not result.passed
    assert match.split(":")[0] in result.reason
    assert "\n" not in result.reason


def test_the_probe_with_the_largest_effect_is_replayed(manifest: Manifest, logits: dict[str, np.ndarray]) -> None:
    strong, weak = (record(logits["base"], logits["base"] + size * logits["noise"]) for size in (50, 1))
    result = replay(
        Answers(manifest, logits["base"], logits["base"] + 50 * logits["noise"]), "a", receipt_of(weak, strong)
    )
    assert result.passed
    assert result.kl_expected == strong["kl"]


def test_an_effect_below_the_noise_is_not_refused(manifest: Manifest, logits: dict[str, np.ndarray]) -> None:
    """One training step moves next to nothing; that is no reason to refuse it."""
    receipt = receipt_of(record(logits["base"], logits["base"] + 0.001 * logits["noise"]))
    noisy = Answers(manifest, logits["base"] + logits["noise"], logits["base"] - logits["noise"])
    assert replay(noisy, "a", receipt).passed


@pytest.mark.parametrize(
    "probe",
    [
        {},
        {"input_ids": [1], "kl": 1.0, "base": {"ids": [1], "logprobs": []}, "adapted": {"ids": [1], "logprobs": [0]}},
        {
            "input_ids": [1],
            "kl": 1.0,
            "base": {"ids": [10**6], "logprobs": [0]},
            "adapted": {"ids": [1], "logprobs": [0]},
        },
        {"input_ids": "x", "kl": 1.0},
    ],
)
def test_malformed_probes_are_refused(manifest: Manifest, logits: dict[str, np.ndarray], probe: object) -> None:
    with pytest.raises(AdapterError, match=r"probes\[0\]|the receipt's probes cannot be read"):
        replay(Answers(manifest, logits["base"], logits["adapted"]), "a", receipt_of(probe))
    with pytest.raises(AdapterError, match="no probes"):
        replay(Answers(manifest, logits["base"], logits["adapted"]), "a", receipt_of())


def test_tokenizer_and_template_are_compared(manifest: Manifest) -> None:
    receipt = Receipt("m", manifest.base.fingerprint)
    assert isinstance(manifest.base, BaseInfo)
    assert find_mismatch(receipt, manifest) is None
    own = manifest.files["tokenizer.json"]
    assert isinstance(own, FileInfo)
    assert find_mismatch(replace(receipt, tokenizer=own.sha256), manifest) is None
    assert "another tokenizer" in str(find_mismatch(replace(receipt, tokenizer="0" * 64), manifest))
    template = replace(receipt, chat_template="0" * 64)
    assert "another chat template" in str(find_mismatch(template, manifest))
    assert find_mismatch(replace(template, training={"raw": True}), manifest) is None


def test_adapters_without_a_receipt_are_still_checked_and_load(shared_artifact: Path) -> None:
    model = load(shared_artifact, probe=True)
    assert model.probe("usual") is None
