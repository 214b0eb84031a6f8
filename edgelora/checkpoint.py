"""Open a base model: a Hugging Face folder, a hub id or a GGUF file.

Knows nothing about grids, graphs or training; it finds the files, checks that they are whole and reads them lazily.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from edgelora.errors import CheckpointError
from edgelora.types import Checkpoint, FloatArray, QuantizedMatrix, TokenizerFiles

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
_LAYER = re.compile(r"^(.*?\.(?:layers|layer|h))\.(\d+)\.(.+)$")
# Buffers that old checkpoints carry: masks and rotary tables, which transformers computes by itself.
_BUFFER = re.compile(r"(rotary_emb\.inv_freq|\.attn\.bias|\.attn\.masked_bias|embeddings\.position_ids)$")
_SLOW_TOKENIZERS = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
_DECODERS = {  # a tensor of the layers -> embedding and last norm that must be there too
    "model.layers.": ("model.embed_tokens.weight", "model.norm.weight"),
    "transformer.h.": ("transformer.wte.weight", "transformer.ln_f.weight"),
}


@dataclass(frozen=True)
class _Stored:
    file: Path
    key: str  # name inside the file; may lack the prefix of the state dict
    shape: tuple[int, ...]


@dataclass(frozen=True)
class FolderCheckpoint:
    """A Hugging Face folder; implements ``edgelora.types.Checkpoint``. Tensors stay on disk until they are read."""

    name: str
    config: Mapping[str, Any]
    eos_token_ids: tuple[int, ...]
    tokenizer: TokenizerFiles | None
    notes: tuple[str, ...]
    stored: Mapping[str, _Stored]

    def names(self) -> tuple[str, ...]:
        """Every tensor name, sorted."""
        return tuple(sorted(self.stored))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor without reading it."""
        return self._find(name).shape

    def read(self, name: str) -> FloatArray:
        """A tensor as float32; bfloat16 and float16 widen exactly."""
        stored = self._find(name)
        try:
            with safe_open(stored.file, framework="numpy") as file:
                return np.array(file.get_tensor(stored.key), dtype=np.float32, order="C")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{stored.file.name} cannot be read any more ({_first_line(error)})") from error

    def packed(self, name: str) -> QuantizedMatrix | None:
        """None: a Hugging Face folder stores floats."""
        self._find(name)
        return None

    def _find(self, name: str) -> _Stored:
        try:
            return self.stored[name]
        except KeyError:
            raise CheckpointError(f"{self.name} has no tensor {name!r}") from None


def open_checkpoint(model: str) -> Checkpoint:
    """Open ``model``: a folder, a GGUF file, or a hub id such as ``org/name`` where no such path exists.

    Raises ``CheckpointError`` for what is missing, truncated, corrupt or of an unknown kind.
    """
    path = Path(model).expanduser()
    checkpoint: Checkpoint
    if path.is_dir():
        checkpoint = _open_folder(path, path.resolve().name)
    elif path.is_file():
        checkpoint = _open_file(path)
    elif _HUB_ID.fullmatch(model) and path.suffix not in (".gguf", ".safetensors"):
        checkpoint = _open_folder(_download(model), model.rpartition("/")[2])
    else:
        raise CheckpointError(
            f"{model} does not exist; give a Hugging Face folder, a GGUF file or a hub id such as org/name"
        )
    _check_complete(checkpoint)
    return checkpoint


def _open_file(path: Path) -> Checkpoint:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF" and path.suffix != ".gguf":
        raise CheckpointError(f"{path.name} is no GGUF file; for safetensors give the folder with its config.json")
    from edgelora.gguf import open_gguf  # the gguf package is only needed here

    return open_gguf(path)


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download  # a local model must not pay for this import

    try:
        return Path(snapshot_download(model, allow_patterns=list(_HUB_FILES), ignore_patterns=["*/*"]))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{model} is no local path and cannot be fetched from the Hugging Face hub ({_first_line(error)}); "
            "check the name and the network, or give a folder"
        ) from error


def _open_folder(folder: Path, name: str) -> FolderCheckpoint:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise CheckpointError(f"{folder.name} is an adapter; give the base model that it was trained on")
        raise CheckpointError(f"{folder.name} has no config.json; give the folder of a Hugging Face model")
    config = _read_object(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise CheckpointError("config.json has no model_type; it is not the configuration of a transformers model")
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "an unknown method")
        raise CheckpointError(f"{name} is already quantized ({method}); give the float model or a GGUF file")
    tokenizer, notes = _read_tokenizer(folder)
    generation = _read_object(folder / "generation_config.json", required=False)
    return FolderCheckpoint(
        name=name,
        config=config,
        eos_token_ids=_eos_ids(generation, config, tokenizer),
        tokenizer=tokenizer,
        notes=notes,
        stored=_with_prefix(_read_headers(_weight_files(folder)), config["model_type"]),
    )


def _weight_files(folder: Path) -> dict[Path, frozenset[str] | None]:
    """Files with weights, each with the tensors that the index promises there (None: whatever the file holds)."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return {single: None}
    if index.is_file():
        weight_map = _read_object(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{index.name} has no weight_map; download it again")
        if outside := [file for file in weight_map.values() if Path(str(file)).name != file]:
            raise CheckpointError(f"{index.name} names {outside[0]!r}, which is no plain file name")
        files = {file: folder / file for file in sorted(set(weight_map.values()))}
        if missing := [file for file, path in files.items() if not path.is_file()]:
            raise CheckpointError(f"{folder.name} lacks {', '.join(missing)}; download the missing shards")
        return {path: frozenset(t for t, f in weight_map.items() if f == file) for file, path in files.items()}
    others = [path for path in sorted(folder.glob("*.safetensors")) if path.name != "adapter_model.safetensors"]
    if len(others) == 1:
        return {others[0]: None}
    if others:
        raise CheckpointError(f"{folder.name} has {len(others)} safetensors files and no index; one model was expected")
    if any(folder.glob("pytorch_model*.bin")):
        raise CheckpointError(
            f"{folder.name} has pytorch_model.bin, which can run code when it is read; load it with transformers "
            "and save_pretrained it as safetensors"
        )
    raise CheckpointError(f"{folder.name} has no model.safetensors; download the weights")


def _read_headers(files: Mapping[Path, frozenset[str] | None]) -> dict[str, _Stored]:
    found: dict[str, _Stored] = {}
    problems: list[str] = []
    strange: list[str] = []
    for path, promised in files.items():
        try:
            with safe_open(path, framework="numpy") as file:
                present = frozenset(file.keys())
                if promised is not None and promised - present:
                    lost = sorted(promised - present)
                    problems.append(f"{path.name} lacks {len(lost)} tensors of the index ({', '.join(lost[:3])})")
                for key in sorted(present if promised is None else present & promised):
                    if _BUFFER.search(key):
                        continue
                    part = file.get_slice(key)
                    if part.get_dtype() not in _FLOATS:
                        strange.append(f"{key} is {part.get_dtype()}")
                    found[key] = _Stored(path, key, tuple(part.get_shape()))
        except (SafetensorError, OSError) as error:
            problems.append(f"{path.name} is truncated or corrupt ({_first_line(error)}); download it again")
    if strange:
        problems += [
            *strange[:3],
            f"EdgeLoRA reads {', '.join(sorted(_FLOATS))} ({len(strange)} tensors are none of these)",
        ]
    if problems:
        raise CheckpointError("; ".join(problems))
    return found


def _with_prefix(found: Mapping[str, _Stored], model_type: str) -> dict[str, _Stored]:
    """Weights saved from the model without its head lack the prefix that the state dict has (gpt2 on the hub)."""
    prefix, bare = ("transformer.", "h.") if model_type == "gpt2" else ("model.", "layers.")
    if not any(name.startswith(f"{bare}0.") for name in found):
        return dict(found)
    return {name if name.startswith("lm_head.") else prefix + name: stored for name, stored in found.items()}


def _check_complete(checkpoint: Checkpoint) -> None:
    """Every layer must be there and have the same tensors; so must embedding, last norm and an untied head."""
    names = frozenset(checkpoint.names())
    layers: dict[str, dict[int, set[str]]] = {}
    for name in names:
        if match := _LAYER.match(name):
            layers.setdefault(match[1], {}).setdefault(int(match[2]), set()).add(match[3])
    missing: list[str] = []
    count = checkpoint.config.get("num_hidden_layers", checkpoint.config.get("n_layer"))
    for stem, by_index in layers.items():
        everywhere = set().union(*by_index.values())
        expected = range(count if isinstance(count, int) else max(by_index) + 1)
        if surplus := sorted(set(by_index) - set(expected)):
            raise CheckpointError(f"{checkpoint.name} has layer {surplus[0]}, but its config names {count} layers")
        missing += [f"{stem}.{i}.{part}" for i in expected for part in sorted(everywhere - by_index.get(i, set()))]
    for start, required in _DECODERS.items():
        if any(name.startswith(start) for name in names):
            missing += [name for name in required if name not in names]
            if checkpoint.config.get("tie_word_embeddings") is False and "lm_head.weight" not in names:
                missing.append("lm_head.weight")
    if missing:
        raise CheckpointError(
            f"{checkpoint.name} lacks {len(missing)} tensors ({', '.join(missing[:3])}); download the weights again"
        )


def _read_tokenizer(folder: Path) -> tuple[TokenizerFiles | None, tuple[str, ...]]:
    path = folder / "tokenizer.json"
    notes: tuple[str, ...] = ()
    if path.is_file():
        _read_object(path)
        tokenizer_json = path.read_text(encoding="utf-8")
    elif slow := [file for file in _SLOW_TOKENIZERS if (folder / file).is_file()]:
        tokenizer_json = _convert_tokenizer(folder)
        notes = (f"There is no tokenizer.json; transformers converted {slow[0]}.",)
    else:
        return None, ("There is no tokenizer; the model speaks token ids alone.",)
    settings = _read_object(folder / "tokenizer_config.json", required=False)
    fallback = _read_object(folder / "special_tokens_map.json", required=False)
    special = {
        kind: _token_text(settings.get(f"{kind}_token", fallback.get(f"{kind}_token")))
        for kind in ("bos", "eos", "pad", "unk")
    }
    return TokenizerFiles(
        tokenizer_json=tokenizer_json,
        chat_template=_chat_template(folder, settings),
        bos_token=special["bos"],
        eos_token=special["eos"],
        pad_token=special["pad"],
        unk_token=special["unk"],
    ), notes


def _convert_tokenizer(folder: Path) -> str:
    from transformers import AutoTokenizer  # only for folders without tokenizer.json

    try:
        return str(AutoTokenizer.from_pretrained(folder, use_fast=True).backend_tokenizer.to_str())
    except (OSError, ValueError, TypeError, KeyError, ImportError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder.name} has no tokenizer.json and transformers cannot convert its tokenizer ({_first_line(error)})"
        ) from error


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):  # several, each with a name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _token_text(token: object) -> str | None:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _eos_ids(
    generation: Mapping[str, Any], config: Mapping[str, Any], tokenizer: TokenizerFiles | None
) -> tuple[int, ...]:
    ids: list[int] = []
    for source in (generation, config):
        value = source.get("eos_token_id")
        for index in value if isinstance(value, list) else [value]:
            if index is None:
                continue
            if not isinstance(index, int) or isinstance(index, bool):
                raise CheckpointError(f"eos_token_id is {value!r}; expected an integer or a list of them")
            ids.append(index)
    if tokenizer is not None and tokenizer.eos_token is not None:
        document = json.loads(tokenizer.tokenizer_json)
        added = {token["content"]: token["id"] for token in document.get("added_tokens", [])}
        vocabulary = document.get("model", {}).get("vocab")
        known = {**vocabulary, **added} if isinstance(vocabulary, dict) else added
        if tokenizer.eos_token in known:
            ids.append(known[tokenizer.eos_token])
    return tuple(dict.fromkeys(ids))


def _read_object(path: Path, *, required: bool = True) -> dict[str, Any]:
    if not required and not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # malformed JSON and bytes that are not UTF-8
        raise CheckpointError(f"{path.name} is no JSON ({_first_line(error)}); download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} holds a {type(value).__name__}; expected a JSON object")
    return value


def _first_line(error: BaseException) -> str:
    """The first sentence of an error: libraries explain at length, a command line has one line."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line.split(". ")[0].rstrip(".")[:200]
