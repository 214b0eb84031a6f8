"""Regenerates runtime/conformance: tiny artifacts and cases.json (``pytest --update-conformance``).

Knows nothing about how a case is checked in any language; it holds every answer to PyTorch and refuses near ties.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgelora_runtime import load
from edgelora_runtime.manifest import FLOAT_CACHE
from edgelora_runtime.model import Model
from tests.conformance_arithmetic import SAMPLING, arithmetic_cases
from tests.conformance_cases import (
    TOLERANCE,
    NearTieError,
    batch_case,
    first_clear,
    logits_case,
    random_ids,
    refuse_near_ties,
    tokens_case,
)
from tests.conformance_check import FOLDER, read_cases
from tests.conformance_models import ACTIVATED, BLANK, CONTEXT, DORA, QUANTS, ROWS, SPECIAL, TorchAnswer, write_artifact
from tests.conformance_rows import rows_cases
from tests.conformance_shared import SOURCE, add_shared
from tests.conformance_text import render_cases
from tests.conformance_wrong import add_wrong

LARGEST_BYTES = 300_000
_SPECS = ("none", "one", "four", "eight", "four:0.5", "one:0.7+eight:0.3", "four+eight:-0.25")
_TEXTS = ("The quick brown fox", "Zürich und 東京, 12 🚀", "", "yes", "Le garçon à midi", "Погода сегодня")


def update() -> None:
    """Write the folder anew; README.md stays."""
    with tempfile.TemporaryDirectory() as name:
        work, out = Path(name) / "work", Path(name) / "out"
        cases = [*arithmetic_cases(), *render_cases()]
        for artifact in QUANTS:
            cases += _cases_of(artifact, work, out)
        cases += add_shared(out, Path(name) / "plain", cases) + add_wrong(out, cases)
        for old in FOLDER.glob("tiny-*"):
            shutil.rmtree(old)
        shutil.copytree(out, FOLDER, dirs_exist_ok=True)
    _write(cases)


def update_one(artifact: str) -> None:
    """Write one artifact anew, and its cases at their place, new ones at the end; all else stays byte for byte."""
    before = read_cases()
    at = next((index for index, case in enumerate(before) if case.get("artifact") == artifact), len(before))
    others = [case for case in before if case.get("artifact") != artifact]
    with tempfile.TemporaryDirectory() as name:
        work, out = Path(name) / "work", Path(name) / "out"
        found = list(_cases_of(artifact, work, out))
        shutil.rmtree(FOLDER / artifact, ignore_errors=True)
        shutil.copytree(out / artifact, FOLDER / artifact)
    _write([*others[:at], *found, *others[at:]])


def _write(cases: Sequence[dict[str, Any]]) -> None:
    """One line for each case, so that a change shows which cases it touches."""
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (FOLDER / "cases.json").write_text(f'{{"format_version": 1, "cases": [\n{lines}\n]}}\n', encoding="utf-8")


def _cases_of(artifact: str, work: Path, out: Path) -> list[dict[str, Any]]:
    """Write the artifact and answer it."""
    folder = write_artifact(artifact, work, out)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < LARGEST_BYTES, f"{artifact} has {size} bytes"
    model = load(folder)
    found = list(_answer_cases(model) if artifact in (BLANK, "tiny-float") else ())
    if artifact == BLANK:
        found += _blank_cases(model)
    elif artifact == DORA:
        found += _dora_cases(model, TorchAnswer(work, artifact, folder))
    elif artifact == ACTIVATED:
        found += _activated_cases(model, TorchAnswer(work, artifact, folder))
    elif artifact == ROWS:
        found += rows_cases(folder, work)
    else:
        found += _model_cases(model, TorchAnswer(work, artifact, folder))
    return [{"artifact": artifact, **case} for case in found]


def _model_cases(model: Model, torch_answer: TorchAnswer) -> Iterator[dict[str, Any]]:
    tokenizer = model.tokenizer
    assert tokenizer is not None
    yield from _encode_cases(model)
    yield from _chat_cases(model)
    for index, spec in enumerate(_SPECS):
        ids = tokenizer.encode(_TEXTS[index % len(_TEXTS)] + " and the dog")
        yield logits_case(model, torch_answer, ids, spec)
    for spec in _SPECS:
        yield first_clear(lambda n, s=spec: tokens_case(model, tokenizer.encode(f"fox {n}"), s, {}, 24))
    # Drawing does not depend on the cache, and draws that survive its noise are hard to find.
    is_exact = model.manifest.graph.kv_cache == FLOAT_CACHE
    for index, options in enumerate(SAMPLING if is_exact else ()):
        spec = _SPECS[index % len(_SPECS)]
        yield first_clear(lambda n, o=options, s=spec: tokens_case(model, tokenizer.encode(f"dog {n}"), s, o, 12))
    # Growing the cache, and a prompt so long that the answer ends with the context.
    yield first_clear(lambda n: tokens_case(model, random_ids(n, 250), "four", {}, 12))
    yield first_clear(lambda n: tokens_case(model, random_ids(n, CONTEXT - 4), "none", {}, 12))
    for adapters in (["none"] * 3, ["four", "none", "one"], ["eight", "one:0.7+eight:0.3", "four"]):
        yield first_clear(lambda n, a=adapters: batch_case(model, a, n, {}))
    if is_exact:
        yield first_clear(lambda n: batch_case(model, ["none", "four", "none"], n, {"temperature": 0.8, "seed": 11}))
    # Rows that reach the end of the context end there, one after the other, and the rest goes on.
    full, near = CONTEXT, CONTEXT - 5
    yield first_clear(lambda n: batch_case(model, ["four", "none", "one"], n, {}, (near, 9, full), 12))
    yield first_clear(lambda n: batch_case(model, ["one", "one"], n, {}, (full, 40), 12))
    for prompt, raw, spec in (("yes", False, "none"), ("", False, "four"), ("東京", True, "one:0.7+eight:0.3")):
        yield _choices_case(model, prompt, raw, spec, ["yes", "no", "maybe", "yes no", "はい", "🙂", ""])
    for raw in (False, True):
        for spec in ("none", "eight"):
            yield first_clear(lambda n, r=raw, s=spec: _text_case(model, f"Zürich 🚀 {n}", r, s, {}, ()))
            yield first_clear(lambda n, r=raw, s=spec: _stopped_case(model, f"東京 {n}", r, s))
    yield first_clear(lambda n: _text_case(model, f"{n}", True, "four", {}, (), must_end=True))
    yield first_clear(lambda n: _special_stop_case(model, f"fox {n}"))
    yield _text_case(model, "", False, "one", {}, ())
    yield from _error_cases()


def _blank_cases(model: Model) -> Iterator[dict[str, Any]]:
    """What hangs on the tokenizer that puts a blank in front; the rest is that of the other artifacts."""
    yield from _encode_cases(model)
    yield from _chat_cases(model)
    yield _choices_case(model, "yes", False, "none", ["yes", "no", "maybe", "yes no", "はい", ""])
    yield _choices_case(model, "left or right:", True, "four", ["left", " left", "right", "\nno"])
    yield _choices_case(model, "yes ", True, "one", ["no", "maybe", "12"])
    yield _choices_case(model, "東京\n", True, "one:0.7+eight:0.3", ["yes", "no", "東京"])
    for raw in (False, True):
        yield first_clear(lambda n, r=raw: _text_case(model, f"Zürich 🚀 {n}", r, "eight", {}, ()))
        yield first_clear(lambda n, r=raw: _stopped_case(model, f"fox {n}", r, "four"))


def _dora_cases(model: Model, torch_answer: TorchAnswer) -> Iterator[dict[str, Any]]:
    """Gains alone, in blends and by row; what has nothing to do with them is that of the other artifacts."""
    tokenizer = model.tokenizer
    assert tokenizer is not None
    for index, spec in enumerate((*_SPECS, "eight:-0.5", "four:2", "none")):
        ids = tokenizer.encode(_TEXTS[index % len(_TEXTS)] + " and the dog")
        yield {**logits_case(model, torch_answer, ids, spec), "name": f"logits {index}, {spec}"}
    for spec in _SPECS:
        yield first_clear(lambda n, s=spec: tokens_case(model, tokenizer.encode(f"fox {n}"), s, {}, 16))
    yield first_clear(lambda n: tokens_case(model, random_ids(n, 250), "four", {}, 8))
    for adapters in (["four", "none", "one"], ["eight", "one:0.7+eight:0.3", "four"], ["none", "none", "eight"]):
        yield first_clear(lambda n, a=adapters: batch_case(model, a, n, {}))


def _activated_cases(model: Model, torch_answer: TorchAnswer) -> Iterator[dict[str, Any]]:
    """Switches on one context, in an order in which most go on from what the one before computed."""
    tokenizer = model.tokenizer
    assert tokenizer is not None
    context = tokenizer.encode("The quick brown fox jumps, 12 🚀 and Zürich")
    call, words = list(model.invocation("four")), list(model.invocation("eight"))
    twice = [*context, *call, 70, 71, *words, 72, *call, 73]
    asked = [(twice, spec) for spec in ("none", "four", "eight", "four:0.5", "one", "eight:-0.25", "four", "none")]
    asked += [([*call, 90], "four"), ([*words, *call], "eight"), ([91, *words], "eight"), (call, "four:0.5")]
    for number, (ids, spec) in enumerate(asked):
        yield {**logits_case(model, torch_answer, ids, spec), "name": f"logits {number}, {spec}"}
    # A context, and turns of a chat on it: the place from which an adapter acts moves on.
    said: list[int] = []
    for turn, spec in enumerate(("none", "four", "eight", "one", "four:0.5", "four", "none", "eight", "four")):
        name = spec.partition(":")[0]
        opening = {"four": call, "eight": words}.get(name, [74])

        def ask(n: int, spec: str = spec, start: list[int] = said, opening: list[int] = opening) -> dict[str, Any]:
            ids = [*context, *start, *random_ids(n, 3), *opening, 75]
            return tokens_case(model, ids, spec, {}, 6)

        case = {**first_clear(ask), "name": f"turn {turn} of a chat, {spec}"}
        said = [*case["input_ids"][len(context) :], *case["expected_ids"]]
        yield case
    for index, spec in enumerate(("four", "eight:0.5")):
        opening = call if index == 0 else words
        options = SAMPLING[index]
        yield first_clear(lambda n, s=spec, e=opening, o=options: tokens_case(model, [*random_ids(n, 30), *e], s, o, 8))
    yield first_clear(lambda n: tokens_case(model, [*random_ids(n, CONTEXT - 9), *call, 76], "four", {}, 12))
    yield first_clear(lambda n: tokens_case(model, [*call, *random_ids(n, 250)], "four", {}, 8))
    for adapters in (["four", "one", "eight"], ["none", "four", "four:0.5", "four"]):
        openings = [call if spec.startswith("four") else words for spec in adapters]
        yield first_clear(lambda n, a=adapters, e=openings: _calledbatch_case(model, a, e, n))
    yield _choices_case(model, "yes", False, "four", ["yes", "no", "maybe", "yes no", "🙂", ""])
    yield _choices_case(model, "and the dog", True, "eight", [" sleeps", " and", "12"])
    yield first_clear(lambda n: _text_case(model, f"Zürich 🚀 {n}", False, "four", {}, ()))
    yield first_clear(lambda n: _text_case(model, f"{n} and the dog", True, "eight:0.5", {}, ()))
    for spec, ids, words_of in (
        ("four", context, "which the prompt does not have"),
        ("eight:0.5", twice[: len(context)], "acts from its invocation on"),
        ("four+one", twice, "no blend can"),
        ("one:0.5+eight:0.5", twice, "no blend can"),
        ("four+eight", twice, "no blend can"),
    ):
        yield {"kind": "error", "name": f"{spec} here", "adapter": spec, "input_ids": ids, "message_has": words_of}


def _calledbatch_case(model: Model, adapters: list[str], openings: list[list[int]], seed: int) -> dict[str, Any]:
    rows = [[*random_ids(seed, 12), *random_ids(seed + 7 * row, row), *end] for row, end in enumerate(openings)]
    found = model.generate_ids(rows, adapter=adapters, max_new_tokens=6)
    for row, (ids, answer, spec) in enumerate(zip(rows, found, adapters, strict=True)):
        refuse_near_ties(model, ids, answer, spec, {}, row, 6)
    return {
        "kind": "batch", "name": f"batch {adapters}", "adapters": adapters, "input_ids": rows, "sampling": {},
        "max_new_tokens": 6, "expected_ids": found,
    }  # fmt: skip


def _answer_cases(model: Model) -> Iterator[dict[str, Any]]:
    tokenizer = model.tokenizer
    assert tokenizer is not None
    for prompt in ("left or right:", "yes ", "東京\n", "the do", ""):
        for text in ("left", " left", "g", "東京", "  ", ""):
            for special in (True, False):
                yield {
                    "kind": "after", "name": f"after {prompt!r} {text!r} special={special}", "prompt": prompt,
                    "text": text, "special": special, "expected_ids": tokenizer.encode_after(prompt, text, special),
                }  # fmt: skip
    user = {"role": "user", "content": "left or right?"}
    for messages in ([user], [user, {"role": "assistant", "content": "left"}, user]):
        for answer in ("left", " left", "no\n", "はい", "a<|end|>", ""):
            yield {
                "kind": "answer", "name": f"answer {answer!r} to {len(messages)} messages", "messages": messages,
                "answer": answer, "expected_ids": tokenizer.encode_answer(messages, answer),
            }  # fmt: skip


def _encode_cases(model: Model) -> Iterator[dict[str, Any]]:
    tokenizer = model.tokenizer
    assert tokenizer is not None
    for text in (*_TEXTS, "a  b\n\tc", "👩‍🔬<|end|>x"):
        for special in (True, False):
            ids = tokenizer.encode(text, special)
            yield {
                "kind": "encode", "name": f"encode {text!r} special={special}", "text": text, "special": special,
                "expected_ids": ids, "expected_text": tokenizer.decode(ids),
            }  # fmt: skip


def _chat_cases(model: Model) -> Iterator[dict[str, Any]]:
    assert model.tokenizer is not None
    user = {"role": "user", "content": "  Où est 東京? "}
    system, answer = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "yes"}
    talks = ([user], [system, user], [user, answer, user], [{"role": "user", "content": ""}])
    for index, messages in enumerate(talks):
        for add in (True, False):
            yield {
                "kind": "chat", "name": f"chat {index} prompt={add}",
                "messages": messages, "add_generation_prompt": add,
                "expected_text": model.tokenizer.render(messages, add),
                "expected_ids": model.tokenizer.encode_chat(messages, add),
            }  # fmt: skip


def _choices_case(model: Model, prompt: str, raw: bool, spec: str, choices: list[str]) -> dict[str, Any]:
    found = model.generate(prompt, raw=raw, adapter=spec, choices=choices)
    assert found.choice_scores is not None
    best = sorted(found.choice_scores)[-2:]
    tolerance = 4 * TOLERANCE[model.manifest.graph.kv_cache]
    assert best[1] - best[0] > 2.5 * tolerance
    return {
        "kind": "choices", "name": f"choices {prompt!r} {spec}", "prompt": prompt, "raw": raw, "adapter": spec,
        "choices": choices, "expected_text": found.text, "expected_scores": [round(x, 5) for x in found.choice_scores],
        "tolerance": tolerance,
    }  # fmt: skip


def _text_case(
    model: Model,
    prompt: str,
    raw: bool,
    spec: str,
    options: dict[str, Any],
    stop: tuple[str, ...],
    must_end: bool = False,
) -> dict[str, Any]:
    found = model.generate(prompt, raw=raw, adapter=spec, max_new_tokens=24, stop=stop, **options)
    if must_end and (found.finish_reason != "stop" or len(found.token_ids) < 3):
        raise NearTieError
    assert model.tokenizer is not None
    ids = model.tokenizer.encode(prompt) if raw else model.tokenizer.encode_chat([{"role": "user", "content": prompt}])
    count = len(found.token_ids) if stop else 24
    refuse_near_ties(model, ids, list(found.token_ids), spec, options, 0, count)
    return {
        "kind": "text", "name": f"text {prompt!r} raw={raw} {spec} stop={list(stop)}", "prompt": prompt, "raw": raw,
        "adapter": spec, "max_new_tokens": 24, "sampling": options, "stop": list(stop), "expected_text": found.text,
        "expected_ids": list(found.token_ids), "expected_reason": found.finish_reason,
        "expected_prompt_tokens": found.usage.prompt_tokens,
    }  # fmt: skip


def _stopped_case(model: Model, prompt: str, raw: bool, spec: str) -> dict[str, Any]:
    """A stop string that lies across tokens of the free answer."""
    text = model.generate(prompt, raw=raw, adapter=spec, max_new_tokens=20).text
    stop = text[6:9]
    if len(stop) < 3 or "\ufffd" in stop:
        raise NearTieError
    return _text_case(model, prompt, raw, spec, {}, (stop, "never said"))


def _special_stop_case(model: Model, prompt: str) -> dict[str, Any]:
    """A stop string that is a special token, which no text ever holds: the answer ends at its id."""
    free = model.generate(prompt, raw=True, adapter="eight", max_new_tokens=24).token_ids
    inside = [index for index, token in enumerate(free) if token in range(len(SPECIAL))]
    if not inside or not 3 < inside[0] < len(free) - 1:
        raise NearTieError
    stop = SPECIAL[free[inside[0]]]
    return _text_case(model, prompt, True, "eight", {}, (stop, "never said"))


def _error_cases() -> Iterator[dict[str, Any]]:
    for spec, words in (("fuor", "four"), ("one:x", "weight"), ("one+", "SPEC"), ("none+one", "SPEC")):
        yield {"kind": "error", "name": f"adapter {spec}", "adapter": spec, "input_ids": [1, 2], "message_has": words}
    yield {"kind": "error", "name": "no tokens", "adapter": "none", "input_ids": [], "message_has": "no tokens"}
    yield {"kind": "error", "name": "unknown id", "adapter": "none", "input_ids": [384], "message_has": "383"}
    too_long = [5] * (CONTEXT + 1)
    yield {"kind": "error", "name": "too long", "adapter": "none", "input_ids": too_long, "message_has": str(CONTEXT)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.conformance_build", description=__doc__)
    # Others are made of it, and are not made anew alone.
    parser.add_argument("--only", choices=[name for name in QUANTS if name != SOURCE], help="this artifact alone")
    only = parser.parse_args().only
    update_one(only) if only else update()
