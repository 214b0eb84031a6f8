"""Whether an adapter names another base than the one that is here; a name alone is no proof.

base_model_name_or_path, names of the base -> a line where they differ
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgelora_runtime.parse_json import show

_COMMIT = re.compile(r"[0-9a-f]{40}")  # what a hub's cache calls a folder
_CAPITAL = re.compile(r"[A-Z]")


def find_other_name(named: str | None, ours: Iterable[str | None], what: str) -> str | None:
    """A line where both are known and differ; ``ours`` are names of one base, the first for people."""
    names = [name for name in ours if name]
    known = {short for name in names if (short := short_name(name)) is not None}
    short = None if named is None else short_name(named)
    if short is None or not known or short in known:
        return None
    return (
        f"adapter_config.json names the base {show(named)}, {what} {show(names[0])}; without a receipt nobody knows "
        "whether they are the same, and `edgelora adapter receipt` writes one"
    )


def short_name(base: str) -> str | None:
    """What a hub id, with a revision or not, a path and a place in a hub's cache have in common; None if nothing."""
    place = base.replace("\\", "/")
    before, at, _ = place.partition("@")
    if at and before.count("/") == 1 and before[0] not in "/.~":  # owner/name@revision
        place = before
    parts = [part for part in place.split("/") if part not in ("", ".")]
    cached = next((part for part in parts if part.startswith("models--")), None)  # models--owner--name
    name = (parts or [""])[-1] if cached is None else cached.split("--", 2)[-1]
    name = _CAPITAL.sub(lambda letter: letter[0].lower(), name).removesuffix(".gguf")
    return None if name in ("", "..") or _COMMIT.fullmatch(name) else name
