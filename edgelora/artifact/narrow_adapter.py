"""Rounds an adapter that goes into an artifact, and measures its receipt on what was left of it.

artifact, PEFT folder, store -> the folder rounded, its receipt measured anew
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgelora.adapter.narrow import narrow_file
from edgelora.adapter.receipt import record_layers
from edgelora.values import FloatArray
from edgelora_runtime.adapter import WEIGHTS_FILE, read_adapter
from edgelora_runtime.manifest import file_info
from edgelora_runtime.model import Model, load
from edgelora_runtime.receipt import Answer, LayerRecord, Probe, Receipt, TopTokens, read_receipt, write_receipt
from edgelora_runtime.sampling import log_softmax

_NAME = "rounded"


def narrow_adapter(artifact: Path, folder: Path, store: str) -> None:
    """Round the factors in ``folder`` and write what the rounded adapter does on ``artifact`` into its receipt.

    What the receipt says of merging stays: rounding moves it by less than its own digits tell.
    """
    narrow_file(folder / WEIGHTS_FILE, store)
    receipt = read_receipt(folder)
    if receipt is None:
        return
    if receipt.probes:
        with load(artifact) as model:
            model.load_adapter(_NAME, folder, trust=True)
            receipt = dataclasses.replace(receipt, probes=tuple(_measure(model, probe) for probe in receipt.probes))
    if receipt.answers:
        receipt = dataclasses.replace(receipt, answers=_answer_again(artifact, folder, receipt.answers))
    weights = file_info(folder / WEIGHTS_FILE).sha256
    write_receipt(folder, dataclasses.replace(receipt, weights=weights, layers=_layers(receipt, folder)))


def _answer_again(artifact: Path, folder: Path, answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """The same texts, answered by the artifact with the rounded adapter, and with its head alone."""
    model: Any = load(artifact)
    with model:
        model.load_adapter(_NAME, folder, trust=True)
        rows = [answer.input_ids for answer in answers]
        found = [[_numbers(item) for item in model.outputs(rows, adapter=spec)] for spec in (_NAME, f"{_NAME}:0")]
    return tuple(
        dataclasses.replace(answer, output=output, base=base)
        for answer, output, base in zip(answers, *found, strict=True)
    )


def _numbers(output: FloatArray) -> tuple[float, ...]:
    return tuple(float(f"{number:.8g}") for number in output.reshape(-1).tolist())


def _layers(receipt: Receipt, folder: Path) -> dict[str, LayerRecord]:
    layers = {}
    for module, layer in record_layers(read_adapter(folder, with_head=True, with_gains=True), {}).items():
        old = receipt.layers.get(module)
        if old is not None:
            merged = (old.step_to_delta, old.codes_changed, old.correlation)
            layer = LayerRecord(layer.rank, layer.effective_rank, layer.energy, *merged)
        layers[module] = layer
    return layers


def _measure(model: Model, probe: Probe) -> Probe:
    """The same probe, answered by the artifact with and without the rounded adapter."""
    answers, texts = [], []
    last = [len(probe.input_ids) - 1]
    for spec, length in (("none", len(probe.base_greedy)), (_NAME, len(probe.greedy))):
        answers.append(log_softmax(model.logits(probe.input_ids, adapter=spec, positions=last)[0]).astype(np.float64))
        texts.append(_greedy(model, probe.input_ids, spec, length))
    base, adapted = answers
    kl = float(np.sum(np.exp(base) * (base - adapted)))
    return dataclasses.replace(
        probe,
        kl=float(f"{max(0.0, kl):.6g}"),
        base=_top(base, len(probe.base.ids)),
        adapted=_top(adapted, len(probe.adapted.ids)),
        base_greedy=texts[0],
        greedy=texts[1],
    )


def _greedy(model: Model, ids: Sequence[int], spec: str, length: int) -> tuple[int, ...]:
    """As many first tokens as were recorded; an end token, which no answer of the runtime holds, is left out."""
    return tuple(model.generate_ids(list(ids), adapter=spec, max_new_tokens=length)) if length else ()


def _top(logprobs: np.ndarray[tuple[int], np.dtype[np.float64]], count: int) -> TopTokens:
    ids = np.argsort(-logprobs, kind="stable")[:count]
    return TopTokens(tuple(ids.tolist()), tuple(round(value, 5) for value in logprobs[ids].tolist()))
