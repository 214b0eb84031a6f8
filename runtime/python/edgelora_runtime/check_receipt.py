"""What a receipt must hold to, field by field.

receipt as JSON -> lines of what is wrong

``docs/format.md`` ("Receipt") says what the fields mean. What is missing or null is unknown, and nothing is wrong with
that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgelora_runtime.check_manifest import PROBLEM_TYPES
from edgelora_runtime.names import has_control, is_hash
from edgelora_runtime.parse_json import show

_OBJECTS = ("quantization", "training", "merge", "truncation", "parents", "conversion")
_MOST_TOKENS = 1 << 16  # of a probe
_STEP = re.compile(r"[1-9][0-9]{0,8}")  # a rank that energy is told up to


def find_wrong(receipt: Mapping[str, Any]) -> Iterator[str]:
    """Every field that cannot be used, with what was expected."""
    yield from _base(receipt.get("base"))
    for field in _OBJECTS:
        if not isinstance(receipt.get(field), dict | None):
            yield f"{field} is {show(receipt[field])}, expected an object or null"
    yield from _hash("weights", receipt.get("weights"))
    yield from _modules(receipt.get("modules"))
    yield from _layers(receipt.get("layers"))
    probes = receipt.get("probes")
    if not isinstance(probes, list | None):
        yield f"probes is {show(probes)}, expected a list or null"
    for index, probe in enumerate(probes if isinstance(probes, list) else ()):
        yield from _probe(f"probes[{index}]", probe)
    yield from _head(receipt.get("head"))
    answers = receipt.get("answers")
    if not isinstance(answers, list | None):
        yield f"answers is {show(answers)}, expected a list or null"
    for index, answer in enumerate(answers if isinstance(answers, list) else ()):
        yield from _answer(f"answers[{index}]", answer)


def _base(base: Any) -> Iterator[str]:
    if not isinstance(base, dict):
        yield "there is no 'base', expected an object with the fingerprint of the base model"
        return
    name = base.get("name", "")
    if not isinstance(name, str) or has_control(name):
        yield f"base: name is {show(name)}, expected text without control characters"
    if base.get("fingerprint") is None:
        yield "base: fingerprint is missing"
    for field in ("fingerprint", "grid", "tokenizer", "chat_template"):
        yield from _hash(f"base: {field}", base.get(field))


def _modules(modules: Any) -> Iterator[str]:
    if modules is None:
        return
    if not isinstance(modules, dict):
        yield f"modules is {show(modules)}, expected an object or null"
        return
    for field in ("matched", "expected"):
        if not _is_count(modules.get(field)):
            yield f"modules: {field} is {show(modules.get(field))}, expected a whole number from 0"
    missing = modules.get("missing", [])
    if not isinstance(missing, list) or not all(isinstance(item, str) and not has_control(item) for item in missing):
        yield f"modules: missing is {show(missing)}, expected a list of names"


def _layers(layers: Any) -> Iterator[str]:
    if layers is None:
        return
    if not isinstance(layers, dict):
        yield f"layers is {show(layers)}, expected an object or null"
        return
    for module, layer in layers.items():
        where = f"layers: {show(module)}"
        if has_control(module) or not isinstance(layer, dict):
            yield f"{where} is {show(layer)}, expected an object under the name of a module"
            continue
        if not _is_count(layer.get("rank")):
            yield f"{where}: rank is {show(layer.get('rank'))}, expected a whole number from 0"
        energy = layer.get("energy")
        if not isinstance(energy, dict) or not all(_STEP.fullmatch(k) and _is_number(v) for k, v in energy.items()):
            yield f"{where}: energy is {show(energy)}, expected shares by rank"
        if not _is_number(layer.get("effective_rank")):
            yield f"{where}: effective_rank is {show(layer.get('effective_rank'))}, expected a number"
        for field in ("step_to_delta", "codes_changed", "correlation"):
            if layer.get(field) is not None and not _is_number(layer[field]):
                yield f"{where}: {field} is {show(layer[field])}, expected a number or null"


def _probe(where: str, probe: Any) -> Iterator[str]:
    if not isinstance(probe, dict):
        yield f"{where} is {show(probe)}, expected an object"
        return
    if not isinstance(probe.get("text"), str | None):
        yield f"{where}: text is {show(probe['text'])}, expected text or null"
    if not _are_ids(probe.get("input_ids")) or not probe["input_ids"]:
        yield f"{where}: input_ids is {show(probe.get('input_ids'))}, expected token ids"
    for field in ("greedy", "base_greedy"):
        if not _are_ids(probe.get(field, [])):
            yield f"{where}: {field} is {show(probe[field])}, expected token ids"
    if not _is_number(probe.get("kl")) or probe["kl"] < 0:
        yield f"{where}: kl is {show(probe.get('kl'))}, expected a number from 0"
    for field in ("base", "adapted"):
        top = probe.get(field)
        ids: Any
        logprobs: Any
        ids, logprobs = (top.get("ids"), top.get("logprobs")) if isinstance(top, dict) else ((), ())
        if not (_are_ids(ids) and _are_logprobs(logprobs) and 0 < len(ids) == len(logprobs)):
            yield f"{where}: {field} needs ids and logprobs, lists of one length of token ids and numbers up to 0"


def _head(head: Any) -> Iterator[str]:
    if head is None:
        return
    labels = head.get("labels") if isinstance(head, dict) else None
    if not isinstance(head, dict) or not isinstance(labels, list) or not labels:
        yield f"head is {show(head)}, expected an object with a list of labels, or null"
        return
    if not all(isinstance(label, str) and label and not has_control(label) for label in labels):
        yield f"head: labels are {show(labels)}, expected names without control characters"
    elif len(set(labels)) != len(labels):
        yield "head: a label stands twice"
    if head.get("problem_type", PROBLEM_TYPES[0]) not in PROBLEM_TYPES:
        yield f"head: problem_type is {show(head['problem_type'])}, expected one of {', '.join(PROBLEM_TYPES)}"
    temperature = head.get("temperature", 1.0)
    if not _is_number(temperature) or not 1e-6 <= temperature <= 1e6:
        yield f"head: temperature is {show(temperature)}, expected 0.000001 to 1000000"


def _answer(where: str, answer: Any) -> Iterator[str]:
    if not isinstance(answer, dict):
        yield f"{where} is {show(answer)}, expected an object"
        return
    if not isinstance(answer.get("text"), str | None):
        yield f"{where}: text is {show(answer['text'])}, expected text or null"
    if not _are_ids(answer.get("input_ids")) or not answer["input_ids"]:
        yield f"{where}: input_ids is {show(answer.get('input_ids'))}, expected token ids"
    found: list[Any] = [answer.get("output"), answer.get("base")]
    if not all(isinstance(item, list) and all(_is_number(value) for value in item) for item in found):
        yield f"{where} needs output and base, lists of numbers"
    elif not 0 < len(found[0]) == len(found[1]):
        yield f"{where}: output has {len(found[0])} numbers, base {len(found[1])}; expected as many, at least one"


def _hash(field: str, value: Any) -> Iterator[str]:
    if value is not None and (not isinstance(value, str) or not is_hash(value)):
        yield f"{field} is {show(value)}, expected 64 lower-case hexadecimal digits or null"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_TOKENS and all(_is_count(item) for item in value)


def _are_logprobs(value: Any) -> bool:
    # A probability that float32 rounds above 1 is one.
    return isinstance(value, list) and all(_is_number(item) and item <= 1e-3 for item in value)
