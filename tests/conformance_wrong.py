"""An artifact of the conformance suite with adapters that no reader takes beside one that is right, and its cases.

tiny-float, its cases -> tiny-wrong, its cases: it opens, and refuses each of them when it is asked for
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgelora_runtime.manifest import ADAPTER_FOLDER, MANIFEST_FILE
from edgelora_runtime.manifest_text import manifest_text
from tests import conformance_check

SOURCE, NAME = "tiny-float", conformance_check.WRONG
RIGHT = "one"
_KINDS = ("logits", "tokens")
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

Entry = dict[str, Any]
Change = Callable[[Entry, dict[str, Entry]], object]  # of the entry of an adapter, and of its files by their last name

# What is wrong of the adapter of each name, and what the refusal says.
WRONG: Mapping[str, tuple[Change, str]] = {
    "rank": (lambda entry, files: entry.update(rank=-1), "rank is -1"),
    "store": (lambda entry, files: entry.update(store="int3"), "store"),
    "title": (lambda entry, files: entry.update(title=3), "title: expected text"),
    "path": (lambda entry, files: entry.update(path=f"{ADAPTER_FOLDER}{RIGHT}"), "path is"),
    "nowhere": (lambda entry, files: entry.pop("path"), "missing"),
    "head": (lambda entry, files: entry.update(head={"labels": ["a"]}), "has labels, but the model has no head"),
    "shared": (lambda entry, files: entry.update(shared="x"), "expected 64 lower-case hexadecimal digits"),
    "unlisted": (lambda entry, files: files.pop(_WEIGHTS), f"{_WEIGHTS}"),
    "hash": (lambda entry, files: files[_CONFIG].update(sha256="AB"), "expected 64 lower-case hexadecimal digits"),
    "bytes": (lambda entry, files: files[_WEIGHTS].update(bytes=-1), "bytes is -1"),
    "pieces": (lambda entry, files: files[_WEIGHTS].update(pieces={"size": 1, "sha256": []}), "pieces: size is 1"),
}


def add_wrong(out: Path, cases: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Write the artifact beside the source in ``out``, and give its cases of all those that there are."""
    write_wrong(out / SOURCE, out / NAME)
    return list(wrong_cases(case for case in cases if case.get("artifact") == SOURCE))


def write_wrong(source: Path, folder: Path) -> None:
    """The source without its text and twins, with one of its adapters and those of ``WRONG`` behind it."""
    data = json.loads((source / MANIFEST_FILE).read_text(encoding="utf-8"))
    data["graph"] |= {"without_slots": None, "fused": None}
    data |= {"tokenizer": None, "reference": None}
    (entry,) = (item for item in data["adapters"] if item["name"] == RIGHT)
    own = {file: info for file, info in data["files"].items() if file.startswith(f"{entry['path']}/")}
    data["files"] = {file: data["files"][file] for file in (data["graph"]["file"], data["graph"]["weights"])} | own
    for file in data["files"]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file, folder / file)
    data["adapters"] = [entry]
    for name, (change, _) in WRONG.items():
        made = {**copy.deepcopy(entry), "name": name, "path": f"{ADAPTER_FOLDER}{name}"}
        files = {Path(file).name: dict(info) for file, info in own.items()}
        change(made, files)
        data["adapters"].append(made)
        data["files"] |= {f"{ADAPTER_FOLDER}{name}/{file}": info for file, info in files.items()}
    (folder / MANIFEST_FILE).write_text(manifest_text(data), encoding="utf-8")


def wrong_cases(cases: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Cases of the source that need neither text nor other adapters, and one for each that is refused."""
    for case in cases:
        if case["kind"] in _KINDS and case["adapter"] in ("none", RIGHT) and not case.get("sampling"):
            yield {**case, "artifact": NAME}
    for name, (_, told) in WRONG.items():
        yield {
            "artifact": NAME,
            "kind": "error",
            "name": f"adapter {name}",
            "adapter": name,
            "input_ids": [1, 2],
            "message_has": told,
        }
