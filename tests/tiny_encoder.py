"""Tiny artifacts without a KV cache whose graphs are spelled out here, with the same arithmetic in numpy beside them.

Knows nothing about what is tested. One layer of attention with two slots, and a head as BERT has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    AdapterInfo,
    BaseInfo,
    EncoderInfo,
    GraphInfo,
    HeadInfo,
    HeadTensor,
    Manifest,
    ModelInfo,
    Slot,
    SlotPart,
    TokenizerInfo,
    file_info,
)
from edgelora_runtime.receipt import Answer, Receipt, hash_text, write_receipt
from edgelora_runtime.safetensors import write_safetensors

HIDDEN, CONTEXT, IMAGE = 16, 24, (3, 2, 4)
LAYER = "bert.encoder.layer.0"
QUERY, VALUE, OUTPUT = f"{LAYER}.attention.self.query", f"{LAYER}.attention.self.value", f"{LAYER}.output.dense"
MODULES = (QUERY, VALUE, OUTPUT)
SLOTS = (
    Slot("qv", "qv.a", "qv.b", HIDDEN, 2 * HIDDEN, (SlotPart(QUERY, 0, HIDDEN), SlotPart(VALUE, HIDDEN, HIDDEN))),
    Slot("out", "out.a", "out.b", HIDDEN, HIDDEN, (SlotPart(OUTPUT, 0, HIDDEN),)),
)
CLASSIFIER = (
    HeadTensor("classifier.weight", "head.classifier.weight", (0, HIDDEN)),
    HeadTensor("classifier.bias", "head.classifier.bias", (0,)),
)
POOLER = (
    HeadTensor("bert.pooler.dense.weight", "head.pooler.weight", (HIDDEN, HIDDEN)),
    HeadTensor("bert.pooler.dense.bias", "head.pooler.bias", (HIDDEN,)),
)
HEADS: Mapping[str, tuple[HeadTensor, ...]] = {
    TEXT_CLASSIFICATION: (*POOLER, *CLASSIFIER),
    IMAGE_CLASSIFICATION: CLASSIFIER,
    TOKEN_CLASSIFICATION: CLASSIFIER,
    FEATURE_EXTRACTION: (),
}
FINGERPRINT, GRID = "ab" * 32, "cd" * 32
Array = np.ndarray[Any, np.dtype[Any]]
Weights = Mapping[str, Array]


@dataclass(frozen=True)
class TinyEncoder:
    """What an artifact was made of; ``head`` is what the base has of its own."""

    task: str
    weights: Weights
    head: Weights
    vocabulary: int

    def output(self, row: Array | Sequence[int], adapter: Weights | None = None, weight: float = 1.0) -> Array:
        """The graph's output for one row, with the tensors of an adapter as ``adapter_tensors`` makes them."""
        own = adapter or {}
        weights, head = self.weights, {**self.head, **own}
        delta = {module: np.zeros((HIDDEN, HIDDEN), np.float32) for module in MODULES}
        for module in MODULES:
            if f"{module}.lora_A" in own:
                delta[module] += 2 * weight * (own[f"{module}.lora_B"] @ own[f"{module}.lora_A"]).T
        if self.task == IMAGE_CLASSIFICATION:
            x = np.asarray(row, np.float32).reshape(IMAGE[0], -1) @ weights["patches"]
        else:
            x = weights["embedding"][np.asarray(row, np.int64)]
        query, value = x @ (weights["query"] + delta[QUERY]), x @ (weights["value"] + delta[VALUE])
        scores = query @ x.T
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        y = x + shares / shares.sum(-1, keepdims=True) @ value
        z = y + np.tanh(y @ (weights["out"] + delta[OUTPUT]))
        if self.task == FEATURE_EXTRACTION:
            mean = z.mean(axis=0)
            return np.asarray(mean / np.linalg.norm(mean), np.float32)
        if self.task == TEXT_CLASSIFICATION:
            z = np.tanh(z[0] @ head["bert.pooler.dense.weight"].T + head["bert.pooler.dense.bias"])
        elif self.task == IMAGE_CLASSIFICATION:
            z = z[0]
        return np.asarray(z @ head["classifier.weight"].T + head["classifier.bias"], np.float32)


def make_encoder(task: str, base_head: HeadInfo | None = None, seed: int = 0) -> TinyEncoder:
    """Random weights; without ``base_head`` the base has at most a pooler, and no classifier."""
    rng = np.random.default_rng(seed)
    vocabulary = make_tokenizer().get_vocab_size()

    def draw(*shape: int, spread: float = 0.5) -> Array:
        return (spread * rng.standard_normal(shape)).astype(np.float32)

    weights = {name: draw(HIDDEN, HIDDEN) for name in ("query", "value", "out")}
    if task == IMAGE_CLASSIFICATION:
        weights["patches"] = draw(IMAGE[1] * IMAGE[2], HIDDEN)
    else:
        weights["embedding"] = draw(vocabulary, HIDDEN)
    head: dict[str, Array] = {}
    if task == TEXT_CLASSIFICATION:
        head = {POOLER[0].tensor: draw(HIDDEN, HIDDEN), POOLER[1].tensor: draw(HIDDEN)}
    if base_head is not None:
        n_labels = len(base_head.labels)
        head |= {"classifier.weight": draw(n_labels, HIDDEN, spread=1.0), "classifier.bias": draw(n_labels)}
    return TinyEncoder(task, weights, head, vocabulary)


def write_encoder(
    folder: Path, task: str, base_head: HeadInfo | None = None, seed: int = 0, one_adapter: bool = False
) -> TinyEncoder:
    """``make_encoder`` as an artifact."""
    folder.mkdir(parents=True)
    encoder = make_encoder(task, base_head, seed)
    weights, head, vocabulary = encoder.weights, encoder.head, encoder.vocabulary
    images = task == IMAGE_CLASSIFICATION
    onnx.save(
        _graph(task, weights), str(folder / "encoder.onnx"), save_as_external_data=True, location="weights.bin",
        size_threshold=256,
    )  # fmt: skip
    if head:
        write_safetensors(folder / "head.safetensors", head)
    if not images:
        (folder / "tokenizer.json").write_text(make_tokenizer().to_str(), encoding="utf-8")
    embeds = task == FEATURE_EXTRACTION
    names = sorted(path.name for path in folder.iterdir())
    manifest = Manifest(
        producer="tests",
        target="cpu",
        model=ModelInfo(f"tiny-{task}", "bert", 0 if images else vocabulary, 0, 0, 0, CONTEXT, ()),
        graph=GraphInfo("encoder.onnx", "weights.bin"),
        base=BaseInfo(FINGERPRINT, GRID),
        slots=SLOTS,
        adapters=(),
        files={name: file_info(folder / name) for name in names},
        task=task,
        encoder=EncoderInfo(
            inputs=("pixel_values",) if images else ("input_ids", "attention_mask"),
            output="embeddings" if embeds else "logits",
            hidden_size=HIDDEN,
            head=HEADS[task],
            head_file="head.safetensors" if head else None,
            base_head=base_head,
            one_adapter=one_adapter,
            image_size=IMAGE if images else (),
        ),
        tokenizer=None if images else TokenizerInfo("tokenizer.json", pad_token="[PAD]", unk_token="[UNK]"),
    )
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return encoder


def adapter_tensors(
    task: str, rank: int, n_labels: int, seed: int = 1, modules: Sequence[str] = MODULES
) -> dict[str, Array]:
    """Factors and a head, by their names in the checkpoint."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for module in modules if rank else ():
        tensors[f"{module}.lora_A"] = rng.standard_normal((rank, HIDDEN)).astype(np.float32) / np.float32(rank)
        tensors[f"{module}.lora_B"] = (0.4 * rng.standard_normal((HIDDEN, rank))).astype(np.float32)
    if task != FEATURE_EXTRACTION:
        tensors["classifier.weight"] = rng.standard_normal((n_labels, HIDDEN)).astype(np.float32)
        tensors["classifier.bias"] = rng.standard_normal(n_labels).astype(np.float32)
    return tensors


def write_encoder_adapter(folder: Path, tensors: Weights, **changes: Any) -> Path:
    """A PEFT folder of ``adapter_tensors``, with a scaling of 2; ``changes`` go into its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    ranks = [len(item) for name, item in tensors.items() if name.endswith(".lora_A")]
    files = {f"base_model.model.{name}{'.weight' * ('.lora_' in name)}": item for name, item in tensors.items()}
    write_safetensors(folder / "adapter_model.safetensors", files)
    config = {
        "peft_type": "LORA",
        "r": ranks[0] if ranks else 8,
        "lora_alpha": 2 * (ranks[0] if ranks else 8),
        "target_modules": sorted({name.rsplit(".lora_", 1)[0] for name in tensors if ".lora_" in name}),
        "bias": "none",
        "modules_to_save": ["classifier"] if any(name.startswith("classifier") for name in tensors) else None,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config | changes, sort_keys=True), encoding="utf-8")
    return folder


def write_answers(
    folder: Path,
    encoder: TinyEncoder,
    tensors: Weights,
    head: HeadInfo | None,
    rows: Sequence[Sequence[int]],
    **changes: Any,
) -> Receipt:
    """The receipt that training would write."""
    answers = tuple(
        Answer(
            tuple(row),
            tuple(encoder.output(row, tensors).reshape(-1).tolist()),
            tuple(encoder.output(row, tensors, 0.0).reshape(-1).tolist()),
        )
        for row in rows
    )
    fields = {"grid": GRID, "tokenizer": hash_text(make_tokenizer().to_str()), "head": head, "answers": answers}
    fields["weights"] = file_info(folder / "adapter_model.safetensors").sha256
    receipt = Receipt("tiny", FINGERPRINT, **(fields | changes))
    write_receipt(folder, receipt)
    return receipt


def list_adapter(artifact: Path, name: str, folder: Path, rank: int, head: HeadInfo | None) -> None:
    """Put an adapter into an artifact without asking whether it fits."""
    target = artifact / "adapters" / name
    target.mkdir(parents=True)
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    data = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
    info = AdapterInfo(name, f"adapters/{name}", rank, head=head)
    told = {"name": name, "path": info.path, "rank": rank, "store": info.store}
    told["head"] = None if head is None else {**head.__dict__, "labels": list(head.labels)}
    data["adapters"].append(told)
    data["files"] |= {f"{info.path}/{path.name}": file_info(path).to_record() for path in sorted(target.iterdir())}
    (artifact / "manifest.json").write_text(json.dumps(data, indent=1, sort_keys=True), encoding="utf-8")


def make_tokenizer() -> Tokenizer:
    """BERT's: lower case without accents, words split at punctuation, single letters as a last resort."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["the", "mail", "from", "paris", "to", "new", "york", "city", "order", "late", "is", "my", "in", "anna"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *letters, *(f"##{letter}" for letter in letters), "##ing"]
    vocabulary = {token: index for index, token in enumerate([*tokens, *".,-'!?:()", "東", "京", "にほ"[0]])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return tokenizer


def _graph(task: str, weights: Weights) -> onnx.ModelProto:
    """The arithmetic of ``TinyEncoder.output`` for a batch, with slots and head as inputs."""
    images, embeds = task == IMAGE_CLASSIFICATION, task == FEATURE_EXTRACTION
    node, number = helper.make_node, helper.make_tensor_value_info
    sizes = {"image": [0, IMAGE[0], IMAGE[1] * IMAGE[2]], "first": [0], "one": [1], "two": [2], "last": [-1]}
    split = {"split": [HIDDEN, HIDDEN]}
    constants = {name: np.array(value, np.int64) for name, value in (sizes | split).items()}
    constants |= {name: np.array(value, np.float32) for name, value in (("unit", 1.0), ("far", -1e9))}
    constants |= {**weights, "query_value": np.concatenate([weights["query"], weights["value"]], axis=1)}
    for name in ("query", "value"):
        constants.pop(name)
    nodes = [
        *(
            [node("Reshape", ["pixel_values", "image"], ["flat"]), node("MatMul", ["flat", "patches"], ["x"])]
            if images
            else [
                node("Gather", ["embedding", "input_ids"], ["x"]),
                node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
                node("Sub", ["unit", "mask"], ["hidden"]),
                node("Mul", ["hidden", "far"], ["away"]),
                node("Unsqueeze", ["away", "one"], ["bias"]),
            ]
        ),
        node("MatMul", ["x", "query_value"], ["qv.plain"]),
        *_slot(node, "x", "qv"),
        node("Split", ["qv.sum", "split"], ["query", "value"], axis=2),
        node("Transpose", ["x"], ["x.t"], perm=[0, 2, 1]),
        node("MatMul", ["query", "x.t"], ["scores"]),
        *([] if images else [node("Add", ["scores", "bias"], ["masked"])]),
        node("Softmax", ["scores" if images else "masked"], ["shares"], axis=-1),
        node("MatMul", ["shares", "value"], ["context"]),
        node("Add", ["x", "context"], ["y"]),
        node("MatMul", ["y", "out"], ["out.plain"]),
        *_slot(node, "y", "out"),
        node("Tanh", ["out.sum"], ["out.tanh"]),
        node("Add", ["y", "out.tanh"], ["z"]),
        *_tail(node, task),
    ]
    batch: tuple[Any, ...] = ("batch", "sequence")
    inputs = [number(name, TensorProto.INT64, batch) for name in ("input_ids", "attention_mask")]
    if images:
        inputs = [number("pixel_values", TensorProto.FLOAT, ("batch", *IMAGE))]
    for slot in SLOTS:
        inputs.append(number(slot.a, TensorProto.FLOAT, ("n", HIDDEN, f"{slot.name}.rank")))
        inputs.append(number(slot.b, TensorProto.FLOAT, ("n", f"{slot.name}.rank", slot.out_features)))
    for item in HEADS[task]:
        shape = [1, *item.sizes] if len(item.sizes) == 1 else [item.sizes[1], item.sizes[0]]
        inputs.append(number(item.input, TensorProto.FLOAT, ("n", *(size or "labels" for size in shape))))
    shapes = {TOKEN_CLASSIFICATION: (*batch, "labels"), FEATURE_EXTRACTION: ("batch", HIDDEN)}
    output = number("embeddings" if embeds else "logits", TensorProto.FLOAT, shapes.get(task, ("batch", "labels")))
    used = {name for item in nodes for name in item.input}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _slot(node: Any, x: str, name: str) -> list[Any]:
    return [
        node("MatMul", [x, f"{name}.a"], [f"{name}.low"]),
        node("MatMul", [f"{name}.low", f"{name}.b"], [f"{name}.delta"]),
        node("Add", [f"{name}.plain", f"{name}.delta"], [f"{name}.sum"]),
    ]


def _tail(node: Any, task: str) -> list[Any]:
    if task == FEATURE_EXTRACTION:
        return [
            node("Unsqueeze", ["mask", "two"], ["mask.wide"]),
            node("Mul", ["z", "mask.wide"], ["z.real"]),
            node("ReduceSum", ["z.real", "one"], ["z.sum"], keepdims=0),
            node("LpNormalization", ["z.sum"], ["embeddings"], axis=-1, p=2),
        ]
    classify = [
        node("MatMul", ["z.head", "head.classifier.weight"], ["logits.plain"]),
        node("Add", ["logits.plain", "head.classifier.bias"], ["logits.all"]),
    ]
    if task == TOKEN_CLASSIFICATION:
        return [node("Identity", ["z"], ["z.head"]), *classify, node("Identity", ["logits.all"], ["logits"])]
    first = node("Slice", ["z", "first", "one", "one"], ["z.first"])
    pooled = [
        node("MatMul", ["z.first", "head.pooler.weight"], ["pooled.plain"]),
        node("Add", ["pooled.plain", "head.pooler.bias"], ["pooled.sum"]),
        node("Tanh", ["pooled.sum"], ["z.head"]),
    ]
    if task == IMAGE_CLASSIFICATION:
        pooled = [node("Identity", ["z.first"], ["z.head"])]
    return [first, *pooled, *classify, node("Squeeze", ["logits.all", "one"], ["logits"])]
