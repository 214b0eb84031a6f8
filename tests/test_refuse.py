"""The readers of the Python runtime against runtime/conformance/refuse.json; other languages run the same cases.

Knows nothing about models: content goes in, and comes out read or refused in one line.
"""

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from edgelora_runtime.errors import EdgeLoraError
from edgelora_runtime.manifest import parse_manifest

FOLDER = Path(__file__).resolve().parents[1] / "runtime" / "conformance"
FILE = json.loads((FOLDER / "refuse.json").read_text(encoding="utf-8"))
BASES: dict[str, Any] = {
    "manifest": json.loads((FOLDER / "tiny-float/manifest.json").read_text(encoding="utf-8")),
    "adapter_config": json.loads((FOLDER / "tiny-float/adapters/one/adapter_config.json").read_text(encoding="utf-8")),
    "receipt": FILE["receipt"],
}
LONGEST_LINE = 500


def read_manifest(content: bytes) -> None:
    parse_manifest(content)


READERS = {"manifest": read_manifest}


@pytest.mark.parametrize("case", FILE["cases"], ids=lambda case: f"{case['kind']} {case['name']}")
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    read = READERS[case["kind"]]
    content = content_of(case)
    if case.get("accepted"):
        read(content)
        return
    with pytest.raises(EdgeLoraError) as caught:
        read(content)
    message = str(caught.value)
    assert case["message_has"] in message
    assert len(message) < LONGEST_LINE
    assert message.isprintable()


def content_of(case: dict[str, Any]) -> bytes:
    """The file of a case; ``runtime/conformance/README.md`` says how it is told."""
    if "text" in case:
        return str(case["text"]).encode()
    if "base64" in case:
        return base64.b64decode(case["base64"])
    if "pieces" in case:
        return "".join(text * times for text, times in case["pieces"]).encode()
    base = copy.deepcopy(BASES[case["kind"]])
    for change in case.get("changes", ()):
        *path, last = change["at"]
        place: Any = base
        for key in path:
            place = place[key]
        if change.get("drop"):
            del place[last]
        elif "copy" in change:
            found: Any = base
            for key in change["copy"]:
                found = found[key]
            place[last] = copy.deepcopy(found)
        else:
            place[last] = change["put"]
    text = json.dumps(base)
    return ("\ufeff" if case.get("mark") else "").encode() + f"{{{case.get('insert', '')}{text[1:]}".encode()


def test_there_are_cases_of_every_kind() -> None:
    assert {case["kind"] for case in FILE["cases"]} == READERS.keys()
    names = [(case["kind"], case["name"]) for case in FILE["cases"]]
    assert len(set(names)) == len(names)
    for kind in READERS:
        told = [case for case in FILE["cases"] if case["kind"] == kind]
        assert any(case.get("accepted") for case in told), "a reader that refuses everything passes no test"
        assert sum("message_has" in case for case in told) >= 10
