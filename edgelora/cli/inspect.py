"""``edgelora inspect``: describe an artifact or an adapter folder.

artifact or adapter folder -> lines or JSON
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from edgelora.adapter.page import headline, layer_rows
from edgelora.artifact.sharing import shared_bytes
from edgelora.cli.merge_lines import merge_lines
from edgelora.cli.output import Json, emit, size, table
from edgelora.errors import ConfigError
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.manifest import MANIFEST_FILE, Manifest, cache_bytes, read_manifest
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.receipt import Receipt, read_receipt

_CONFIG_FILE = "adapter_config.json"
_SHOWN_LABELS = 6


def inspect(
    folder: Annotated[
        Path, typer.Argument(metavar="ARTIFACT|ADAPTER_DIR", help="What to describe.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Describe an artifact or an adapter folder: sizes, slots, ranks, modules, identity of the base.

    Example: edgelora inspect adapters/support
    """
    if (folder / MANIFEST_FILE).is_file():
        manifest = read_manifest(folder)
        payload = artifact_payload(folder, manifest)
        emit(as_json, payload, [*_artifact_lines(payload), *_listed_lines(folder, manifest)])
    elif (folder / _CONFIG_FILE).is_file():
        payload = adapter_payload(folder)
        emit(as_json, payload, [*_adapter_lines(payload), *_receipt_lines(folder)])
    else:
        raise ConfigError(f"{folder} has neither {MANIFEST_FILE} nor {_CONFIG_FILE}; it is no artifact and no adapter")


def artifact_payload(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Everything that the manifest and the receipts say, as JSON."""
    files = {name: info.bytes for name, info in manifest.files.items()}
    files_of = manifest.files_by_adapter()
    return {
        "kind": "artifact",
        "path": str(folder),
        "producer": manifest.producer,
        "format_version": manifest.format_version,
        "target": manifest.target,
        "task": manifest.task,
        "model": dataclasses.asdict(manifest.model),
        "encoder": None if manifest.encoder is None else dataclasses.asdict(manifest.encoder),
        "base": dataclasses.asdict(manifest.base),
        "quantization": dict(manifest.quantization),
        "kv_cache": {"type": manifest.graph.kv_cache, "bytes_per_token": cache_bytes(manifest)},
        "merged": None if manifest.merged is None else dict(manifest.merged),
        "total_bytes": sum(files.values()),
        "files": files,
        "tokenizer": manifest.tokenizer is not None,
        "chat_template": manifest.tokenizer is not None and manifest.tokenizer.chat_template is not None,
        "reference": manifest.reference is not None,
        "slots": len(manifest.slots),
        "modules": dict(_endings(part.module for slot in manifest.slots for part in slot.parts)),
        "adapters": [
            {
                **dataclasses.asdict(info),
                "bytes": sum(files[name] for name in files_of[info.name]),
                "shared_bytes": shared_bytes(manifest, info),
                "receipt": _receipt(read_receipt(folder / info.path)),
            }
            for info in manifest.adapters
        ],
        "report": dict(manifest.report),
    }


def adapter_payload(folder: Path) -> dict[str, Any]:
    """What a PEFT folder holds, as JSON; raises AdapterError when it cannot be read."""
    adapter = read_adapter(folder, with_head=True)
    ranks = Counter(int(factors.a.shape[0]) for factors in adapter.factors.values())
    return {
        "kind": "adapter",
        "path": str(folder),
        "rank": adapter.rank,
        "ranks": {str(rank): count for rank, count in sorted(ranks.items())},
        "scalings": sorted({float(factors.scaling) for factors in adapter.factors.values()}),
        "parameters": sum(int(factors.a.size + factors.b.size) for factors in adapter.factors.values()),
        "total_bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        "modules": dict(_endings(adapter.factors)),
        "head": {name: list(value.shape) for name, value in adapter.head.items()},
        "invocation": list(adapter.invocation),
        "receipt": _receipt(read_receipt(folder)),
    }


def _endings(modules: Any) -> Counter[str]:
    """How often each kind of module occurs, by the last part of its name."""
    return Counter(sorted(module.rsplit(".", 1)[-1] for module in modules))


def _receipt(receipt: Receipt | None) -> Any:
    return None if receipt is None else json.loads(receipt.to_json())


def _artifact_lines(data: dict[str, Any]) -> list[str]:
    model, base, quantization = data["model"], data["base"], data["quantization"]
    size_of_model = f"vocabulary {model['vocab_size']}, context {model['context_length']}"
    if data["encoder"] is None:
        size_of_model = f"{model['num_layers']} layers, {size_of_model}"
    elif data["encoder"]["image_size"]:
        size_of_model = f"images of {'x'.join(map(str, data['encoder']['image_size']))}"
    lines = [
        f"artifact   {data['path']} ({size(data['total_bytes'])}), written by {data['producer']} for {data['target']}",
        f"model      {model['name']} ({model['architecture']}), {size_of_model}",
        f"base       {base['fingerprint'][:12]}, grid {base['grid'][:12]}",
        "weights    " + (", ".join(f"{key} {value}" for key, value in quantization.items()) or "float32"),
        *_task_lines(data),
        f"text       {'tokenizer' if data['tokenizer'] else 'token ids only'}"
        + (", chat template" if data["chat_template"] else ""),
        f"slots      {data['slots']}" + (f" for {_list(data['modules'])}" if data["modules"] else ""),
    ]
    if data["merged"] is not None:
        lines.append(f"merged     {data['merged']['adapter']}")
        lines += [f"           {line}" for line in merge_lines(data["merged"])]
    lines += ["", *table([("file", "size"), *((name, size(count)) for name, count in data["files"].items())])]
    if data["adapters"]:
        rows = [("adapter", "rank", "size", "labels", "trained on")]
        rows += [
            (a["name"], str(a["rank"]), _size(a), _labels(a["head"]), _trained_on(a["receipt"]))
            for a in data["adapters"]
        ]
        shown = rows if any(a["head"] for a in data["adapters"]) else [(*row[:3], row[4]) for row in rows]
        lines += ["", *table(shown)]
    return lines


def _task_lines(data: dict[str, Any]) -> list[str]:
    """How the graph is driven: its cache, or what it reads a text for, and with which head."""
    encoder = data["encoder"]
    if encoder is None:
        return [f"cache      {data['kv_cache']['type']}, {size(data['kv_cache']['bytes_per_token'])} a token"]
    lines = [f"task       {data['task']}, {encoder['hidden_size']} wide"]
    if encoder["head"]:
        lines.append(f"head       {', '.join(item['tensor'] for item in encoder['head'])}")
        own = encoder["base_head"]
        lines.append(f"labels     {_labels(own) if own else 'of adapters alone: the base has no whole head'}")
    return lines


def _size(adapter: dict[str, Any]) -> str:
    own, shared = adapter["bytes"], adapter["shared_bytes"]
    return f"{size(own)} + {size(shared)} shared" if shared else size(own)


def _labels(head: dict[str, Any] | None) -> str:
    if head is None:
        return ""
    return f"{len(head['labels'])}: {join_some(head['labels'][:_SHOWN_LABELS], ', ')}" + (
        ", …" if len(head["labels"]) > _SHOWN_LABELS else ""
    )


def _adapter_lines(data: dict[str, Any]) -> list[str]:
    ranks = [f"{rank} ({count} modules)" for rank, count in data["ranks"].items()]
    return [
        f"adapter    {data['path']} ({size(data['total_bytes'])}, {data['parameters']:,} parameters)",
        f"rank       {', '.join(ranks) or 'none, a head alone'}",
        f"scaling    {', '.join(f'{value:g}' for value in data['scalings'])}",
        f"modules    {_list(data['modules'])}",
        *([f"head       {_list_shapes(data['head'])}"] if data["head"] else []),
        *(
            [f"activated  acts from token ids {', '.join(map(str, data['invocation']))} on"]
            if data["invocation"]
            else []
        ),
        f"trained on {_trained_on(data['receipt'])}",
    ]


def _receipt_lines(folder: Path) -> list[str]:
    """What the receipt measured, in brief: its headline and a table of the layers by kind."""
    receipt = read_receipt(folder)
    if receipt is None or not (receipt.layers or receipt.probes):
        return []
    layers = ["", *table(layer_rows(receipt))] if receipt.layers else []
    return ["receipt", *(f"  {line}" for line in headline(receipt)), *layers]


def _listed_lines(folder: Path, manifest: Manifest) -> list[str]:
    lines: list[str] = []
    for info in manifest.adapters:
        receipt = read_receipt(folder / info.path)
        told = [] if receipt is None else headline(receipt)
        lines += ["", f"receipt of {info.name}", *(f"  {line}" for line in told)] if told else []
    return lines


def _list_shapes(head: dict[str, list[int]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in head.items())


def _list(modules: dict[str, int]) -> str:
    return ", ".join(f"{name} ×{count}" for name, count in modules.items())


def _trained_on(receipt: Any) -> str:
    if receipt is None:
        return "unknown (no receipt)"
    grid = receipt["base"]["grid"]
    return f"{receipt['base']['name']} {receipt['base']['fingerprint'][:12]}, " + (
        f"grid {grid[:12]}" if grid else "float weights"
    )
