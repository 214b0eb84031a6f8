"""Names in a manifest that become paths, hashes or words of a SPEC, and what makes one unsafe.

name, folder -> Path, or what is unsafe

``docs/format.md`` ("What a reader refuses") is the rule in words.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.parse_json import show

NO_ADAPTER = "none"  # in a SPEC: the base as it is
GIVEN_VARIABLES = ("messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HASH = re.compile(r"[0-9a-f]{64}")
_ADAPTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_PATH, _LONGEST_PART = 1024, 255  # bytes of UTF-8, what every file system of a device takes


def has_control(text: str) -> bool:
    """Whether ``text`` holds a control character or a line break, which no name has."""
    return not (text.isascii() and text.isprintable()) and _CONTROL.search(text) is not None


def is_hash(text: str) -> bool:
    """Whether ``text`` is a SHA-256: 64 lower-case hexadecimal digits."""
    return _HASH.fullmatch(text) is not None


def shared_file(sha256: str) -> str:
    """The name of a file of factors that adapters share, beside their folders: too long for that of an adapter."""
    return f"{sha256}.safetensors"


def is_adapter_name(name: str) -> bool:
    """Whether ``name`` can be that of an adapter: in a SPEC, on a command line, as a folder everywhere."""
    return _ADAPTER.fullmatch(name) is not None and name != NO_ADAPTER


def is_variable(name: str) -> bool:
    """Whether ``name`` can be that of a variable for the chat template: a word that no template gets anyway."""
    return _VARIABLE.fullmatch(name) is not None and name not in GIVEN_VARIABLES


def find_unsafe(name: str) -> str | None:
    """Why ``name`` is no safe relative path with ``/`` between its parts; None where it is one."""
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ":" in name or ".." in parts:
        return "leaves the artifact"  # ':' begins the path of another drive, or a stream beside the file
    if "" in parts or "." in parts:
        return "has an empty part or '.'"
    if has_control(name):
        return "holds a control character"
    if len(name.encode(errors="replace")) > _LONGEST_PATH or any(
        len(part.encode(errors="replace")) > _LONGEST_PART for part in parts
    ):
        return f"is longer than {_LONGEST_PATH} bytes, or a part of it than {_LONGEST_PART}"
    return None


def resolve_inside(folder: Path, name: str) -> Path:
    """The file ``name`` of the artifact in ``folder``; raises ArtifactError for a link that leaves the folder.

    The cache of a hub keeps a downloaded folder as links to ``blobs`` beside its ``snapshots``: those may be followed.
    """
    path = folder / name
    try:
        root, real = folder.resolve(), path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ArtifactError(f"{folder}: {show(name)} cannot be followed ({error}); copy the artifact again") from error
    roots = [root] if root.parent.name != "snapshots" else [root, root.parent.parent / "blobs"]
    if not any(real.is_relative_to(allowed) for allowed in roots):
        raise ArtifactError(f"{folder}: {show(name)} is a link that leaves the artifact; copy the file itself there")
    return path
