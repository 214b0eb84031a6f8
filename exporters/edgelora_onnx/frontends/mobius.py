"""Builds decoder graphs with mobius and mends what its version 0.1.0 gets wrong.

Checkpoint, context length -> DecoderGraph
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgelora.checkpoint.config import read_config
from edgelora.checkpoint.names import turned_shape
from edgelora.errors import CheckpointError
from edgelora.values import Checkpoint
from edgelora_onnx.decoder_graph import DecoderGraph, WeightSource
from edgelora_onnx.frontends.rope import add_rotary_tables, rotary_frequencies
from edgelora_onnx.initializers import add_constant, remove_unused_initializers, shape_of
from edgelora_runtime.parse_json import join_some

_GPT2_MODULES = {"attn.o_proj": "attn.c_proj", "mlp.up_proj": "mlp.c_fc", "mlp.down_proj": "mlp.c_proj"}


def build_decoder(checkpoint: Checkpoint, context_length: int) -> DecoderGraph:
    """Build the float32 decoder graph of ``checkpoint`` for at most ``context_length`` tokens, without weights.

    Raises CheckpointError for an architecture without a parity test and for tensors that are missing or misshapen.
    """
    config = read_config(checkpoint)
    model = _build(config)
    _mend_attention(model, config, context_length)
    _mend_embedding_scale(model, config)
    remove_unused_initializers(model.graph)
    heads = int(config.num_attention_heads)
    return DecoderGraph(
        model=model,
        sources=_find_sources(model, checkpoint, config),
        num_layers=int(config.num_hidden_layers),
        num_kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        context_length=context_length,
        vocab_size=int(config.vocab_size),
    )


def _build(config: Any) -> ir.Model:
    from mobius import build_from_module
    from mobius._config_resolver import _config_from_hf, _default_task_for_model
    from mobius._registry import registry

    logging.getLogger("mobius").setLevel(logging.ERROR)
    plain = copy.deepcopy(config)
    if config.model_type != "gpt2":
        # mobius reads the transformers 5 name and silently leaves rotary embeddings out without it; the tables that it
        # makes of it are replaced, so that no scaling has to pass through it
        plain.rope_scaling = None
        plain.rope_parameters = {"rope_type": "default", "rope_theta": config.rope_theta}
    module_class = registry.get(config.model_type)
    resolved = _config_from_hf(plain, parent_config=plain, module_class=module_class)
    resolved.mlp_bias = bool(getattr(config, "mlp_bias", False)) or resolved.mlp_bias  # mobius knows other names of it
    package = build_from_module(
        module_class(resolved), resolved, _default_task_for_model(config.model_type), execution_provider="cpu"
    )
    model: ir.Model = package["model"]
    return model


def _mend_attention(model: ir.Model, config: Any, context_length: int) -> None:
    """Set what mobius leaves at a default: attention scale, sliding windows, rotary tables, layers without rotary."""
    nodes = [node for node in model.graph if node.op_type == "GroupQueryAttention"]
    if len(nodes) != config.num_hidden_layers:
        raise CheckpointError(
            f"{config.model_type}: the frontend built {len(nodes)} attention nodes, "
            f"the model has {config.num_hidden_layers} layers"
        )
    scalar = getattr(config, "query_pre_attn_scalar", None)
    windows = _windows(config)
    no_rope = getattr(config, "no_rope_layers", None) or [1] * len(nodes)  # 1 means: this layer has rotary embeddings
    tables: dict[bool, tuple[ir.Value, ir.Value]] = {}
    for index, node in enumerate(nodes):
        if scalar:
            node.attributes["scale"] = ir.AttrFloat32("scale", scalar**-0.5)
        if windows[index]:
            node.attributes["local_window_size"] = ir.AttrInt64("local_window_size", windows[index])
        if config.model_type == "gpt2":
            node.attributes["scale"] = ir.AttrFloat32("scale", _gpt2_scale(config, index))
            continue
        if not no_rope[index]:
            if _has_rotary(node):
                raise CheckpointError(f"{config.model_type}: the frontend gave layer {index} rotary embeddings")
            continue
        if not _has_rotary(node):
            raise CheckpointError(f"{config.model_type}: the frontend left layer {index} without rotary embeddings")
        local = bool(windows[index]) and getattr(config, "rope_local_base_freq", None) is not None
        if local not in tables:
            prefix = "rotary_local" if local else "rotary"
            tables[local] = add_rotary_tables(
                model.graph, prefix, *rotary_frequencies(config, local), context_length=context_length
            )
        node.attributes.pop("rotary_embedding_dim", None)  # unknown to onnxruntime: the tables' width says it
        node.replace_input_with(7, tables[local][0])
        node.replace_input_with(8, tables[local][1])


def _gpt2_scale(config: Any, layer: int) -> float:
    scale = (config.hidden_size // config.num_attention_heads) ** -0.5 if config.scale_attn_weights else 1.0
    return float(scale / (layer + 1) if config.scale_attn_by_inverse_layer_idx else scale)


def _has_rotary(node: ir.Node) -> bool:
    attribute = node.attributes.get("do_rotary")
    return attribute is not None and attribute.as_int() == 1


def _mend_embedding_scale(model: ir.Model, config: Any) -> None:
    """Gemma multiplies the embedding by sqrt(hidden_size), which mobius rounds to two digits or to float16."""
    if not config.model_type.startswith("gemma"):
        return
    gather = next(node for node in model.graph if node.op_type == "Gather")
    scale = next(node for node in gather.outputs[0].consumers() if node.op_type == "Mul")
    exact = np.array(config.hidden_size**0.5, np.float32)
    scale.replace_input_with(1, add_constant(model.graph, "embedding_scale", exact))


def _windows(config: Any) -> list[int]:
    """For each layer the number of tokens it attends to, itself included; 0 means all."""
    window = getattr(config, "sliding_window", None)
    layers = int(config.num_hidden_layers)
    if not window or getattr(config, "use_sliding_window", True) is False:
        return [0] * layers
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * layers
    return [int(window) if kind == "sliding_attention" else 0 for kind in kinds]


def _find_sources(model: ir.Model, checkpoint: Checkpoint, config: Any) -> Mapping[str, WeightSource]:
    names = set(checkpoint.names())
    sources: dict[str, WeightSource] = {}
    wrong: list[str] = []
    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            continue
        shape = shape_of(value)
        source = _source(name, shape, config, names)
        if source.tensor not in names:
            wrong.append(f"{source.tensor} is missing")
            continue
        found = turned_shape(source.tensor, checkpoint.shape(source.tensor))
        if found[1:] != shape[1:] or found[0] < source.stop:
            wrong.append(f"{source.tensor} is {found}, expected {(source.stop, *shape[1:])}")
        sources[name] = source
    wrong += _find_unused(checkpoint, sources.values())
    if wrong:
        raise CheckpointError(f"{checkpoint.name} does not hold a {config.model_type} model: {join_some(wrong)}")
    return sources


def _find_unused(checkpoint: Checkpoint, sources: Iterable[WeightSource]) -> list[str]:
    """Every tensor, or the rows of it, that no part of the graph reads: leaving it out would change the answers."""
    read: dict[str, set[tuple[int, int]]] = {}
    for source in sources:
        read.setdefault(source.tensor, set()).add((source.start, source.stop))
    unused = []
    for name in checkpoint.names():
        rows = turned_shape(name, checkpoint.shape(name))[0]
        end = 0
        for start, stop in sorted(read.get(name, ())):
            end = stop if start == end else end
        if name not in read:
            unused.append(f"{name} is not used")
        elif end < rows:
            unused.append(f"{name} has {rows} rows, of which {end} are used")
    return unused


def _source(name: str, shape: tuple[int, ...], config: Any, names: set[str]) -> WeightSource:
    """Undo the few renamings of mobius: a tied head, phi3's and gpt2's packed projections."""
    rows = shape[0]
    if name == "lm_head.weight" and name not in names:
        tied = "transformer.wte.weight" if config.model_type == "gpt2" else "model.embed_tokens.weight"
        return WeightSource(tied, 0, rows)
    path, _, kind = name.rpartition(".")
    parent, _, leaf = path.rpartition(".")
    packed = {"phi3": "qkv_proj", "gpt2": "c_attn"}.get(config.model_type)
    if packed and leaf in ("q_proj", "k_proj", "v_proj") and name not in names:
        heads = int(config.num_attention_heads)
        head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        kv_rows = int(getattr(config, "num_key_value_heads", None) or heads) * head_dim
        start = {"q_proj": 0, "k_proj": heads * head_dim, "v_proj": heads * head_dim + kv_rows}[leaf]
        return WeightSource(f"{parent}.{packed}.{kind}", start, start + rows)
    if config.model_type == "gpt2":
        for theirs, ours in _GPT2_MODULES.items():
            if path.endswith(theirs):
                return WeightSource(f"{path.removesuffix(theirs)}{ours}.{kind}", 0, rows)
    return WeightSource(name, 0, rows)
