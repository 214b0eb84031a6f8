"""The readers of what encoders bring: manifests with a head, adapters with one, its labels, answers, labelled rows.

Knows nothing about damage.
"""

from __future__ import annotations

import json
from pathlib import Path

from edgelora.data.labelled import read_labelled
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.head import find_untrained, find_wrong_head, read_base_head
from edgelora_runtime.head_info import find_head_info
from edgelora_runtime.manifest import TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION, parse_manifest, read_manifest
from edgelora_runtime.open_adapter import open_adapter
from edgelora_runtime.receipt import parse_receipt
from tests.fuzz.reader import Reader
from tests.fuzz.seeds import CONFORMANCE

ARTIFACT = CONFORMANCE.parent / "encoder-topics"
_GOOD = CONFORMANCE.parent / "encoder-adapters/good"
_LABELS = json.dumps({"id2label": {"0": "a", "1": "b", "2": "c"}, "problem_type": "multi_label_classification"})
_ROWS = b'{"text": "my mail", "label": "spam"}\n{"text": "Anna", "label": 3}\n'
_TAGS = b"-DOCSTART- O\n\nAnna B-PER\nfrom O\n\nNew B-LOC\nYork I-LOC\n"


def encoder_readers() -> dict[str, Reader]:
    """Every reader by its name."""
    good = {path.name: path.read_bytes() for path in _GOOD.iterdir()}
    config, weights, receipt = "adapter_config.json", "adapter_model.safetensors", "receipt.json"
    bare = {name: content for name, content in good.items() if name != receipt}
    files = {name: (ARTIFACT / name).read_bytes() for name in ("manifest.json", "head.safetensors")}
    return {
        "encoder manifest": Reader((files["manifest.json"],), lambda path: parse_manifest(path.read_bytes()).to_json()),
        "head": Reader((files["head.safetensors"],), _read_base_head, "head.safetensors", files),
        "adapter with head": Reader((good[weights],), _read_adapter, weights, bare),
        "config with head": Reader((good[config],), _read_adapter, config, bare),
        "answers": Reader((good[receipt],), lambda path: parse_receipt(path.read_bytes()), receipt),
        "labels": Reader((_LABELS.encode(),), lambda path: find_head_info(path.parent, 3, "it"), "config.json"),
        "labelled rows": Reader((_ROWS,), lambda path: read_labelled(path, TEXT_CLASSIFICATION), "rows.jsonl"),
        "conll": Reader((_TAGS,), lambda path: read_labelled(path, TOKEN_CLASSIFICATION), "rows.conll"),
    }


def _read_base_head(path: Path) -> None:
    read_base_head(path.parent, read_manifest(path.parent))


def _read_adapter(path: Path) -> None:
    manifest = read_manifest(ARTIFACT)
    assert manifest.encoder is not None
    base = read_base_head(ARTIFACT, manifest)
    adapter = read_adapter(path.parent, with_head=True)
    find_untrained(adapter, manifest.encoder.head)
    lines = find_wrong_head(adapter, manifest.encoder.head, base)
    assert all(line.isprintable() for line in lines)
    open_adapter(path.parent, manifest, "it", base_head=base)
