"""The readers of the Python runtime against runtime/conformance/refuse.json; other languages run the same cases.

Knows nothing about models: content goes in, and comes out read or refused in one line.
"""

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgelora_runtime.adapter_config import parse_config
from edgelora_runtime.claims import claims
from edgelora_runtime.errors import EdgeLoraError
from edgelora_runtime.manifest import open_manifest, parse_manifest
from edgelora_runtime.patterns import matches_ending, matches_whole
from edgelora_runtime.receipt import parse_receipt
from edgelora_runtime.safetensors import read_safetensors

FOLDER = Path(__file__).resolve().parents[1] / "runtime" / "conformance"
FILE = json.loads((FOLDER / "refuse.json").read_text(encoding="utf-8"))
BASES: dict[str, Any] = {
    "manifest": json.loads((FOLDER / "tiny-float/manifest.json").read_text(encoding="utf-8")),
    "adapter_config": json.loads((FOLDER / "tiny-float/adapters/one/adapter_config.json").read_text(encoding="utf-8")),
    "receipt": FILE["receipt"],
}
LONGEST_LINE = 500


READERS: dict[str, Callable[[Path], object]] = {
    "manifest": lambda path: parse_manifest(path.read_bytes()),
    "receipt": lambda path: parse_receipt(path.read_bytes()),
    "adapter_config": lambda path: parse_config(path.read_bytes(), with_gains=True),
    "safetensors": read_safetensors,
}
MATCHES = {"target_modules": matches_whole, "rank_pattern": matches_ending}


@pytest.mark.parametrize("case", FILE["cases"], ids=lambda case: f"{case['kind']} {case['name']}")
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    if case["kind"] == "pattern":
        assert MATCHES[case["field"]](case["pattern"], case["module"]) is case["expected"]
        return
    read = READERS[case["kind"]]
    path = tmp_path / "file"
    path.write_bytes(content_of(case))
    if case.get("accepted"):
        found: Any = read(path)
        told = {module: claims(module, found.targets, found.narrowing) for module in case.get("claims", {})}
        assert told == case.get("claims", {})
        return
    with pytest.raises(EdgeLoraError) as caught:
        read(path)
    message = str(caught.value)
    assert case["message_has"] in message
    assert len(message) < LONGEST_LINE
    assert message.isprintable()


@pytest.mark.parametrize(
    "case", [case for case in FILE["cases"] if case["kind"] == "manifest"], ids=lambda case: str(case["name"])
)
def test_an_opened_manifest_refuses_the_same_when_every_entry_is_asked_for(case: dict[str, Any]) -> None:
    def read() -> object:
        manifest = open_manifest(content_of(case))
        return list(manifest.adapters), dict(manifest.files)

    if case.get("accepted"):
        whole = parse_manifest(content_of(case))
        assert read() == (list(whole.adapters), whole.files)
        return
    with pytest.raises(EdgeLoraError) as caught:
        read()
    assert case["message_has"] in str(caught.value)


def content_of(case: dict[str, Any]) -> bytes:
    """The file of a case; ``runtime/conformance/README.md`` says how it is told."""
    if "text" in case:
        return str(case["text"]).encode()
    if "base64" in case:
        return base64.b64decode(case["base64"])
    if "pieces" in case:
        return "".join(text * times for text, times in case["pieces"]).encode()
    if "header" in case:
        header = str(case["header"]).encode()
        return len(header).to_bytes(8, "little") + header + bytes(case["data_bytes"])
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
    assert {case["kind"] for case in FILE["cases"]} == {*READERS, "pattern"}
    names = [(case["kind"], case["name"]) for case in FILE["cases"]]
    assert len(set(names)) == len(names)
    for kind in READERS:
        told = [case for case in FILE["cases"] if case["kind"] == kind]
        assert any(case.get("accepted") for case in told), "a reader that refuses everything passes no test"
        assert sum("message_has" in case for case in told) >= 10
