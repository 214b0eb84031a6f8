"""An artifact as others open it: a twin graph over the same weights, with the settings of genai and of transformers.

ExportedModel, Checkpoint -> a second graph and configuration files

``.onnx_adapter`` files, which onnxruntime-genai alone takes, are written when an adapter is added.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from edgelora.adapter.genai import GENAI_CONFIG_FILE
from edgelora.values import Checkpoint, ExportedModel
from edgelora_onnx.passes.genai_twin import GenaiTwin

GENAI_GRAPH_FILE = "decoder.genai.onnx"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
MODEL_CONFIG_FILE, GENERATION_CONFIG_FILE = "config.json", "generation_config.json"


def write_genai_twin(folder: Path, exported: ExportedModel, checkpoint: Checkpoint) -> None:
    """Add the twin to ``folder``, which holds the exported graph.

    ``onnxruntime_genai.Model(folder)`` then opens it, and with the name of the twin so do ``ORTModelForCausalLM`` of
    optimum and ``AutoModelForCausalLM`` of transformers.js.
    """
    model = ir.load(folder / exported.graph_file)
    GenaiTwin(exported.slots)(model)
    ir.save(model, folder / GENAI_GRAPH_FILE)
    config = {"model": _model_config(exported, checkpoint), "search": {"max_length": exported.context_length}}
    tokens = {name: checkpoint.config.get(name) for name in ("bos_token_id", "pad_token_id")}
    generation = {**tokens, "eos_token_id": list(checkpoint.eos_token_ids)}
    settings = {
        GENAI_CONFIG_FILE: config,
        MODEL_CONFIG_FILE: dict(checkpoint.config),
        GENERATION_CONFIG_FILE: {name: value for name, value in generation.items() if value not in (None, [])},
    }
    for name, content in settings.items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
    files = checkpoint.tokenizer
    if files is not None:
        special = {"bos_token": files.bos_token, "eos_token": files.eos_token, "pad_token": files.pad_token}
        tokenizer_config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": files.chat_template,
            **{name: token for name, token in special.items() if token is not None},
        }
        text = json.dumps(tokenizer_config, indent=1, ensure_ascii=False) + "\n"
        (folder / TOKENIZER_CONFIG_FILE).write_text(text, encoding="utf-8")


def _model_config(exported: ExportedModel, checkpoint: Checkpoint) -> dict[str, object]:
    config, eos = checkpoint.config, checkpoint.eos_token_ids
    heads = config.get("num_attention_heads") or config.get("n_head")
    hidden = config.get("hidden_size") or config.get("n_embd")
    return {
        "type": "llama",  # genai's word for any decoder with this cache; the graph itself says what is computed
        "bos_token_id": _first(config.get("bos_token_id"), eos),
        "eos_token_id": list(eos),
        "pad_token_id": _first(config.get("pad_token_id"), eos),
        "context_length": exported.context_length,
        "vocab_size": exported.vocab_size,
        "decoder": {
            "filename": GENAI_GRAPH_FILE,
            "session_options": {"log_id": "onnxruntime-genai", "log_severity_level": 3, "provider_options": []},
            "head_size": exported.head_dim,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "num_key_value_heads": exported.num_kv_heads,
            "num_hidden_layers": exported.num_layers,
            "inputs": {
                "input_ids": "input_ids",
                "attention_mask": "attention_mask",
                "past_key_names": "past_key_values.%d.key",
                "past_value_names": "past_key_values.%d.value",
            },
            "outputs": {
                "logits": "logits",
                "present_key_names": "present.%d.key",
                "present_value_names": "present.%d.value",
            },
        },
    }


def _first(token: object, eos: Sequence[int]) -> int:
    return token if isinstance(token, int) else (eos[0] if eos else 0)
