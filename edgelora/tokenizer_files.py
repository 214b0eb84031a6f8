"""Read what a Hugging Face folder says about text: its tokenizer and its chat template.

Knows nothing about weights; transformers is asked only where a folder has no tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelora.errors import CheckpointError
from edgelora.json_files import first_line, read_object
from edgelora.types import TokenizerFiles

_SLOW_TOKENIZERS = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")


def read_tokenizer(folder: Path) -> tuple[TokenizerFiles | None, tuple[str, ...]]:
    """The tokenizer of ``folder`` and notes on what had to be assumed; None when there is none."""
    path = folder / "tokenizer.json"
    notes: tuple[str, ...] = ()
    if path.is_file():
        read_object(path)
        tokenizer_json = path.read_text(encoding="utf-8")
    elif slow := [file for file in _SLOW_TOKENIZERS if (folder / file).is_file()]:
        tokenizer_json = _convert_tokenizer(folder)
        notes = (f"There is no tokenizer.json; transformers converted {slow[0]}.",)
    else:
        return None, ("There is no tokenizer; the model speaks token ids alone.",)
    settings = read_object(folder / "tokenizer_config.json", required=False)
    fallback = read_object(folder / "special_tokens_map.json", required=False)
    special = {
        kind: _token_text(settings.get(f"{kind}_token", fallback.get(f"{kind}_token")))
        for kind in ("bos", "eos", "pad", "unk")
    }
    return TokenizerFiles(
        tokenizer_json=tokenizer_json,
        chat_template=_chat_template(folder, settings),
        bos_token=special["bos"],
        eos_token=special["eos"],
        pad_token=special["pad"],
        unk_token=special["unk"],
    ), notes


def _convert_tokenizer(folder: Path) -> str:
    from transformers import AutoTokenizer  # only for folders without tokenizer.json

    try:
        return str(AutoTokenizer.from_pretrained(folder, use_fast=True).backend_tokenizer.to_str())
    except (OSError, ValueError, TypeError, KeyError, ImportError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder.name} has no tokenizer.json and transformers cannot convert its tokenizer ({first_line(error)})"
        ) from error


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):  # several, each with a name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _token_text(token: object) -> str | None:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None
