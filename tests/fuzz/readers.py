"""Every reader of files that people bring, each with files that it reads and with what happens to the result.

Knows nothing about damage: a reader takes a path and raises what it raises.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_with_library

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.tokenizer import open_tokenizer
from edgelora.cli.run import read_jobs
from edgelora.data.rows import read_rows
from edgelora.grid.file import read_grid, write_grid
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.values import Checkpoint
from edgelora_runtime.adapter import fit_adapter, read_adapter
from edgelora_runtime.adapter_config import parse_config
from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.manifest import parse_manifest, read_manifest
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.patterns import PatternError, matches_ending, matches_whole
from edgelora_runtime.prefix import Prefix, read_prefix, write_prefix
from edgelora_runtime.probe import check_probes
from edgelora_runtime.receipt import find_mismatch, parse_receipt, read_receipt, write_receipt
from edgelora_runtime.safetensors import map_safetensors, read_safetensors
from edgelora_runtime.text import Tokenizer
from tests.fuzz.encoder_readers import encoder_readers
from tests.fuzz.reader import Reader
from tests.fuzz.seeds import (
    CONFORMANCE,
    JOBS,
    PATTERNS,
    RECEIPT,
    ROWS,
    TABLE,
    TEMPLATES,
    checkpoint_files,
    gguf_files,
    parquet_file,
    safetensors_files,
    tokenizer_files,
)

_TEXTS = ("The quick brown fox", "Zürich 東京 🚀\n\n<|end|> x", "", "\x00\u200b" * 20)
_TALK = (
    {"role": "user", "content": "Où est 東京?"},
    {"role": "assistant", "content": "there"},
    {"role": "user", "content": ""},
)


def make_readers(scratch: Path) -> dict[str, Reader]:
    """Every reader by its name; files that have to be made are made in ``scratch``."""
    one = {path.name: path.read_bytes() for path in (CONFORMANCE / "adapters/four").iterdir()}
    eight = {path.name: path.read_bytes() for path in (CONFORMANCE / "adapters/eight").iterdir()}
    config, weights = "adapter_config.json", "adapter_model.safetensors"
    folder = checkpoint_files()
    manifest = (CONFORMANCE / "manifest.json").read_bytes()
    base = open_checkpoint(str(_write_all(scratch / "folder", folder)))
    readers = {
        "manifest": Reader((manifest,), lambda path: parse_manifest(path.read_bytes()).to_json()),
        "receipt": Reader((json.dumps(RECEIPT).encode(),), _read_receipt, "receipt.json"),
        "config": Reader(
            (one[config], eight[config]), lambda path: parse_config(path.read_bytes(), with_gains=True), config
        ),
        "adapter config": Reader((eight[config],), _read_adapter, config, {weights: eight[weights]}),
        "factors": Reader((eight[weights],), _read_adapter, weights, {config: eight[config]}),
        "safetensors": Reader(safetensors_files(), _read_safetensors),
        "pattern": Reader(tuple(pattern.encode() for pattern in PATTERNS), _match),
        "rows": Reader(ROWS, _read_rows, "rows.jsonl"),
        "rows list": Reader((b"[" + b",".join(ROWS[0].strip().split(b"\n")) + b"]",), _read_rows, "rows.json"),
        "rows csv": Reader((TABLE,), _read_rows, "rows.csv"),
        "rows parquet": Reader((parquet_file(),), _read_rows, "rows.parquet"),
        "tokenizer": Reader(tokenizer_files(), _read_tokenizer),
        "template": Reader(tuple(template.encode() for template in TEMPLATES), _render),
        "jobs": Reader(JOBS, lambda path: read_jobs(path, "none", False), "prompts.jsonl"),
        "prefix": Reader((_prefix_file(scratch / "prefix"),), _read_prefix),
        "grid": Reader((_grid_file(scratch / "folder", scratch / "grid"),), lambda path: read_grid(path, base)),
        "gguf": Reader(gguf_files(scratch / "gguf"), _read_checkpoint, "model.gguf"),
    }
    readers |= encoder_readers()
    for name in sorted(folder):
        readers[f"checkpoint {name}"] = Reader((folder[name],), _read_folder, name, folder)
    return readers


def _write_all(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _grid_file(folder: Path, path: Path) -> bytes:
    write_grid(path, plan_grid(open_checkpoint(str(folder)), parse_quant("int4")))
    return path.read_bytes()


_PREFIX_SHAPE = (4, 1, 8)


def _prefix_file(path: Path) -> bytes:
    layers, heads, width = _PREFIX_SHAPE
    write_prefix(path, Prefix((1, 2, 3), np.zeros((layers, heads, 3, width), np.float32)), "made with this")
    return path.read_bytes()


def _read_prefix(path: Path) -> None:
    read_prefix(path, "made with this", _PREFIX_SHAPE, np.float32)


def put(reader: Reader, folder: Path, content: bytes) -> Path:
    """The damaged file in a folder of its own, with what has to stand beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, other in (reader.beside or {}).items():
        (folder / name).write_bytes(other)
    path = folder / reader.name
    path.write_bytes(content)
    return path


def _read_receipt(path: Path) -> None:
    manifest = read_manifest(CONFORMANCE)
    receipt = parse_receipt(path.read_bytes())
    find_mismatch(receipt, manifest)
    write_receipt(path.parent, receipt)
    assert read_receipt(path.parent) == receipt
    if receipt.probes:
        check_probes(receipt, manifest.model.vocab_size)


def _read_adapter(path: Path) -> None:
    fit_adapter(read_adapter(path.parent), read_manifest(CONFORMANCE).slots, "the adapter")


def _read_safetensors(path: Path) -> None:
    """What is read must be what the library reads, and what the library refuses must be refused."""
    found = read_safetensors(path)
    views = map_safetensors(path)
    try:
        expected = load_with_library(path.read_bytes())
    except (SafetensorError, ValueError, TypeError) as error:
        raise AssertionError(f"read, though the library refuses it: {error}") from error
    assert found.keys() == expected.keys() == views.keys()
    for name, array in expected.items():
        same = np.asarray(array).astype(found[name].dtype)
        assert same.shape == found[name].shape
        assert same.tobytes() == found[name].tobytes() == views[name].tobytes()


def _match(path: Path) -> None:
    pattern = path.read_bytes().decode(errors="replace")
    try:
        for name in ("model.layers.10.self_attn.q_proj", "", "a" * 300, "a." * 150):
            matches_whole(pattern, name)
            matches_ending(pattern, name)
    except PatternError as error:
        raise ArtifactError(str(error)) from error


def _read_rows(path: Path) -> None:
    found = read_rows(path)
    assert all(problem.reason.isprintable() and len(problem.reason) < 400 for problem in found.problems), join_some(
        problem.reason for problem in found.problems
    )


def _read_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer.from_text(_text(path), TEMPLATES[0], bos_token="<s>", eos_token="</s>")
    _use(tokenizer)


def _use(tokenizer: Tokenizer) -> None:
    for text in _TEXTS:
        ids = tokenizer.encode(text)
        tokenizer.decode(ids)
        tokenizer.encode(text, special=False)
    tokenizer.decode([0, 1, 2, 5, 300, 2**31 - 1])


def _render(path: Path) -> None:
    tokenizer = Tokenizer.from_text(tokenizer_files()[0].decode(), _text(path), bos_token="<s>", eos_token="</s>")
    for count in (1, 3):
        tokenizer.render(_TALK[:count])
    tokenizer.encode_chat(_TALK, False)


def _read_checkpoint(path: Path) -> None:
    _use_checkpoint(open_checkpoint(str(path)))


def _read_folder(path: Path) -> None:
    _use_checkpoint(open_checkpoint(str(path.parent)))


def _use_checkpoint(checkpoint: Checkpoint) -> None:
    for name in checkpoint.names():
        assert checkpoint.read(name).shape == checkpoint.shape(name)
        checkpoint.packed(name)
    if checkpoint.tokenizer is not None:
        _use(open_tokenizer(checkpoint))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:  # as read_tokenizer of the runtime does
        raise ArtifactError("not UTF-8") from error
