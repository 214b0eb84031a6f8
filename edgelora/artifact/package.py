"""Puts what belongs to an artifact beside its graph and writes the manifest last.

ExportedModel, Parts, Reference -> Manifest
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.values import Checkpoint, EncoderReference, ExportedModel, Reference, TokenizerFiles
from edgelora_runtime.check_files import listed_info
from edgelora_runtime.manifest import (
    MANIFEST_FILE,
    BaseInfo,
    EncoderInfo,
    GraphInfo,
    Manifest,
    ModelInfo,
    TokenizerInfo,
    parse_manifest,
)
from edgelora_runtime.names import has_control
from edgelora_runtime.safetensors import write_safetensors

TOKENIZER_FILE = "tokenizer.json"
TEMPLATE_FILE = "chat_template.jinja"
HEAD_FILE = "head.safetensors"
REFERENCE_FILE = "reference.safetensors"


def package(
    folder: Path,
    exported: ExportedModel,
    parts: Parts,
    options: ExportOptions,
    quantization: Mapping[str, Any],
    reference: Reference | EncoderReference | None,
) -> Manifest:
    """Complete the artifact in ``folder``, which holds the exported graph and weights, and return its manifest."""
    grid, variables = parts.grid, options.template_variables or {}
    checkpoint = grid.checkpoint
    tokenizer = None if checkpoint.tokenizer is None else _write_tokenizer(folder, checkpoint.tokenizer, variables)
    if reference is not None:
        write_safetensors(folder / REFERENCE_FILE, _reference_tensors(reference))
    encoder = None if exported.encoder is None else _with_base_head(folder, exported.encoder, checkpoint)
    manifest = Manifest(
        producer=f"edgelora {version('edgelora')}",
        target=options.profile.name,
        model=ModelInfo(
            name="".join("_" if has_control(character) else character for character in checkpoint.name),
            architecture=str(checkpoint.config["model_type"]),
            vocab_size=exported.vocab_size,
            num_layers=exported.num_layers,
            num_kv_heads=exported.num_kv_heads,
            head_dim=exported.head_dim,
            context_length=exported.context_length,
            eos_token_ids=checkpoint.eos_token_ids,
        ),
        graph=_graph_info(exported),
        base=BaseInfo(grid.base_fingerprint, grid.fingerprint, options.source, options.license),
        slots=exported.slots,
        adapters=(),
        files={path.name: listed_info(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST_FILE},
        task=checkpoint.task.name,
        encoder=encoder,
        tokenizer=tokenizer,
        reference=None if reference is None else REFERENCE_FILE,
        quantization=quantization,
        merged=parts.record,
        report={**exported.report, "notes": list(checkpoint.notes)},
    )
    text = manifest.to_json()
    parse_manifest(text, f"the manifest of {checkpoint.name}")  # what is written can be read, or is not written
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    return manifest


def _graph_info(exported: ExportedModel) -> GraphInfo:
    files = (exported.graph_file, exported.weights_file, exported.twin_file)
    return GraphInfo(*files, kv_cache=exported.kv_cache, fused=exported.fused_file)


def _write_tokenizer(folder: Path, files: TokenizerFiles, variables: Mapping[str, Any]) -> TokenizerInfo:
    (folder / TOKENIZER_FILE).write_text(files.tokenizer_json, encoding="utf-8")
    if files.chat_template is not None:
        (folder / TEMPLATE_FILE).write_text(files.chat_template, encoding="utf-8")
    return TokenizerInfo(
        file=TOKENIZER_FILE,
        chat_template=None if files.chat_template is None else TEMPLATE_FILE,
        bos_token=files.bos_token,
        eos_token=files.eos_token,
        pad_token=files.pad_token,
        unk_token=files.unk_token,
        template_variables=dict(variables),
    )


def _with_base_head(folder: Path, encoder: EncoderInfo, checkpoint: Checkpoint) -> EncoderInfo:
    """``encoder`` with what the base has of the head in a file of its own, and what its rows mean if that is all."""
    names, known = [item.tensor for item in encoder.head], frozenset(checkpoint.head_names())
    found = {name: checkpoint.read(name) for name in names if name in known}
    if not found:
        return encoder
    write_safetensors(folder / HEAD_FILE, found)
    whole = checkpoint.task.head if len(found) == len(names) else None
    return dataclasses.replace(encoder, head_file=HEAD_FILE, base_head=whole)


def _reference_tensors(reference: Reference | EncoderReference) -> Mapping[str, np.ndarray[Any, Any]]:
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    if isinstance(reference, EncoderReference):
        for index, (given, output) in enumerate(zip(reference.inputs, reference.outputs, strict=True)):
            kind = "input_ids" if given.ndim == 1 else "pixel_values"
            tensors |= {f"prompt.{index}.{kind}": given, f"prompt.{index}.output": output}
        return tensors | {f"head.{name}": value for name, value in reference.head.items()}
    answers = zip(reference.prompts, reference.last_logits, reference.greedy, strict=True)
    for index, (prompt, logits, greedy) in enumerate(answers):
        tensors[f"prompt.{index}.input_ids"] = np.array(prompt, np.int64)
        tensors[f"prompt.{index}.logits"] = logits  # (vocab_size,)
        tensors[f"prompt.{index}.greedy"] = np.array(greedy, np.int64)
    return tensors
