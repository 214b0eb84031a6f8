"""``python -m tests.forms_alike [COUNT] [SEED]``: random forms in Python and JavaScript, token by token the same masks.

Knows nothing about models. It needs the tests of runtime/js compiled (``npx tsc -p tsconfig.test.json`` there).
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgelora_runtime.form_mask import Vocabulary, read_form
from tests.conformance_forms import allowed

PROGRAM = Path(__file__).resolve().parents[1] / "runtime" / "js" / "build" / "test" / "masks.js"
_LETTERS = b'{}[]":, abtrue0123.-eE\\n\\u\xc3\xa9'
_WHOLE = ('{"', '":', '":"', '", "', '"}', "true", "null", "false", ' "', '": ', ", ", "é", "日本", "\n\n", '[{"', "}]")
_STEPS = 40


def main(count: int = 300, seed: int = 0) -> int:
    """Print what differs, and how much was compared; 1 where anything does."""
    rng = random.Random(seed)
    pieces = {bytes(rng.choice(_LETTERS) for _ in range(rng.randint(2, 5))) for _ in range(400)}
    pieces |= {piece.encode() for piece in _WHOLE} | {b"\xe6\x97"}
    tokens = {index: bytes([index]) for index in range(1, 256)} | dict(enumerate(sorted(pieces), start=256))
    size = 256 + len(pieces) + 1
    vocabulary = Vocabulary(tokens, size, [size - 1], False)
    cases, expected = [], []
    for number in range(count):
        schema, regex = (None, _regex(rng, 0)) if number % 3 == 0 else (_schema(rng, 0), None)
        form = read_form(schema, regex)
        assert form is not None
        mask, so_far, steps = vocabulary.start(form), [0], []
        for _ in range(rng.randint(5, _STEPS)):
            steps.append(allowed(mask, so_far, size))
            going_on = [token for token in steps[-1] or () if token != size - 1]
            if not going_on:
                break
            so_far.append(rng.choice(going_on))
        cases.append({"schema": schema, "regex": regex, "walk": so_far[1 : len(steps)]})
        expected.append(steps)
    job = {"tokens": [[index, [*data]] for index, data in tokens.items()], "size": size, "ends": [size - 1]}
    found = _ask_javascript({**job, "cases": cases})
    wrong = [case for case, one, other in zip(cases, expected, found, strict=True) if one != other]
    for case in wrong:
        print(json.dumps(case, ensure_ascii=False))
    print(f"{count} forms, {sum(map(len, expected))} masks over {len(tokens)} tokens: {len(wrong)} forms differ")
    return 1 if wrong else 0


def _ask_javascript(job: dict[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        done = subprocess.run(["node", str(PROGRAM), str(path)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _schema(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(12 if depth < 3 else 7)
    least = rng.randint(0, 2)
    if kind == 0:
        return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 4)}
    if kind == 1:
        return {"type": rng.choice(["string", "integer", "number", "boolean", "null"])}
    if kind == 2:
        values = ["a", "ab", 1, 12, True, None, 1.5, 'é"', [1, 2], {"a": 1}, -3]
        return {"enum": rng.sample(values, rng.randint(1, 4))}
    if kind == 3:
        return {"type": "string", "pattern": rng.choice(["^[a-c]{2}\\d*$", "a|b", "^é+$", '^"\\\\x?$', "b$", "[^a]"])}
    if kind == 4:
        return {"type": ["string", "null"]}
    if kind == 5:
        return {"type": "string", "format": rng.choice(["date", "uuid", "time", "date-time"])}
    if kind == 6:
        return rng.choice([True, {"type": "object"}, {"type": "array"}]) if depth < 2 else {"const": "x"}
    if kind in (7, 8):
        names = rng.sample(["a", "b", "ab", "e", "é"], rng.randint(1, 4))
        properties = {name: _schema(rng, depth + 1) for name in names}
        return {"properties": properties, "required": [name for name in names if rng.random() < 0.5]}
    if kind == 9:
        most = {"maxItems": least + rng.randint(0, 2)} if rng.random() < 0.5 else {}
        return {"type": "array", "items": _schema(rng, depth + 1), "minItems": least, **most}
    if kind == 10 and depth == 0:
        tree = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/tree"}}, _schema(rng, 1)]}
        return {"$ref": "#/$defs/tree", "$defs": {"tree": tree}}
    if kind == 10:
        return {"anyOf": [_schema(rng, depth + 1) for _ in range(rng.randint(1, 3))]}
    return {"propertyNames": {"enum": ["a", "b", "ab"]}, "additionalProperties": _schema(rng, depth + 1)}


def _regex(rng: random.Random, depth: int) -> str:
    kind = rng.randrange(8)
    if depth > 3 or kind < 3:
        return rng.choice(["a", "b", "[a-e]", "\\d", ".", "é", "[^a\\s]", "\\w", "ab", '"', "[0-9a-f]", "[é-日]"])
    if kind < 5:
        return _regex(rng, depth + 1) + _regex(rng, depth + 1)
    if kind == 5:
        return f"({_regex(rng, depth + 1)}|{_regex(rng, depth + 1)})"
    return f"({_regex(rng, depth + 1)}){rng.choice(['*', '+', '?', '{2}', '{1,3}', '{2,}'])}"


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
