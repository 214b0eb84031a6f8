"""LoRA adapters of llama.cpp: GGUF files with one alpha, factors under its names and rows in its order.

GGUF file -> PlainAdapter, and back

llama.cpp scales a module by alpha over its rank, and by 1 where alpha is 0. What it does not ask for and PEFT does,
the other fields of ``adapter_config.json``, travels under a key of ours, which llama.cpp passes over.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from edgelora.adapter.delta import shape_of
from edgelora.adapter.foreign.stored import Base
from edgelora.adapter.plain import PlainAdapter, with_ranks
from edgelora.checkpoint.gguf.config import MODEL_TYPES, Metadata
from edgelora.checkpoint.gguf.names import is_permuted, modules_by_stem, row_order
from edgelora.checkpoint.gguf.reader import open_reader
from edgelora.checkpoint.gguf.types import check_types
from edgelora.checkpoint.names import turned_shape, weight_of
from edgelora.errors import AdapterError, ConfigError
from edgelora.values import Checkpoint, FloatArray
from edgelora_runtime.adapter import Adapter, Factors
from edgelora_runtime.adapter_config import parse_config
from edgelora_runtime.files import write_atomically
from edgelora_runtime.parse_json import join_some, parse_json, show

_ARCHITECTURES = {model_type: name for name, (model_type, _) in MODEL_TYPES.items()} | {"mistral": "llama"}
_ALPHA, _INVOCATION = gguf.Keys.Adapter.LORA_ALPHA, gguf.Keys.Adapter.ALORA_INVOCATION_TOKENS
_CONFIG = "edgelora.adapter_config"
_TOLERANCE = 1e-6  # of an alpha that float32 rounded
_SIDES = {"lora_a": "A", "lora_b": "B"}
_KINDS = {np.dtype(np.float16): gguf.GGMLQuantizationType.F16, np.dtype(np.float32): gguf.GGMLQuantizationType.F32}


def write_gguf_adapter(path: Path, plain: PlainAdapter, base: Checkpoint) -> tuple[str, ...]:
    """Write the file that llama.cpp loads beside ``base``; returns what had to be changed on the way.

    A module whose scaling is not alpha over its rank has the rest of it multiplied into B, in float32.
    Raises AdapterError for an adapter that is none of ``base`` or has a head, ConfigError where llama.cpp has no name
    for the architecture.
    """
    architecture = _architecture_of(base)
    adapter = plain.adapter
    if adapter.head:
        raise AdapterError(f"a GGUF adapter holds no head, and this one has {join_some(sorted(adapter.head), ', ')}")
    _check_base(adapter, base)
    heads = _heads_of(base.config)
    blocks = int(base.config.get("num_hidden_layers") or base.config["n_layer"])
    stems = {module: stem for stem, module in modules_by_stem(architecture, blocks).items()}
    alpha = _shared_alpha(adapter)
    tensors, folded = plain.factors(), []
    # The package writes to a path of its own; what is read back goes to its place in one piece.
    with tempfile.TemporaryDirectory() as place:
        writer = gguf.GGUFWriter(Path(place) / "adapter.gguf", architecture)
        writer.add_type("adapter")
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(_ALPHA, alpha)
        writer.add_block_count(blocks)
        writer.add_head_count(heads["q_proj"])
        writer.add_head_count_kv(heads["k_proj"])
        if tokens := plain.config.get("alora_invocation_tokens"):
            writer.add_array(_INVOCATION, tokens)
        writer.add_string(_CONFIG, json.dumps(plain.config, ensure_ascii=False, sort_keys=True))
        for module, item in adapter.factors.items():
            a, b = tensors[f"{module}.lora_A"], tensors[f"{module}.lora_B"]
            share = item.scaling / _scaling(alpha, item.a.shape[0])
            if not math.isclose(share, 1, rel_tol=_TOLERANCE):
                b = item.b * np.float32(share)
                folded.append(module)
            if is_permuted(architecture, module):
                b = b[np.argsort(row_order(len(b), heads[module.rpartition(".")[2]]))]
            for side, value in (("a", a), ("b", b)):
                whole = np.ascontiguousarray(value)
                writer.add_tensor(f"{stems[module]}.weight.lora_{side}", whole, raw_dtype=_KINDS[whole.dtype])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        write_atomically(path, (Path(place) / "adapter.gguf").read_bytes())
    if not folded:
        return ()
    few = join_some(folded, ", ")
    return (f"{len(folded)} modules have another scaling than alpha / rank, which B now holds, in float32: {few}",)


def read_gguf_adapter(path: Path, base: Base) -> PlainAdapter:
    """Read a LoRA adapter that llama.cpp, or ``write_gguf_adapter``, wrote.

    ``base``, of a model or of an artifact, says how many heads there are, where rows of q and k lie in another order
    and the file does not say it.
    Raises CheckpointError for a torn file, AdapterError for another kind of file and for all that plain LoRA cannot
    hold, ConfigError where the base is needed.
    """
    reader, metadata = open_reader(path)
    _check_kind(metadata)
    architecture = metadata.text("general.architecture")
    if architecture not in MODEL_TYPES:
        known = ", ".join(MODEL_TYPES)
        raise AdapterError(f"{path.name} is an adapter for {architecture!r}; EdgeLoRA reads those of {known}")
    check_types(((tensor.name, tensor.tensor_type) for tensor in reader.tensors), path.name)
    pairs, halves = _collect(reader.tensors, architecture, path.name)
    alpha = metadata.number(_ALPHA)
    heads = _find_heads(metadata, architecture, pairs, base)
    factors = {}
    for module, pair in sorted(pairs.items()):
        b = pair["B"]
        if is_permuted(architecture, module):
            count = heads[module.rpartition(".")[2]]
            if len(b) % (2 * count):
                raise AdapterError(f"{path.name}: {module} has {len(b)} rows for {count} heads; give the right --base")
            b = np.ascontiguousarray(b[row_order(len(b), count)])
        factors[module] = Factors(pair["A"], b, _scaling(alpha, pair["A"].shape[0]))
    adapter = Adapter(factors)
    if base.checkpoint is not None:
        _check_base(adapter, base.checkpoint)
    return PlainAdapter(adapter, _config_of(metadata, adapter), halves, _notes(metadata, reader))


def _architecture_of(base: Checkpoint) -> str:
    model_type = base.config["model_type"]
    if model_type not in _ARCHITECTURES:
        known = ", ".join(sorted(_ARCHITECTURES))
        raise ConfigError(f"{base.name} is a {model_type}; EdgeLoRA writes GGUF adapters for {known}")
    return _ARCHITECTURES[model_type]


def _heads_of(config: Mapping[str, Any]) -> dict[str, int]:
    heads = int(config.get("num_attention_heads") or config["n_head"])
    return {"q_proj": heads, "k_proj": int(config.get("num_key_value_heads") or heads)}


def _check_base(adapter: Adapter, base: Checkpoint) -> None:
    names, wrong = set(base.names()), []
    for module, item in adapter.factors.items():
        name, found = weight_of(module), shape_of(item)
        if name not in names:
            wrong.append(f"{module} is not in it")
        elif found != (expected := turned_shape(name, base.shape(name))):
            wrong.append(f"{module} is {found}, expected {expected}")
    if wrong:
        raise AdapterError(f"the adapter does not fit {base.name}: {join_some(wrong)}; give its own base with --base")


def _shared_alpha(adapter: Adapter) -> float:
    """The alpha that is right for most modules, in float32; 0 means scaling 1 whatever the rank."""
    if all(item.scaling == 1 for item in adapter.factors.values()):
        return 0.0
    alphas = Counter(float(np.float32(item.scaling * item.a.shape[0])) for item in adapter.factors.values())
    return alphas.most_common(1)[0][0]


def _scaling(alpha: float, rank: int) -> float:
    return alpha / rank if alpha else 1.0


def _check_kind(metadata: Metadata) -> None:
    file = metadata.file
    if (kind := metadata.text("general.type", "model")) != "adapter":
        raise AdapterError(
            f"{file} is a GGUF file of a {kind}, expected an adapter; a model is read as MODEL or --base"
        )
    if (kind := metadata.text(gguf.Keys.Adapter.TYPE)) != "lora":
        raise AdapterError(f"{file} holds an adapter of the kind {kind!r}; llama.cpp and EdgeLoRA read 'lora'")
    known = {value for name, value in vars(gguf.Keys.Adapter).items() if name.isupper()}
    if strange := sorted(key for key in metadata.values if key.startswith("adapter.") and key not in known):
        raise AdapterError(
            f"{file} has {join_some(strange, ', ')}, which EdgeLoRA does not know; it could change answers"
        )


def _collect(
    tensors: list[gguf.ReaderTensor], architecture: str, file: str
) -> tuple[dict[str, dict[str, FloatArray]], frozenset[str]]:
    """For each module its sides A and B in float32, and the factors that are float16."""
    layers = [
        int(parts[1]) for tensor in tensors if (parts := tensor.name.split("."))[0] == "blk" and parts[1].isdigit()
    ]
    if layers and max(layers) >= len(tensors):
        raise AdapterError(f"{file} names layer {max(layers)} and has {len(tensors)} tensors in all; make it again")
    modules = modules_by_stem(architecture, max(layers, default=0) + 1)
    pairs: dict[str, dict[str, FloatArray]] = {}
    halves, wrong = set(), []
    for tensor in tensors:
        stem, _, side = tensor.name.rpartition(".weight.")
        if side not in _SIDES or stem not in modules or stem == "token_embd":
            wrong.append(f"{show(tensor.name)} is no factor of a linear of {architecture}")
            continue
        value: npt.NDArray[Any] = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32)
        if value.ndim != 2 or not value.size or not np.isfinite(value).all():
            wrong.append(f"{tensor.name} is {value.shape}, expected two dimensions of finite numbers")
            continue
        pairs.setdefault(modules[stem], {})[_SIDES[side]] = value
        if tensor.tensor_type == gguf.GGMLQuantizationType.F16:
            halves.add(f"{modules[stem]}.lora_{_SIDES[side]}")
    for module, pair in pairs.items():
        if lacking := sorted({"A", "B"} - pair.keys()):
            wrong.append(f"{module} lacks lora_{lacking[0].lower()}")
        elif pair["A"].shape[0] != pair["B"].shape[1]:
            wrong.append(f"{module} has ranks {pair['A'].shape[0]} and {pair['B'].shape[1]}")
    if wrong or not pairs:
        raise AdapterError(f"{file} cannot be used: {join_some(wrong) or 'it holds no factors'}; expected plain LoRA")
    return pairs, frozenset(halves)


def _find_heads(metadata: Metadata, architecture: str, pairs: Mapping[str, Any], base: Base) -> Mapping[str, int]:
    if base.checkpoint is not None:
        if (expected := _architecture_of(base.checkpoint)) != architecture:
            raise AdapterError(
                f"{metadata.file} is an adapter for {architecture}, and {base.checkpoint.name} is {expected}"
            )
        return _heads_of(base.checkpoint.config)
    if base.model_type is not None and _ARCHITECTURES.get(base.model_type) != architecture:
        raise AdapterError(f"{metadata.file} is an adapter for {architecture}, and the artifact is {base.model_type}")
    if base.heads.keys() == {"q_proj", "k_proj"}:
        return base.heads
    keys = {
        "q_proj": f"{architecture}.attention.head_count",
        "k_proj": f"{architecture}.attention.head_count_kv",
    }
    permuted = any(is_permuted(architecture, module) for module in pairs)
    if permuted and any(metadata.get(key) is None for key in keys.values()):
        raise ConfigError(
            f"{metadata.file} does not say how many heads its base has, and llama.cpp keeps rows of q and k of "
            f"{architecture} in an order of its own; give the base with --base MODEL"
        )
    return {module: metadata.count(key) for module, key in keys.items()} if permuted else {}


def _config_of(metadata: Metadata, adapter: Adapter) -> dict[str, Any]:
    """The configuration that the file carries where it says the same as the file, else one of what the file says."""
    stored: dict[str, Any] = {}
    if metadata.get(_CONFIG) is not None:
        text = metadata.text(_CONFIG)
        stored = parse_json(text, f"{metadata.file}: {_CONFIG}", AdapterError, "convert the adapter again")
        config = parse_config(text.encode(), f"{metadata.file}: {_CONFIG}")
        if all(
            (rank := item.a.shape[0]) == config.rank_of(module)
            and math.isclose(config.scaling_of(module, rank), item.scaling, rel_tol=_TOLERANCE)
            for module, item in adapter.factors.items()
        ):
            return stored
    made: dict[str, Any] = {
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": metadata.get("general.base_model.0.repo_url"),
        "target_modules": sorted(adapter.factors),
        "bias": "none",
        "fan_in_fan_out": metadata.text("general.architecture") == "gpt2",
        "inference_mode": True,
    }
    if tokens := metadata.items(_INVOCATION):
        made["alora_invocation_tokens"] = tokens
    return with_ranks({**made, **stored}, adapter)


def _notes(metadata: Metadata, reader: gguf.GGUFReader) -> tuple[str, ...]:
    floats = {"F32", "F16", "F64"}
    kinds = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    notes = [f"{count} factors are {kind} and become float32" for kind, count in kinds.items() if kind not in floats]
    lost = (gguf.Keys.Adapter.LORA_TASK_NAME, gguf.Keys.Adapter.LORA_PROMPT_PREFIX)
    notes += [f"{key} is {show(value)}, which PEFT has no field for" for key in lost if (value := metadata.get(key))]
    return tuple(notes)
