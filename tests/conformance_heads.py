"""Adapter folders and manifests of encoders that every runtime must refuse, or must take, for runtime/conformance.

Knows nothing about how they are read in any language.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgelora_runtime.manifest import TEXT_CLASSIFICATION, HeadInfo
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
from tests.tiny_encoder import (
    HIDDEN,
    TinyEncoder,
    adapter_tensors,
    write_answers,
    write_encoder_adapter,
)

_LABELS = ("billing", "delivery", "other")
_ROWS = [[2, 7, 9, 30, 3], [2, 40, 3]]


def _change(name: str, *at: Any, message: str | None, **value: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"accepted": True} if message is None else {"message_has": message}
    return {"kind": "encoder_manifest", "name": name, "changes": [{"at": list(at), **value}], **told}


MANIFESTS = (
    _change("nothing changed", "producer", put="tests", message=None),
    _change("unknown task", "task", put="summarization", message="task"),
    _change("a task of generation with an encoder", "task", put="text-generation", message="encoder"),
    _change("no encoder", "encoder", put=None, message="encoder"),
    _change("another task's output", "encoder", "output", put="embeddings", message="output"),
    _change("inputs of images", "encoder", "inputs", put=["pixel_values"], message="inputs"),
    _change("inputs out of order", "encoder", "inputs", put=["attention_mask", "input_ids"], message="inputs"),
    _change("hidden_size 0", "encoder", "hidden_size", put=0, message="hidden_size"),
    _change("an image's size for a text", "encoder", "image_size", put=[3, 2, 4], message="image_size"),
    _change("no head", "encoder", "head", put=[], message="head"),
    _change("a tensor of the head twice", "encoder", "head", 0, "tensor", copy=["encoder", "head", 1, "tensor"],
            message="twice"),
    _change("an input of the head twice", "encoder", "head", 0, "input", copy=["encoder", "head", 1, "input"],
            message="twice"),
    _change("an input of the head that a slot has", "encoder", "head", 0, "input", copy=["slots", 0, "a"],
            message="twice"),
    _change("three sizes", "encoder", "head", 0, "sizes", put=[1, 2, 3], message="sizes"),
    _change("a negative size", "encoder", "head", 0, "sizes", put=[-1, 16], message="sizes"),
    _change("a head file that is not listed", "encoder", "head_file", put="other.safetensors", message="listed"),
    _change("a head file outside", "encoder", "head_file", put="../head.safetensors", message="head_file"),
    _change("no base head", "encoder", "base_head", put=None, message=None),
    _change("no file of the base head", "encoder", "head_file", put=None, message="head_file"),
    _change("no labels", "encoder", "base_head", "labels", put=[], message="labels"),
    _change("a label twice", "encoder", "base_head", "labels", put=["a", "b", "a"], message="twice"),
    _change("an empty label", "adapters", 0, "head", "labels", 0, put="", message="label"),
    _change("a label with a line break", "adapters", 0, "head", "labels", 0, put="a\nb", message="label"),
    _change("unknown problem", "adapters", 0, "head", "problem_type", put="ranking", message="problem_type"),
    _change("temperature 0", "adapters", 0, "head", "temperature", put=0, message="temperature"),
    _change("temperature as text", "adapters", 0, "head", "temperature", put="1", message="temperature"),
    _change("a whole temperature", "adapters", 0, "head", "temperature", put=2, message=None),
    _change("rank 0 with a head", "adapters", 0, "rank", put=0, message=None),
    _change("layers of a cache", "model", "num_layers", put=2, message="num_layers"),
    _change("one_adapter as a number", "encoder", "one_adapter", put=1, message="one_adapter"),
    {
        "kind": "encoder_manifest", "name": "rank 0 without a head", "message_has": "rank",
        "changes": [{"at": ["adapters", 0, "rank"], "put": 0}, {"at": ["adapters", 0, "head"], "put": None}],
    },
)  # fmt: skip


def refused_folders(out: Path, encoder: TinyEncoder) -> Iterator[dict[str, Any]]:
    """Folders beside the artifacts in ``out``, and their cases: how each is given, and what has to be said.

    ``encoder`` is the base of the artifact for topics.
    """
    base = read_safetensors(out / "encoder-topics" / "head.safetensors")
    own, other = (adapter_tensors(TEXT_CLASSIFICATION, 4, 3, seed) for seed in (21, 22))
    head = HeadInfo(_LABELS)
    factors = {name: item for name, item in own.items() if ".lora_" in name}
    fresh = {
        "classifier.weight": (0.02 * np.random.default_rng(5).standard_normal((3, HIDDEN))).astype(np.float32),
        "classifier.bias": np.zeros(3, np.float32),
    }
    faint = {name: item * np.float32(1e-3) if name.endswith(".lora_B") else item for name, item in own.items()}
    dead = {name: np.zeros_like(item) if name.endswith(".lora_B") else item for name, item in own.items()}
    tokenizer: dict[str, Any] = {"tokenizer": "ee" * 32}
    loose: dict[str, Any] = {"weights": None}  # what was copied by hand has no hash to betray it

    def case(name: str, message: str | None, folder: str, artifact: str = "topics", **given: Any) -> dict[str, Any]:
        told = {"accepted": True} if message is None else {"message_has": message}
        return {
            "kind": "adapter", "name": name, "artifact": f"encoder-{artifact}", "folder": f"encoder-adapters/{folder}",
            "labels": None, "trust": False, "probe": False, **given, **told,
        }  # fmt: skip

    def write(name: str, tensors: Mapping[str, Any], truth: Mapping[str, Any] | None = None, **fields: Any) -> Path:
        folder = write_encoder_adapter(out / "encoder-adapters" / name, tensors)
        if truth is not None:
            write_answers(folder, encoder, truth, head, _ROWS, **fields)
        return folder

    write("good", own, own)
    yield case("good", None, "good", probe=True)
    yield case("good, with its own labels", None, "good", labels=list(_LABELS))
    yield case(
        "labels in another order", "must be those of the training", "good", labels=["other", "billing", "delivery"]
    )
    yield case("labels of another number", "must be those of the training", "good", labels=["a", "b"])
    write("bare", own)
    yield case("without a receipt", None, "bare", probe=True)
    yield case("labels for a bare head", None, "bare", labels=["a", "b", "c"])
    yield case("too many labels for a bare head", "answers for 3 labels", "bare", labels=["a", "b", "c", "d"])
    yield case("a label twice", "different names", "bare", labels=["a", "b", "a"])
    folder = write("named", own)
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "a", "1": "b"}}))
    yield case("a config.json with other labels", "answers for 3 labels", "named")
    write(
        "wrapped",
        {name.replace("classifier", "classifier.modules_to_save.default"): item for name, item in own.items()},
    )
    yield case("names as PEFT has them in memory", None, "wrapped")
    folder = write("ending", own)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": ["ifier"]}, sort_keys=True))
    yield case("saved by the end of a name", None, "ending")
    write("other-head", {**factors, **{name: other[name] for name in fresh}}, own, **loose)
    yield case("the head of another adapter", "is its head that of another adapter", "other-head", probe=True)
    write("other-file", {**factors, **{name: other[name] for name in fresh}}, own, weights="77" * 32)
    yield case("the head of another adapter, with a hash", "the receipt belongs to other factors", "other-file")
    yield case("the head of another adapter, trusted", None, "other-file", trust=True)
    write("initial", {**factors, **fresh})
    yield case("a head at its initial values", "its head is at its initial values", "initial")
    yield case("a head at its initial values, trusted", None, "initial", trust=True)
    write("faint", faint, own, **loose)
    yield case("factors that do next to nothing", "it does next to nothing here", "faint", probe=True)
    write("dead", dead)
    yield case("factors that do nothing", "changes nothing", "dead")
    write("swapped", {**other, **{name: own[name] for name in fresh}}, own, **loose)
    yield case("factors of another adapter", "it does not do what its receipt says", "swapped", probe=True)
    write("tokenizer", own, own, **tokenizer)
    yield case("a tokenizer of another base", "trained with another tokenizer", "tokenizer")
    write("same-head", {name: base[name] for name in fresh})
    yield case("the base's head alone", "it changes nothing", "same-head")
    write("head-alone", {name: own[name] for name in fresh})
    yield case("a head alone", None, "head-alone", probe=True)
    write("no-head", factors)
    yield case("no head, over the base's", None, "no-head")
    yield case("no head where the base has none", "neither in the adapter nor in the base", "no-head", "headless")
    write("no-bias", {name: item for name, item in own.items() if name != "classifier.bias"})
    yield case("a bias that is missing", "classifier.bias is missing", "no-bias")
    write("wide", {**own, "classifier.weight": np.ones((3, HIDDEN + 1), np.float32)})
    yield case("a head of another size", "classifier.weight is [3, 17], expected [labels, 16]", "wide")
    write("unlike", {**own, "classifier.bias": np.ones(4, np.float32)})
    yield case("different numbers of labels", "different numbers of labels", "unlike")
    write("strange", {**own, "classifier.out.weight": np.ones((3, HIDDEN), np.float32)})
    yield case("a tensor that the head lacks", "classifier.out.weight is no tensor of this artifact's head", "strange")
    folder = write("unsaved", own)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": None}, sort_keys=True))
    yield case("a head that no one saved", "is no LoRA factor", "unsaved")
    yield case("a head for vectors", "modules_to_save", "good", "vectors")
    folder = write("pair", own)
    tensors = read_safetensors(folder / "adapter_model.safetensors")
    tensors["classifier.bias"] = tensors["base_model.model.classifier.bias"]
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    yield case("a tensor under two names, alike", None, "pair")
    folder = write("unlike-pair", own)
    write_safetensors(folder / "adapter_model.safetensors", {**tensors, "classifier.bias": np.ones(3, np.float32)})
    yield case("a tensor under two names, unlike", "twice", "unlike-pair")
