"""The native runtime's manifests whose lines are left unread against Python's, message for message."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.manifest import FileInfo, open_manifest
from tests.native.asking import Readers
from tests.native.test_adapter_folders import ARTIFACTS
from tests.test_refuse import FILE, FOLDER

TEXT = (FOLDER / "tiny-float/manifest.json").read_text(encoding="utf-8")
FACTORS = "adapters/four/adapter_model.safetensors"
ASKED = (FACTORS, "weights.bin", "adapters/", "nothing", "adapters/four/x", 'adapters/four/x"', "adapters/one\n", "\\")


def told(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ArtifactError as error:
        return {"code": 2, "message": str(error)}


def file_of(info: FileInfo | None) -> list[Any] | None:
    return None if info is None else [info.bytes, info.sha256, info.pieces is not None]


def entry_of(content: bytes, index: int) -> list[Any]:
    manifest = open_manifest(content)
    info = manifest.adapters[index]
    return [info.name, info.path, info.rank, info.store, list(manifest.files_of(info.name))]


def opened(content: bytes) -> Any:
    """What ``open_manifest`` makes of it, each entry asked for by itself."""
    manifest = open_manifest(content)
    return {
        "names": list(manifest.adapter_names),
        "base": sorted(manifest.files_of_base),
        "adapters": [told(lambda index=index: entry_of(content, index)) for index in range(len(manifest.adapters))],
        "files": {name: told(lambda name=name: file_of(open_manifest(content).files.get(name))) for name in ASKED},
        "all": told(lambda: len([*open_manifest(content).files.values()])),
    }


def without_reasons(value: Any) -> Any:
    """What is wrong with JSON every parser says in words of its own; a file twice may be told as such or as a key."""
    if isinstance(value, dict):
        return {key: without_reasons(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_reasons(item) for item in value]
    return re.sub(r"is not JSON \(.*\);", "is not JSON;", value) if isinstance(value, str) else value


def both(readers: Readers, path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    found = readers.ask("opened", path=path, files=ASKED)
    expected = told(lambda: {"value": opened(content)})
    assert without_reasons(found) == without_reasons(expected)
    return found


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda path: path.name)
def test_every_manifest_is_opened_alike(readers: Readers, artifact: Path, tmp_path: Path) -> None:
    found = both(readers, tmp_path / "manifest.json", (artifact / "manifest.json").read_bytes())
    assert "message" not in str(found)


@pytest.mark.parametrize("case", FILE["lines"], ids=lambda case: str(case["name"]))
def test_every_case_of_lines_is_told_alike(readers: Readers, case: dict[str, Any], tmp_path: Path) -> None:
    found = both(readers, tmp_path / "manifest.json", TEXT.replace(case["old"], case["new"]).encode())
    one, four, eight = found["value"]["adapters"]
    assert isinstance(one, list)
    assert isinstance(eight, list)
    of_file = found["value"]["files"][FACTORS]
    messages = [item["message"] for item in (four, of_file) if isinstance(item, dict)]
    assert all(case["message_has"] in message for message in messages) if messages else case.get("accepted")
    assert isinstance(found["value"]["all"], int) or messages


OTHERS: dict[str, bytes] = {
    "no UTF-8 in the line of a file": TEXT.replace("adapters/four/", "adapters/f\x80r/").encode("latin-1"),
    "a mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "two marks": b"\xef\xbb\xbf" * 2 + TEXT.encode(),
    "a zero in a line": TEXT.replace('"path": "adapters/four"', '"path": "\0"').encode(),
    "lines that end otherwise": TEXT.replace("\n", "\r\n").encode(),
    "half of it": TEXT[: len(TEXT) // 2].encode(),
    "nothing behind the lines of files": TEXT[: TEXT.index('  "chat_template.jinja"')].encode(),
    "files that are later fields": TEXT.replace(' "files": {', ' "later": {').encode(),
    "adapters that are later fields": TEXT.replace(' "adapters": [', ' "later": [], "more": {"adapters": [')
    .replace('\n ],\n "base"', '\n ]},\n "base"')
    .encode(),
    "an adapter twice": TEXT.replace("eight", "one").encode(),
    "a name that is none": TEXT.replace('"name": "four"', '"name": "none"').encode(),
    "longer than manifests are": TEXT.replace(
        f'  "{FACTORS}',
        "".join(f'  "adapters/x/{"y" * 200}{number:09}": {{}},\n' for number in range(160_000)) + f'  "{FACTORS}',
    ).encode(),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_texts_are_told_alike(readers: Readers, name: str, tmp_path: Path) -> None:
    both(readers, tmp_path / "manifest.json", OTHERS[name])
