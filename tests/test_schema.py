"""The manifest schema and the manifest reader accept and refuse the same documents.

Knows nothing about graphs: manifests are written through ``Manifest.to_json`` or read from the conformance artifacts.
"""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgelora_runtime import manifest as module
from edgelora_runtime.errors import ArtifactError
from edgelora_runtime.manifest import (
    AdapterInfo,
    BaseInfo,
    EncoderInfo,
    FileInfo,
    GraphInfo,
    HeadInfo,
    HeadTensor,
    Manifest,
    ModelInfo,
    Pieces,
    Slot,
    SlotPart,
    TokenizerInfo,
    parse_manifest,
)
from tests.conformance_check import FOLDER, WRONG

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "runtime/python/edgelora_runtime/manifest.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)

FULL = Manifest(
    producer="edgelora 0.1.0",
    target="cpu",
    model=ModelInfo("tiny é", "llama", 64, 2, 1, 8, 128, (1, 2)),
    graph=GraphInfo("decoder.onnx", "weights.bin", fused="decoder.fused.onnx"),
    base=BaseInfo("ab" * 32, "cd" * 32, "owner/name", "apache-2.0"),
    slots=(Slot("l.0.qkv", "l.0.qkv.a", "l.0.qkv.b", 16, 24, (SlotPart("q_proj", 0, 16), SlotPart("k_proj", 16, 8))),),
    adapters=(
        AdapterInfo(
            "mail", "adapters/mail", 4, "int8", None, "Mail", "Sorts mail.", ("Where is my parcel?",), "mit", "ee" * 32
        ),
    ),
    files={
        "decoder.onnx": FileInfo((9 << 20) + 1, "00" * 32, Pieces(4 << 20, ("a1" * 32, "a2" * 32, "a3" * 32))),
        "decoder.fused.onnx": FileInfo(11, "77" * 32),
        "weights.bin": FileInfo(2**40, "22" * 32),
        "tokenizer.json": FileInfo(3, "33" * 32),
        "chat_template.jinja": FileInfo(4, "44" * 32),
        "reference.safetensors": FileInfo(5, "55" * 32),
        "adapters/mail/adapter_config.json": FileInfo(0, "11" * 32),
        "adapters/mail/adapter_model.safetensors": FileInfo(9, "66" * 32),
        f"adapters/{'ee' * 32}.safetensors": FileInfo(10, "ee" * 32),
    },
    tokenizer=TokenizerInfo("tokenizer.json", "chat_template.jinja", "<s>", "</s>", None, "<unk>"),
    reference="reference.safetensors",
    quantization={"bits": 4, "block_size": 32},
    merged={"adapter": "mail"},
    report={"notes": ["one", 2, None]},
)
BARE = dataclasses.replace(
    FULL,
    graph=GraphInfo("decoder.onnx", "weights.bin"),
    slots=(),
    adapters=(),
    files={name: FULL.files[name] for name in ("decoder.onnx", "weights.bin")},
    tokenizer=None,
    reference=None,
    quantization={},
    merged=None,
    report={},
)
ENCODER = dataclasses.replace(
    FULL,
    task="text-classification",
    model=ModelInfo("tiny", "bert", 64, 0, 0, 0, 128, ()),
    graph=GraphInfo("encoder.onnx", "weights.bin", fused="decoder.fused.onnx"),
    encoder=EncoderInfo(
        inputs=("input_ids", "attention_mask"),
        output="logits",
        hidden_size=16,
        head=(
            HeadTensor("classifier.weight", "head.classifier.weight", (0, 16)),
            HeadTensor("classifier.bias", "head.classifier.bias", (0,)),
        ),
        head_file="head.safetensors",
        base_head=HeadInfo(("spam", "post")),
        one_adapter=True,
    ),
    adapters=(AdapterInfo("mail", "adapters/mail", 4, head=HeadInfo(("a", "b"), "multi_label_classification", 1.5)),),
    files={**FULL.files, "encoder.onnx": FileInfo(1, "12" * 32), "head.safetensors": FileInfo(1, "13" * 32)},
)


def document(manifest: Manifest = FULL) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(manifest.to_json())
    return data


@pytest.mark.parametrize("manifest", [FULL, BARE, ENCODER], ids=["full", "bare", "encoder"])
def test_written_manifests_are_accepted_and_read_back(manifest: Manifest) -> None:
    VALIDATOR.validate(document(manifest))
    assert parse_manifest(manifest.to_json()) == manifest


def test_conformance_manifests_are_accepted() -> None:
    paths = sorted({*FOLDER.glob("*/manifest.json")} - {FOLDER / WRONG / "manifest.json"})
    assert len(paths) >= 3
    for path in paths:
        text = path.read_text(encoding="utf-8")
        VALIDATOR.validate(json.loads(text))
        assert json.loads(parse_manifest(text).to_json()) == json.loads(text), path


def test_optional_and_unknown_fields() -> None:
    data = document()
    for name in ("tokenizer", "reference", "quantization", "merged", "report"):
        del data[name]
    data["a_later_field"] = [1]
    data["model"]["a_later_field"] = {}
    VALIDATOR.validate(data)
    assert parse_manifest(json.dumps(data)).tokenizer is None


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another format": put("format", value="onnx"),
    "no format": lambda data: data.pop("format"),
    "newer version": put("format_version", value=2),
    "version zero": put("format_version", value=0),
    "version as text": put("format_version", value="1"),
    "version true": put("format_version", value=True),
    "unknown cache": put("graph", "kv_cache", value="int4"),
    "absolute file": put("files", "/etc/passwd", value={"bytes": 1, "sha256": "00" * 32}),
    "file above": put("files", "../x", value={"bytes": 1, "sha256": "00" * 32}),
    "file above, hidden": put("files", "adapters/../../x", value={"bytes": 1, "sha256": "00" * 32}),
    "file is dots": put("files", "adapters/..", value={"bytes": 1, "sha256": "00" * 32}),
    "file with an empty part": put("files", "adapters//x", value={"bytes": 1, "sha256": "00" * 32}),
    "file with a dot": put("files", "./x", value={"bytes": 1, "sha256": "00" * 32}),
    "file with a backslash": put("files", "adapters\\x", value={"bytes": 1, "sha256": "00" * 32}),
    "file on a drive": put("files", "C:x", value={"bytes": 1, "sha256": "00" * 32}),
    "file with a control character": put("files", "a\x1bb", value={"bytes": 1, "sha256": "00" * 32}),
    "file without a name": put("files", "", value={"bytes": 1, "sha256": "00" * 32}),
    "manifest in files": put("files", "manifest.json", value={"bytes": 1, "sha256": "00" * 32}),
    "size below zero": put("files", "decoder.onnx", "bytes", value=-1),
    "size beyond 2^53": put("files", "decoder.onnx", "bytes", value=2**53),
    "short hash": put("files", "decoder.onnx", "sha256", value="00"),
    "hash in capitals": put("files", "decoder.onnx", "sha256", value="AB" * 32),
    "pieces as list": put("files", "decoder.onnx", "pieces", value=["00" * 32]),
    "pieces without a size": lambda data: data["files"]["decoder.onnx"]["pieces"].pop("size"),
    "pieces of a byte": put("files", "decoder.onnx", "pieces", "size", value=1),
    "pieces without end": put("files", "decoder.onnx", "pieces", "size", value=2**40),
    "hash of a piece is short": put("files", "decoder.onnx", "pieces", "sha256", 1, value="00"),
    "fingerprint is a path": put("base", "fingerprint", value="../x"),
    "graph above": put("graph", "file", value="../decoder.onnx"),
    "weights absolute": put("graph", "weights", value="/weights.bin"),
    "twin above": put("graph", "without_slots", value="adapters/../../x"),
    "fused graph above": put("graph", "fused", value="../decoder.fused.onnx"),
    "unknown store": put("adapters", 0, "store", value="int4"),
    "store null": put("adapters", 0, "store", value=None),
    "tokenizer above": put("tokenizer", "file", value="../tokenizer.json"),
    "template absolute": put("tokenizer", "chat_template", value="/etc/passwd"),
    "reference above": put("reference", value="../../x"),
    "adapter above": put("adapters", 0, "path", value="adapters/.."),
    "adapter elsewhere": put("adapters", 0, "path", value="mail"),
    "adapter with a line break": put("adapters", 0, "name", value="mail\nx"),
    "adapter named none": put("adapters", 0, "name", value="none"),
    "rank zero": put("adapters", 0, "rank", value=0),
    "rank without end": put("adapters", 0, "rank", value=10**6),
    "layers below zero": put("model", "num_layers", value=-3),
    "layers without end": put("model", "num_layers", value=10**9),
    "no vocabulary": put("model", "vocab_size", value=0),
    "no context": put("model", "context_length", value=0),
    "end token below zero": put("model", "eos_token_ids", value=[-1]),
    "model name with a line break": put("model", "name", value="a\nb"),
    "no features": put("slots", 0, "in_features", value=0),
    "slot without parts": put("slots", 0, "parts", value=[]),
    "slot without a name": put("slots", 0, "name", value=""),
    "offset below zero": put("slots", 0, "parts", 0, "offset", value=-1),
    "cache null": put("graph", "kv_cache", value=None),
    "size as text": put("files", "decoder.onnx", "bytes", value="10"),
    "size with fraction": put("files", "decoder.onnx", "bytes", value=1.5),
    "files as list": put("files", value=[]),
    "slots as object": put("slots", value={}),
    "part as text": put("slots", 0, "parts", 0, value="q_proj"),
    "offset true": put("slots", 0, "parts", 0, "offset", value=True),
    "eos null": put("model", "eos_token_ids", value=None),
    "eos of text": put("model", "eos_token_ids", value=["</s>"]),
    "layers null": put("model", "num_layers", value=None),
    "tokenizer as text": put("tokenizer", value="tokenizer.json"),
    "tokenizer without file": lambda data: data["tokenizer"].pop("file"),
    "special token as number": put("tokenizer", "bos_token", value=1),
    "reference as object": put("reference", value={}),
    "report as list": put("report", value=[]),
    "quantization null": put("quantization", value=None),
    "merged as text": put("merged", value="mail"),
    "adapter as text": put("adapters", value=["mail"]),
    "graph null": put("graph", value=None),
}


BROKEN_ENCODERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no encoder": put("encoder", value=None),
    "encoder left out": lambda data: data.pop("encoder"),
    "encoder that generates": put("task", value="text-generation"),
    "unknown task": put("task", value="summarization"),
    "layers": put("model", "num_layers", value=2),
    "unknown inputs": put("encoder", "inputs", value=["input_ids"]),
    "unknown output": put("encoder", "output", value="scores"),
    "hidden size zero": put("encoder", "hidden_size", value=0),
    "head in three dimensions": put("encoder", "head", 0, "sizes", value=[0, 1, 2]),
    "size of a head below zero": put("encoder", "head", 0, "sizes", value=[-1, 2]),
    "tensor of a head without a name": put("encoder", "head", 0, "tensor", value=""),
    "head file above": put("encoder", "head_file", value="../head.safetensors"),
    "no file of the base head": put("encoder", "head_file", value=None),
    "no labels": put("encoder", "base_head", "labels", value=[]),
    "labels twice": put("encoder", "base_head", "labels", value=["a", "a"]),
    "label with a line break": put("adapters", 0, "head", "labels", value=["a\nb"]),
    "label as number": put("adapters", 0, "head", "labels", value=[1]),
    "unknown problem": put("adapters", 0, "head", "problem_type", value="ranking"),
    "temperature zero": put("adapters", 0, "head", "temperature", value=0),
    "temperature true": put("adapters", 0, "head", "temperature", value=True),
    "temperature as text": put("adapters", 0, "head", "temperature", value="1"),
    "one_adapter as number": put("encoder", "one_adapter", value=1),
}


@pytest.mark.parametrize("name", BROKEN_ENCODERS)
def test_broken_manifests_of_encoders_are_refused_by_both(name: str) -> None:
    data = document(ENCODER)
    BROKEN_ENCODERS[name](data)
    assert not VALIDATOR.is_valid(data)
    with pytest.raises(ArtifactError):
        parse_manifest(json.dumps(data))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_manifests_are_refused_by_both(name: str) -> None:
    data = document()
    BROKEN[name](data)
    assert not VALIDATOR.is_valid(data)
    with pytest.raises(ArtifactError):
        parse_manifest(json.dumps(data))


def test_each_required_field_is_required_by_both() -> None:
    for name in SCHEMA["required"]:
        data = copy.deepcopy(document())
        del data[name]
        assert not VALIDATOR.is_valid(data), name
        with pytest.raises(ArtifactError, match="format" if name.startswith("format") else name):
            parse_manifest(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "3"])
def test_no_object_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        parse_manifest(text)
    assert "\n" not in str(caught.value)


def test_schema_and_dataclasses_have_the_same_fields() -> None:
    parts = {Manifest.__name__: SCHEMA} | {name: part for name, part in SCHEMA["$defs"].items() if name[0].isupper()}
    kinds = {
        kind.__name__: kind
        for kind in vars(module).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
    }
    assert parts.keys() == kinds.keys()
    for name, kind in kinds.items():
        fields = dataclasses.fields(kind)
        needed = [
            item.name
            for item in fields
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        ]
        if kind is Manifest:  # the reader asks for both although the class fills them in
            needed += ["format", "format_version"]
        assert set(parts[name]["properties"]) == {item.name for item in fields}, name
        assert sorted(parts[name]["required"]) == sorted(needed), name
