"""Reads what a Hugging Face folder says about text: its tokenizer and its chat template, as transformers would.

folder -> TokenizerFiles, notes

Which token ids the model has rows for is ``end_tokens``'s matter.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora.checkpoint.json_files import first_line, read_object
from edgelora.errors import ArtifactError, CheckpointError
from edgelora.values import TokenizerFiles
from edgelora_runtime.text import Tokenizer

_SENTENCE_PIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_OTHERS = ("vocab.json", "vocab.txt")
_UNREAD = ("tekken.json", "qwen.tiktoken")  # tokenizers that transformers has no way to convert
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_KINDS = ("bos", "eos", "pad", "unk")
_TEMPLATE_FILE, _TEMPLATE_FOLDER = "chat_template.jinja", "additional_chat_templates"
_PROCESSOR_TEMPLATE_FILE = "chat_template.json"  # what processors wrote before there was chat_template.jinja
_SHOWN = 3


def read_tokenizer(folder: Path) -> tuple[TokenizerFiles | None, tuple[str, ...]]:
    """The tokenizer of ``folder`` and notes on what had to be assumed; None when there is none.

    Its ids are those of transformers' AutoTokenizer: what the other files add to tokenizer.json is worked into it.
    Raises CheckpointError for files that cannot be read.
    """
    settings = read_object(folder / _SETTINGS[0], required=False)
    path = folder / "tokenizer.json"
    if path.is_file():
        written = _read_text(path)
        _check(written, path.name)
        loaded, notes = _combine(folder, written, settings)
    elif slow := [file for file in (*_SENTENCE_PIECE, *_OTHERS) if (folder / file).is_file()]:
        loaded = _convert(folder, slow[0], settings)
        notes = (f"There is no tokenizer.json; transformers converted {slow[0]}.",)
    else:
        unread = next((f", and {file} is not read" for file in _UNREAD if (folder / file).is_file()), "")
        return None, (f"There is no tokenizer{unread}; the model speaks token ids alone.",)
    template, more = _chat_template(folder, settings)
    special = {f"{kind}_token": loaded.special.get(kind) for kind in _KINDS}
    return TokenizerFiles(loaded.tokenizer_json, template, **special), (*notes, *more)


def _check(written: str, name: str) -> None:
    try:
        Tokenizer.from_text(written)
    except ArtifactError as error:
        raise CheckpointError(f"{name} cannot be used: {error}") from error


@dataclass(frozen=True)
class _Loaded:
    tokenizer_json: str
    special: Mapping[str, str | None]  # kind -> its token


class _OpenError(Exception):
    """transformers cannot open a tokenizer; the message is its own, shortened."""


def _combine(folder: Path, written: str, settings: Mapping[str, Any]) -> tuple[_Loaded, tuple[str, ...]]:
    """tokenizer.json with what the files beside it change, and a note that says so."""
    plain = _Loaded(written, _declared(folder, settings))
    try:
        found, reread = _open(folder, settings), _reread(written)
    except _OpenError as error:
        return plain, (f"transformers cannot open this tokenizer ({error}); tokenizer.json is used as it stands.",)
    differences = _differences(_serialize(reread), found.tokenizer_json)
    if not any((folder / file).is_file() for file in _SETTINGS):
        note = (
            "There is no tokenizer_config.json, and tokenizer.json is used as it stands; transformers would change its"
        )
        return plain, (f"{note} {differences} by what it takes for this kind of model.",) if differences else ()
    # A token that only the class of the tokenizer knows was made up just now: the model has never seen it.
    special = {
        kind: token if token is not None and reread.token_to_id(token) is not None else plain.special[kind]
        for kind, token in found.special.items()
    }
    if not differences:
        return _Loaded(written, special), ()
    return _Loaded(found.tokenizer_json, special), (
        f"The files beside tokenizer.json change its {differences}, which was done as transformers does.",
    )


def _convert(folder: Path, file: str, settings: Mapping[str, Any]) -> _Loaded:
    try:
        return _open(folder, settings)
    except _OpenError as error:
        package = _missing_package(folder / file) if file in _SENTENCE_PIECE else None
        if package:
            advice = f"install what it needs with `pip install {package}`"
        else:
            advice = "put a tokenizer.json beside it, or name its tokenizer_class in tokenizer_config.json"
        raise CheckpointError(
            f"{folder.name} has no tokenizer.json, and transformers cannot convert {file} ({error}); {advice}"
        ) from error


def _missing_package(path: Path) -> str | None:
    """What transformers would convert the file with, if it were installed."""
    with path.open("rb") as file:
        start = file.read(64).split(b"\n")[0].split()
    is_tiktoken = len(start) == 2 and start[1].isdigit()  # lines of a token in base64 and its rank
    packages = ("tiktoken",) if is_tiktoken else ("sentencepiece", "protobuf")
    modules = {"protobuf": "google.protobuf"}
    return next((package for package in packages if not _is_installed(modules.get(package, package))), None)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _open(folder: Path, settings: Mapping[str, Any]) -> _Loaded:
    """The tokenizer as AutoTokenizer opens it."""
    import transformers

    options: dict[str, Any] = {"use_fast": True, "trust_remote_code": False, "local_files_only": True}
    opener = transformers.AutoTokenizer
    if settings.get("tokenizer_class") == "TokenizersBackend":  # what transformers 5 calls a tokenizer.json
        opener = transformers.PreTrainedTokenizerFast
    if isinstance(extra := settings.get("extra_special_tokens"), list):  # as transformers 5 writes them
        options |= {"extra_special_tokens": {}, "additional_special_tokens": extra}
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # it warns at length of what the notes say in a line
    try:
        with _nothing_on_standard_output():
            tokenizer = opener.from_pretrained(folder, **options)
        return _Loaded(
            _serialize(tokenizer.backend_tokenizer),
            {kind: _token_text(tokenizer.special_tokens_map.get(f"{kind}_token")) for kind in _KINDS},
        )
    except BaseException as error:
        raise _open_error(error) from error
    finally:
        transformers.logging.set_verbosity(before)


@contextlib.contextmanager
def _nothing_on_standard_output() -> Iterator[None]:
    """The tokenizers package prints there, from compiled code, of fields that it does not know."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _reread(written: str) -> Any:
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_str(written)
    except BaseException as error:
        raise _open_error(error) from error


def _open_error(error: BaseException) -> BaseException:
    """An _OpenError for what the two libraries raise over files; tokenizers has no class for that but Exception."""
    expected = (OSError, ValueError, TypeError, LookupError, ImportError, AttributeError, RuntimeError)
    return _OpenError(first_line(error)) if type(error) is Exception or isinstance(error, expected) else error


def _serialize(tokenizer: Any) -> str:
    """A tokenizer of the tokenizers package as JSON, without padding and truncation, which no reader here uses."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return str(tokenizer.to_str())


def _differences(first: str, second: str) -> str:
    """What differs between two tokenizers, for people; nothing where they are the same."""
    if first == second:
        return ""
    one, two = json.loads(first), json.loads(second)
    changed = [key.replace("_", " ") for key in two if key != "added_tokens" and one.get(key) != two[key]]
    known = {token["content"]: token for token in one["added_tokens"]}
    tokens = [token["content"] for token in two["added_tokens"] if known.get(token["content"]) != token]
    if tokens:
        more = f" and {len(tokens) - _SHOWN} more" if len(tokens) > _SHOWN else ""
        changed.append(f"added tokens ({', '.join(repr(token[:40]) for token in tokens[:_SHOWN])}{more})")
    return ", ".join(changed)


def _declared(folder: Path, settings: Mapping[str, Any]) -> dict[str, str | None]:
    """The special tokens as the files name them, without transformers."""
    fallback = read_object(folder / _SETTINGS[1], required=False)
    return {kind: _token_text(settings.get(f"{kind}_token", fallback.get(f"{kind}_token"))) for kind in _KINDS}


def _token_text(token: object) -> str | None:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """The template that AutoTokenizer uses: that of the .jinja files, else of the settings, else of the processor."""
    stored = {path.stem: path for path in sorted((folder / _TEMPLATE_FOLDER).glob("*.jinja"))}
    if (folder / _TEMPLATE_FILE).is_file():
        stored["default"] = folder / _TEMPLATE_FILE
    named: Mapping[str, Any] = {name: _read_text(path) for name, path in stored.items()}
    named = named or _by_name(settings.get("chat_template"))
    processor = _by_name(read_object(folder / _PROCESSOR_TEMPLATE_FILE, required=False).get("chat_template"))
    if not named and processor:
        return processor.get("default"), (f"The chat template is that of {_PROCESSOR_TEMPLATE_FILE}.",)
    template = named.get("default")
    notes: list[str] = []
    if set(named) - {"default"}:
        used = "the default one is used" if template is not None else "none is called default, so none is used"
        notes.append(f"There are chat templates with names ({', '.join(sorted(named)[:_SHOWN])}); {used}.")
    if template is not None and processor.get("default", template) != template:
        notes.append(f"{_PROCESSOR_TEMPLATE_FILE} has another chat template, which transformers' tokenizer ignores.")
    return template, tuple(notes)


def _by_name(template: object) -> dict[str, str]:
    """Templates by name; one alone is the default."""
    if isinstance(template, str):
        return {"default": template}
    if isinstance(template, list):
        entries = [(entry.get("name"), entry.get("template")) for entry in template if isinstance(entry, dict)]
    elif isinstance(template, dict):
        entries = list(template.items())
    else:
        return {}
    return {name: text for name, text in entries if isinstance(name, str) and isinstance(text, str)}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is no text ({first_line(error)}); download it again") from error
