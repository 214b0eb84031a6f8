"""One tiny base with two adapters, exported for others by the real command, and what our runtime answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgelora.cli import main
from edgelora_runtime.model import load
from tests.tiny import write_adapter, write_checkpoint

PROMPT = (5, 17, 60, 33, 8, 120)
COUNT = 12  # tokens of an answer


@dataclass(frozen=True)
class Shared:
    """Folders: the base, PEFT adapters by name, an artifact that swaps them, and two that have no slots to fill."""

    base: Path
    adapters: dict[str, Path]
    slots: Path
    merged: Path  # adapter a
    float_base: Path


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    root = tmp_path_factory.mktemp("others")
    base = write_checkpoint(root / "base")
    adapters = {name: write_adapter(root / name, seed=seed, size=0.05) for seed, name in enumerate("ab", 1)}
    given = [word for name, folder in adapters.items() for word in ("--adapter", f"{name}={folder}")]
    _export(base, root / "slots", "--quant", "int4", *given)
    _export(base, root / "merged", "--quant", "int8", "--merge", str(adapters["a"]))
    _export(base, root / "float", "--quant", "none")
    return Shared(base, adapters, root / "slots", root / "merged", root / "float")


def _export(base: Path, out: Path, *options: str) -> None:
    assert main(["export", str(base), "-o", str(out), "--genai", "--json", *options]) == 0


def answer(artifact: Path, adapter: str = "none") -> list[int]:
    """The greedy tokens of our runtime, with the end token where one ends the answer, as others tell it."""
    with load(artifact) as model:
        found = list(model.generate_ids(list(PROMPT), adapter=adapter, max_new_tokens=COUNT))
    assert len(set(found)) > 2
    ends = json.loads((artifact / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    return found if len(found) == COUNT else [*found, *ends]


def differ(answers: Sequence[Sequence[int]]) -> bool:
    """Whether every one of them is another."""
    return len({tuple(tokens) for tokens in answers}) == len(answers)
