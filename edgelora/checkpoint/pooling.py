"""Reads how a model makes one vector of a text, from the files of sentence-transformers beside it.

folder -> Pooling, notes
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora.checkpoint.json_files import read_list, read_object
from edgelora.errors import CheckpointError
from edgelora.values import TokenizerFiles
from edgelora_runtime.names import find_unsafe
from edgelora_runtime.parse_json import show

MODULES_FILE = "modules.json"
MEAN, CLS, LAST_TOKEN = "mean", "cls", "lasttoken"
_MODES = {"pooling_mode_mean_tokens": MEAN, "pooling_mode_cls_token": CLS, "pooling_mode_lasttoken": LAST_TOKEN}
_ORDERS = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_LARGEST = 1 << 24


@dataclass(frozen=True)
class Pooling:
    """How a text's vectors become one. ``max_tokens`` is what the files allow, None where they say nothing."""

    mode: str
    normalize: bool
    max_tokens: int | None = None


def has_pooling(folder: Path) -> bool:
    """Whether sentence-transformers saved the folder."""
    return (folder / MODULES_FILE).is_file()


def read_pooling(folder: Path, otherwise: str, tokenizer: TokenizerFiles | None) -> tuple[Pooling, tuple[str, ...]]:
    """Pooling and a note on what had to be assumed; ``otherwise`` is the mode where the folder says nothing.

    Raises CheckpointError for modules and modes of pooling that the graph has none for.
    """
    if not has_pooling(folder):
        note = f"There is no {MODULES_FILE}: embeddings are pooled by {otherwise} and not normalised."
        return Pooling(otherwise, normalize=False), (note,)
    modules = read_list(folder / MODULES_FILE)
    kinds = [_kind(module) for module in modules]
    if kinds not in _ORDERS:
        raise CheckpointError(
            f"{folder.name}: {MODULES_FILE} has the modules {show(kinds)}; expected Transformer, Pooling and, at "
            "most, Normalize"
        )
    place = modules[1].get("path")
    if not isinstance(place, str) or find_unsafe(place) is not None:
        raise CheckpointError(f"{folder.name}: {MODULES_FILE} has Pooling at {show(place)}; expected a folder")
    settings = read_object(folder / place / "config.json")
    limits = read_object(folder / "sentence_bert_config.json", required=False)
    _check_case(folder.name, limits, tokenizer)
    longest = limits.get("max_seq_length")
    if longest is not None and not (isinstance(longest, int) and 1 < longest <= _LARGEST):
        raise CheckpointError(
            f"{folder.name}: max_seq_length is {show(longest)} in sentence_bert_config.json; expected a whole number"
        )
    prompt = read_object(folder / "config_sentence_transformers.json", required=False).get("default_prompt_name")
    notes = (
        ()
        if prompt is None
        else (f"Its texts begin with the prompt {show(prompt)}, which is not added here: write it before them.",)
    )
    return Pooling(_mode(settings, folder.name), kinds[-1] == "Normalize", longest), notes


def _kind(module: Any) -> str:
    kind = module.get("type") if isinstance(module, Mapping) else None
    return kind.rpartition(".")[2] if isinstance(kind, str) else "none"


def _mode(settings: Mapping[str, Any], name: str) -> str:
    modes = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    named = settings.get("pooling_mode")
    if not modes and isinstance(named, str) and named in _MODES.values():
        return named
    if len(modes) != 1 or modes[0] not in _MODES:
        found = ", ".join(mode.removeprefix("pooling_mode_") for mode in modes) or show(named)
        raise CheckpointError(f"{name} pools by {found}; expected one of mean_tokens, cls_token and lasttoken")
    return _MODES[modes[0]]


def _check_case(name: str, limits: Mapping[str, Any], tokenizer: TokenizerFiles | None) -> None:
    if not limits.get("do_lower_case") or tokenizer is None:
        return
    normalizer = json.loads(tokenizer.tokenizer_json).get("normalizer")
    if not _lowers(normalizer):
        raise CheckpointError(
            f"{name}: sentence_bert_config.json sets do_lower_case, and its tokenizer does not lower the case; put "
            "a Lowercase into the normalizer of tokenizer.json"
        )


def _lowers(normalizer: Any) -> bool:
    if not isinstance(normalizer, Mapping):
        return False
    if normalizer.get("type") == "Sequence":
        return any(_lowers(step) for step in normalizer.get("normalizers") or ())
    return normalizer.get("type") == "Lowercase" or normalizer.get("lowercase") is True
