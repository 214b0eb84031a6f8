"""Tiny random encoders of every architecture, with a word tokenizer, saved in the ways that real ones are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
)

VOCAB_SIZE = 96
_WORDS = "the a of to in it is was for on as with he be at by had not are but from or have an they which one you were"
_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

CONFIGS: Mapping[str, tuple[Any, dict[str, Any]]] = {  # name -> class of its configuration, arguments
    "albert": (tf.AlbertConfig, {**_SIZES, **_TOKENS, "embedding_size": 16}),
    "bert": (tf.BertConfig, _SIZES),
    "deberta": (tf.DebertaConfig, {**_SIZES, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "deberta-v2": (
        tf.DebertaV2Config,
        {**_SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "conv_kernel_size": 3},
    ),
    "deberta-v3": (
        tf.DebertaV2Config,
        {
            **_SIZES,
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": "p2c|c2p",
            "position_biased_input": False,
        },
    ),
    "distilbert": (
        tf.DistilBertConfig,
        {
            "vocab_size": VOCAB_SIZE,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 48,
            "max_position_embeddings": 40,
        },
    ),
    "electra": (tf.ElectraConfig, {**_SIZES, "embedding_size": 16}),
    "modernbert": (
        tf.ModernBertConfig,
        {**_SIZES, **_TOKENS, "cls_token_id": 1, "sep_token_id": 2, "num_hidden_layers": 4, "local_attention": 8},
    ),
    "mpnet": (tf.MPNetConfig, {**_SIZES, **_TOKENS}),
    "roberta": (tf.RobertaConfig, {**_SIZES, **_TOKENS}),
    "vit": (
        tf.ViTConfig,
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "image_size": 16,
            "patch_size": 8,
        },
    ),
    "xlm-roberta": (tf.XLMRobertaConfig, {**_SIZES, **_TOKENS}),
}
CLASSES = {
    TEXT_CLASSIFICATION: tf.AutoModelForSequenceClassification,
    TOKEN_CLASSIFICATION: tf.AutoModelForTokenClassification,
    FEATURE_EXTRACTION: tf.AutoModel,
    IMAGE_CLASSIFICATION: tf.AutoModelForImageClassification,
}
TEXT_ENCODERS = tuple(name for name in CONFIGS if name != "vit")


def random_encoder(name: str, task: str, labels: int = 3, seed: int = 0, **changes: Any) -> Any:
    """The model of ``task``, of which every parameter is random, in float32."""
    kind, settings = CONFIGS[name]
    names = {index: f"label {index}" for index in range(labels)}
    config = kind(**settings, **changes, id2label=names, label2id={label: index for index, label in names.items()})
    return random_values(CLASSES[task].from_config(config, attn_implementation="eager"), seed)


def random_values(model: Any, seed: int = 0) -> Any:
    """``model`` in eval mode with random parameters, so that none can be dropped unseen."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        centre = 0.5 if parameter.ndim == 1 else 0.0
        torch.nn.init.normal_(parameter, centre, 0.2)
    return model.eval()


def write_encoder(model: Any, folder: Path) -> Path:
    """The folder that ``save_pretrained`` writes, with a tokenizer beside it."""
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of whole words that puts [CLS] before a text and [SEP] behind it."""
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *_WORDS.split(), *map(chr, range(97, 123))]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", continuing_subword_prefix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    settings = {**special, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
