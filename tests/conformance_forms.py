"""Cases of answers that keep a form, for runtime/conformance/forms.json (``python -m tests.conformance_forms``).

Knows nothing about how a case is checked in any language; it refuses near ties.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from edgelora_runtime import Generation, Model, load
from edgelora_runtime.form_mask import FormMask, read_form
from tests.conformance_cases import NearTieError, first_clear
from tests.conformance_check import FOLDER

PLACE = FOLDER / "forms.json"
_NOISE = 1e-3
_DAY = {"type": "string", "enum": ["Mon", "Tue", "東京", 'a "b"\n']}
_ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "day": _DAY,
        "count": {"type": "integer"},
        "gift": {"type": "boolean", "description": "annotations say nothing"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
        "note": {"type": ["string", "null"], "maxLength": 4},
    },
    "required": ["day", "gift"],
    "additionalProperties": False,
}
_TREE: dict[str, Any] = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "tree": {
            "anyOf": [
                {"enum": [True, None, 1, 12, 1.5, {"a": [1]}]},
                {"type": "array", "items": {"$ref": "#/$defs/tree"}, "minItems": 1, "maxItems": 2},
            ]
        }
    },
}
_OPEN: dict[str, Any] = {
    "propertyNames": {"enum": ["number", "street", "città"]},
    "additionalProperties": {"type": "string", "pattern": '^[a-zé"]{1,4}$'},
    "minProperties": 1,
    "maxProperties": 2,
}
_SCHEMAS: tuple[Any, ...] = (
    _ORDER,
    _TREE,
    _OPEN,
    json.dumps(_ORDER),
    {"type": "array", "items": {"type": "string", "format": "date"}, "maxItems": 2},
    {"type": "string", "minLength": 2, "maxLength": 3},
    {"type": "object", "additionalProperties": {"type": "number"}, "maxProperties": 1},
    {"allOf": [{"const": {"a": [True, "é"], "b": -2}}]},
    True,
)
_REGEXES = (
    r"\d{3}-[a-f]+[.]",
    "(yes|no|maybe), (sir|madam)?",
    "[^a-z]{3}é*東",
    "(a|ab)(c|bcd)(d*)",
    r"\$\d{1,3}(\.\d\d)?",
    "^x{2,}y?$",
)
# Bytes of many tokens: whatever is cut there, a mask must know how far the letter came.
_WALKS = ((_ORDER, None), (_TREE, None), (_OPEN, None), (None, "[é-ü]+(東|京)?|[^a]{2}"), (None, ".*[𝒜-𝒵]"))
_REFUSED: tuple[tuple[Any, Any, str], ...] = (
    ({"type": "array", "uniqueItems": True}, None, "uniqueItems"),
    ({"properties": {"a": {"not": {}}}}, None, "#/properties/a has"),
    ({"type": "strin"}, None, "strin"),
    ({"type": "string", "format": "email"}, None, "email"),
    ({"type": "integer", "minLength": 2}, None, "minLength"),
    ({"type": "string", "pattern": "a(?=b)"}, None, "(?=b"),
    ({"$ref": "#/$defs/none"}, None, "#/$defs/none"),
    ({"$ref": "#"}, None, "comes back to itself"),
    ({"properties": {"a": True}, "required": ["b"]}, None, "b"),
    ({"properties": {"a": True}, "additionalProperties": True}, None, "additionalProperties"),
    ({"properties": {"b": True, "1": True}}, None, "place among others"),
    ({"enum": []}, None, "#/enum"),
    ({"const": 1e300}, None, "1e15"),
    ({"minItems": 3, "maxItems": 2}, None, "maxItems"),
    ({"maxLength": 100000}, None, "maxLength"),
    ({"anyOf": [{"type": "null"}], "minimum": 1}, None, "minimum"),
    (False, None, "expected an object"),
    (7, None, "schema is"),
    ('{"type"', None, "no JSON"),
    (None, "a(?=b)", "(?=b"),
    (None, r"\p{L}", "p"),
    (None, "(a", "without its )"),
    (None, "a)", "without its opening"),
    (None, "a{2,1}", "{2,1}"),
    (None, r"(a)\1", "\\1"),
    (None, "a$b", "$ at 1"),
    (None, "[b-a]", "rise"),
    (None, "", "empty"),
    ({"type": "null"}, "a", "exclude each other"),
)


def update() -> None:
    """Write the file anew."""
    cases = [*_refused_cases()]
    for artifact in ("tiny-float", "tiny-blank", "tiny-int4"):
        with load(FOLDER / artifact) as model:
            found = [*_walk_cases(model), *_form_cases(model), *_batch_cases(model)]
        ended = [case["expected_reason"] == "stop" for case in found if case["kind"] == "form"]
        assert 2 * sum(ended) > len(ended), f"{artifact}: most answers should come to their end"
        cases += [{"artifact": artifact, **case} for case in found]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    PLACE.write_text(f'{{"format_version": 1, "cases": [\n{lines}\n]}}\n', encoding="utf-8")


def start(model: Model, schema: Any, regex: Any, *, takes_largest: bool = False) -> FormMask:
    """The mask of one answer of a model."""
    form = read_form(schema, regex)
    assert form is not None
    return model._vocabulary.start(form, takes_largest=takes_largest)


def allowed(mask: FormMask, so_far: Sequence[int], vocab_size: int) -> list[int] | None:
    """The tokens that may follow; None where the answer is whole and none may."""
    logits = np.zeros(vocab_size, np.float32)
    return None if mask(so_far, logits) else [int(token) for token in np.flatnonzero(logits == 0)]


def sum_up(tokens: Sequence[int] | None) -> list[int]:
    """How many tokens, and a number that tells sets apart; nothing of none."""
    return [] if tokens is None else [len(tokens), sum((token + 1) ** 3 % 65521 for token in tokens) % 65521]


def _form_cases(model: Model) -> Iterator[dict[str, Any]]:
    forms = [(schema, None) for schema in _SCHEMAS] + [(None, regex) for regex in _REGEXES]
    for index, (schema, regex) in enumerate(forms):
        spec, raw = ("none", "four", "one:0.7+eight:0.3")[index % 3], index % 2 == 1
        yield first_clear(lambda n, of=(schema, regex), s=spec, r=raw: _form_case(model, f"fox {n}", r, s, *of, 32))
    # An answer that is cut within its form, and one that is drawn.
    yield first_clear(lambda n: _form_case(model, f"dog {n}", False, "four", _ORDER, None, 5))
    yield first_clear(
        lambda n: _form_case(model, f"dog {n}", True, "one", _ORDER, None, 30, {"temperature": 1.0, "seed": 3})
    )


def _form_case(
    model: Model, prompt: str, raw: bool, spec: str, schema: Any, regex: Any, count: int, sampling: Any = None
) -> dict[str, Any]:
    options = sampling or {}
    found = model.generate(prompt, raw=raw, adapter=spec, schema=schema, regex=regex, max_new_tokens=count, **options)
    if not sampling:
        _refuse_near_ties(model, prompt, raw, spec, found, start(model, schema, regex))
    what = f"schema {json.dumps(schema, ensure_ascii=False)[:40]}" if regex is None else f"regex {regex}"
    return {
        "kind": "form", "name": f"{what} after {prompt!r} raw={raw} {spec}", "prompt": prompt, "raw": raw,
        "adapter": spec, "sampling": options, "max_new_tokens": count, "schema": schema, "regex": regex,
        "expected_text": found.text, "expected_ids": list(found.token_ids), "expected_reason": found.finish_reason,
    }  # fmt: skip


def _batch_cases(model: Model) -> Iterator[dict[str, Any]]:
    def build(attempt: int) -> dict[str, Any]:
        prompts = [f"fox {attempt}", "left or right:", "東京"]
        adapters, schemas = ["four", "none", "eight"], [_DAY, None, None]
        regexes = [None, "(left|right)!", None]
        found = model.generate(prompts, adapter=adapters, schema=schemas, regex=regexes, max_new_tokens=12)
        for index, answer in enumerate(found[:2]):
            mask = start(model, schemas[index], regexes[index])
            _refuse_near_ties(model, prompts[index], False, adapters[index], answer, mask)
        _refuse_near_ties(model, prompts[2], False, adapters[2], found[2], lambda so_far, logits: False)
        return {
            "kind": "forms", "name": f"a form for each row, {attempt}", "prompts": prompts, "adapters": adapters,
            "schemas": schemas, "regexes": regexes, "max_new_tokens": 12,
            "expected_text": [answer.text for answer in found],
            "expected_ids": [list(answer.token_ids) for answer in found],
            "expected_reason": [answer.finish_reason for answer in found],
        }  # fmt: skip

    yield first_clear(build)


def _walk_cases(model: Model) -> Iterator[dict[str, Any]]:
    ends, vocab_size = model.manifest.model.eos_token_ids, model.manifest.model.vocab_size
    for index, (schema, regex) in enumerate(_WALKS):
        rng = np.random.default_rng(index)
        mask, so_far, steps = start(model, schema, regex), [3], []
        for _ in range(40):
            tokens = allowed(mask, so_far, vocab_size)
            steps.append(sum_up(tokens))
            going_on = [token for token in tokens or () if token not in ends]
            if not going_on:
                break
            so_far.append(int(rng.choice(going_on)))
        yield {
            "kind": "mask", "name": f"mask {index}", "schema": schema, "regex": regex,
            "walk": so_far[1 : len(steps)], "expected": steps,
        }  # fmt: skip


def _refused_cases() -> Iterator[dict[str, Any]]:
    for index, (schema, regex, words) in enumerate(_REFUSED):
        yield {
            "artifact": "tiny-float", "kind": "form_refused", "name": f"refused {index}: {words}", "schema": schema,
            "regex": regex, "message_has": words,
        }  # fmt: skip


def _refuse_near_ties(
    model: Model,
    prompt: str,
    raw: bool,
    spec: str,
    found: Generation,
    mask: Callable[[list[int], Any], bool],
) -> None:
    tokenizer = model.tokenizer
    assert tokenizer is not None
    ends = model.manifest.model.eos_token_ids
    messages = [{"role": "user", "content": prompt}]
    ids = tokenizer.encode_prompt(prompt, end_ids=ends) if raw else tokenizer.encode_chat(messages)
    logits = model.logits([*ids, *found.token_ids], adapter=spec)[len(ids) - 1 :]
    so_far = list(ids)
    for token, row in zip(found.token_ids, logits, strict=False):
        if mask(so_far, row):
            raise AssertionError("an answer went on behind its end")
        best, second = np.sort(row)[[-1, -2]]
        if best - second < 2 * _NOISE or int(row.argmax()) != token:
            raise NearTieError
        so_far.append(token)
    if found.finish_reason == "stop" and not mask(so_far, last := logits[len(found.token_ids)]):
        best, second = np.sort(last)[[-1, -2]]
        if best - second < 2 * _NOISE or int(last.argmax()) not in ends:
            raise NearTieError


if __name__ == "__main__":
    update()
