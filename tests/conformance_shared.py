"""An artifact of the conformance suite whose adapters share factors, and its cases: the answers of whole adapters.

tiny-float, its cases -> tiny-shared, its cases
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgelora.artifact import store
from edgelora.artifact.sharing import share_factors
from edgelora.artifact.store import add_adapter, remove_adapter
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.safetensors import read_safetensors, write_safetensors

SOURCE, NAME = "tiny-float", "tiny-shared"
TWIN = "twin"  # the A of `four`, and half of its B
_WEIGHTS = "adapter_model.safetensors"
_SAME = {"four:0.5": TWIN, "four+eight:-0.25": f"{TWIN}:2+eight:-0.25"}  # a SPEC of the source -> what answers alike
_KINDS = ("logits", "tokens", "batch")


def add_shared(out: Path, work: Path, cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Write the artifact beside the source in ``out``, and give its cases of all those that there are."""
    write_shared(out / SOURCE, out, work)
    return list(shared_cases(case for case in cases if case.get("artifact") == SOURCE))


def write_shared(source: Path, out: Path, work: Path) -> Path:
    """The artifact ``out / NAME``: ``one`` shares nothing, ``four`` and ``twin`` an A, ``eight`` has a file alone."""
    folder = Path(shutil.copytree(source, out / NAME))
    infos = read_manifest(folder).adapters
    plain = {info.name: Path(shutil.copytree(folder / info.path, work / info.name)) for info in infos}
    plain[TWIN] = Path(shutil.copytree(plain["four"], work / TWIN))
    tensors = read_safetensors(plain[TWIN] / _WEIGHTS)
    write_safetensors(
        plain[TWIN] / _WEIGHTS, {key: value / 2 if ".lora_B." in key else value for key, value in tensors.items()}
    )
    with pytest.MonkeyPatch.context() as patch:
        # The factors of tiny models are tiny.
        patch.setattr(store, "share_factors", functools.partial(share_factors, least_bytes=256))
        for name in read_manifest(folder).adapter_names:
            remove_adapter(folder, name)
        for name, place in plain.items():
            add_adapter(folder, name, place, share=None if name == "one" else "a")
    return folder


def shared_cases(cases: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Cases of the source that run its graph with adapters, told of the artifact with shared factors."""
    for case in cases:
        if case["kind"] not in _KINDS or case.get("adapter") in ("none", "one"):
            continue
        told = json.dumps(case, ensure_ascii=False)
        for spec, same in _SAME.items():
            told = told.replace(spec, same)
        yield {**json.loads(told), "artifact": NAME}
