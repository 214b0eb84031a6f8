"""What the faults happen to: a tiny base, adapters, and each command with the state before and after it.

Knows nothing about faults.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from edgelora.cli import main
from edgelora_runtime import load
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.files import is_temporary
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.receipt import find_other_factors, read_receipt
from tests.tiny import write_adapter, write_checkpoint

Files = Mapping[str, str]  # name below a folder -> SHA-256
_SECONDS = re.compile(rb'"seconds": [^,}]+')  # in a history; of each run its own
_PASSING = {".lock", ".changing"}  # there only while a command changes an artifact, or after one that was killed


@dataclasses.dataclass(frozen=True)
class Case:
    """A command, the folder that it changes, and how a whole one is told from a damaged one."""

    name: str
    arguments: tuple[str, ...]
    back: tuple[str, ...]  # the command that is tried where the first has come through
    folder: Path
    check: Callable[[Path], None]  # raises for a folder that a device or a person could not use


def build_cases(inputs: Path, place: Path) -> dict[str, Case]:
    """Make the inputs once; the folders that commands change lie in ``place``."""
    base = inputs / "base"
    if not base.exists():
        write_checkpoint(base)
        write_adapter(inputs / "one", rank=2, seed=1)
        write_adapter(inputs / "two", rank=4, seed=2)
        rows = [{"prompt": f"say {word}", "completion": word.upper()} for word in ("one", "two", "drei", "四")]
        (inputs / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    artifact, adapter = place / "artifact", place / "adapter"
    export = ("export", str(base), "-o", str(artifact), "--overwrite", "--adapter", f"one={inputs / 'one'}")
    train = ("train", str(base), str(inputs / "rows.jsonl"), "-o", str(adapter), "--overwrite", "--rank", "2")
    train += ("--max-steps", "3", "--save-every", "1", "--target-modules", "q_proj")
    add, remove = (
        ("adapter", "add", str(artifact), f"two={inputs / 'two'}"),
        ("adapter", "remove", str(artifact), "two"),
    )
    cases = (
        Case("export", (*export, "--quant", "int8"), (*export, "--quant", "int4"), artifact, check_artifact),
        Case("genai", (*export, "--genai", "--quant", "int8"), (*export, "--genai"), artifact, check_artifact),
        Case("train", (*train, "--seed", "2", "--resume"), (*train, "--seed", "1"), adapter, check_adapter),
        Case("add", add, remove, artifact, check_artifact),
        Case("remove", remove, add, artifact, check_artifact),
        Case("share", (*add, "--share", "a"), remove, artifact, check_artifact),
        Case("unshare", remove, (*add, "--share", "a"), artifact, check_artifact),
    )
    return {case.name: case for case in cases}


def prepare(case: Case, kept: Path) -> None:
    """Put the folder in the state before the command; made by ``run`` in a process of its own the first time."""
    for name in os.listdir(case.folder.parent):
        shutil.rmtree(case.folder.parent / name)
    shutil.copytree(kept, case.folder)


def run(arguments: tuple[str, ...]) -> int:
    """A command, in this process."""
    return main([*arguments, "--json"])


def files_of(folder: Path) -> Files:
    """Every file that counts; a checkpoint is no part of an adapter, and what passes is none of an artifact."""
    found = {}
    # An adapter that is marked and not listed is one that was coming or going: readers do not see it.
    manifest = folder / "manifest.json"
    listed = manifest.read_text(encoding="utf-8") if manifest.is_file() else ""
    unseen = {mark.parent for mark in folder.glob("adapters/*/.changing") if f"/{mark.parent.name}/" not in listed}
    unseen |= {path for path in folder.glob("adapters/*.safetensors") if path.name not in listed}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if (
            path.is_file()
            and not {path, path.parent} & unseen
            and not any(is_temporary(part) or part in {".checkpoint", *_PASSING} for part in name.parts)
        ):
            content = path.read_bytes()
            if name.name == "history.jsonl":
                content = _SECONDS.sub(b"", content)
            found[str(name)] = hashlib.sha256(content).hexdigest()
    return found


def check_artifact(folder: Path) -> None:
    """Load it with hashes and answer with every adapter."""
    model = load(folder, hashes=True, threads=1)
    for name in (*(info.name for info in read_manifest(folder).adapters), "none"):
        model.generate_ids([5, 6, 7], adapter=name, max_new_tokens=1)


def check_adapter(folder: Path) -> None:
    """Read it and hold it to its receipt."""
    receipt = read_receipt(folder)
    assert receipt is not None
    assert find_other_factors(receipt, folder, read_adapter(folder).factors) is None
