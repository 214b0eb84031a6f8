"""Quantized encoders as the exporter writes them, for runtime/conformance, and their cases.

Knows nothing about how a case is checked in any language; it holds every answer to PyTorch on the same grid.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer
from transformers import BertConfig, RobertaConfig

from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid
from edgelora_onnx import OnnxExporter
from edgelora_runtime import load
from edgelora_runtime.manifest import TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION
from tests.conformance_models import train_tokenizer
from tests.encoder_cases import classify_case, each_case, outputs_case, tag_case
from tests.parity.encoders import CLASSES, random_values
from tests.tiny_encoder import make_tokenizer

TOLERANCE = 1e-3  # of a logit: quantized linears sum in another order on every machine
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
}
_TEXTS = ("My order is late!", "", "Anna from New York, to Paris: is the mail in?", "Zürich, 東京 🚀 the city 👩‍🔬")
_LABELS: Mapping[str, tuple[str, ...]] = {
    TEXT_CLASSIFICATION: ("billing", "delivery", "other", "spam"),
    TOKEN_CLASSIFICATION: ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"),
}


@dataclass(frozen=True)
class Exported:
    """One artifact: what it is made of, and its adapters with their ranks and numbers of labels."""

    task: str
    config: Any
    tokenizer: Tokenizer
    quant: str
    targets: tuple[str, ...]
    adapters: Mapping[str, tuple[int, int]]


def artifacts() -> Mapping[str, Exported]:
    """By name: a classifier in 4 bits with whole words, a tagger in 8 bits with bytes as tokens."""
    words, tokens = make_tokenizer(), train_tokenizer()
    common = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    bert = BertConfig(vocab_size=words.get_vocab_size(), **_SIZES)
    roberta = RobertaConfig(vocab_size=tokens.get_vocab_size(), **_SIZES, **common)
    return {
        "encoder-int4": Exported(
            TEXT_CLASSIFICATION, bert, words, "int4", ("query", "value", "intermediate.dense"),
            {"two": (1, 2), "many": (8, 77), "own": (4, 4)},
        ),
        "encoder-bytes": Exported(
            TOKEN_CLASSIFICATION, roberta, tokens, "int8", ("query", "key", "value"),
            {"places": (4, 5), "three": (2, 3)},
        ),
    }  # fmt: skip


def write_exported(out: Path, work: Path) -> Iterator[dict[str, Any]]:
    """The artifacts into ``out``, and their cases."""
    for name, made in artifacts().items():
        labels = _LABELS[made.task]
        made.config.id2label = dict(enumerate(labels))
        made.config.label2id = {label: index for index, label in enumerate(labels)}
        base = work / name / "base"
        random_values(CLASSES[made.task].from_config(made.config, attn_implementation="eager")).save_pretrained(base)
        made.tokenizer.save(str(base / "tokenizer.json"))
        checkpoint = open_checkpoint(str(base), made.task)
        grid = plan_grid(checkpoint, parse_quant(made.quant))
        build = Build(OnnxExporter(), ExportOptions(accuracy_level=0))
        export_artifact(Parts(grid), out / name, build)
        for seed, (adapter, (rank, count)) in enumerate(made.adapters.items()):
            folder = _write_adapter(work / name / adapter, made, base, rank, count, seed)
            own = labels if count == len(labels) else None
            add_adapter(out / name, adapter, folder, labels=own)
        values = {key: torch.tensor(grid.value(key)) for key in checkpoint.names()}
        for case in _cases(out / name, made, base, work / name, values):
            yield {"artifact": name, **case}


def _cases(
    artifact: Path, made: Exported, base: Path, adapters: Path, values: Mapping[str, torch.Tensor]
) -> Iterator[dict[str, Any]]:
    model = load(artifact, threads=1, task=made.task)  # type: ignore[call-overload]
    rng = np.random.default_rng(1)
    rows = [rng.integers(3, made.config.vocab_size, count).tolist() for count in (1, 5, 40, 9)]
    specs = ["none", *made.adapters]
    for number, spec in enumerate(specs):
        given = [spec, specs[0], spec, specs[-1]]
        found = model.outputs(rows, adapter=given)
        for row, own, output in zip(rows, given, found, strict=True):
            expected = _torch_answer(made, base, adapters, values, own, row)
            np.testing.assert_allclose(output, expected, atol=TOLERANCE / 4)
        yield outputs_case(f"outputs {number} {spec}", rows, given, found, TOLERANCE)
    if made.task == TEXT_CLASSIFICATION:
        for number in range(len(specs)):
            given = [specs[(number + index) % len(specs)] for index in range(len(_TEXTS))]
            yield classify_case(model, f"rows from {specs[number]}", list(_TEXTS), given, TOLERANCE)
        yield each_case(model, _TEXTS[2], specs, TOLERANCE)
    else:
        for text in (*_TEXTS, "the dog sleeps on " * 12, "  Le garçon,\n Ми́р 東京です "):
            for spec in specs:
                yield tag_case(model, text, spec, TOLERANCE)


def _write_adapter(folder: Path, made: Exported, base: Path, rank: int, labels: int, seed: int) -> Path:
    """A PEFT folder with a head for so many labels, every number of it random."""
    torch.manual_seed(seed)
    model = CLASSES[made.task].from_pretrained(base, num_labels=labels, ignore_mismatched_sizes=True)
    kind = "SEQ_CLS" if made.task == TEXT_CLASSIFICATION else "TOKEN_CLS"
    config = LoraConfig(task_type=kind, r=rank, lora_alpha=8, target_modules=list(made.targets))
    wrapped: Any = get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    wrapped.save_pretrained(folder)
    path = folder / "adapter_config.json"  # PEFT writes the folder of the base, and a list in the order of a set
    told = json.loads(path.read_text(encoding="utf-8"))
    told |= {"base_model_name_or_path": "base", "target_modules": sorted(told["target_modules"])}
    told["modules_to_save"] = sorted(told["modules_to_save"])
    path.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return folder


def _torch_answer(
    made: Exported, base: Path, adapters: Path, values: Mapping[str, torch.Tensor], spec: str, row: list[int]
) -> np.ndarray:
    """The logits of one row on the grid's values."""
    labels = len(_LABELS[made.task]) if spec == "none" else made.adapters[spec][1]
    model: Any = CLASSES[made.task].from_pretrained(
        base, num_labels=labels, ignore_mismatched_sizes=True, attn_implementation="eager"
    )
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value)
        if spec != "none":
            model = PeftModel.from_pretrained(model, str(adapters / spec))
        found: np.ndarray = model.eval()(input_ids=torch.tensor([row])).logits[0].numpy()
    return found
