"""Opens a base model: a Hugging Face folder, a hub id or a GGUF file.

folder, hub id or GGUF file -> Checkpoint

It finds the files, checks that they are whole and reads them lazily.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from edgelora.checkpoint.check_config import check_config
from edgelora.checkpoint.config import normalise
from edgelora.checkpoint.end_tokens import find_end_tokens, special_ids, unreachable_tokens
from edgelora.checkpoint.finite import check_finite
from edgelora.checkpoint.json_files import first_line, read_object
from edgelora.checkpoint.names import HEAD
from edgelora.checkpoint.tied_head import chunks, embedding_rows, settle_head, ties_embeddings
from edgelora.checkpoint.tokenizer_files import read_tokenizer
from edgelora.checkpoint.vocabulary import read_vocabulary
from edgelora.errors import CheckpointError
from edgelora.values import Checkpoint, FloatArray, QuantizedMatrix, TokenizerFiles
from edgelora_runtime.names import find_unsafe, has_control
from edgelora_runtime.parse_json import join_some, show

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_LONGEST_NAME = 1024  # characters of the name of a tensor
_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@[\w./-]+)?")  # a revision is a branch, a tag or a commit
_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
_LAYER = re.compile(r"^(.*?\.(?:layers|layer|h))\.([0-9]{1,9})\.(.+)$")
# Buffers that old checkpoints carry: masks and rotary tables, which transformers computes by itself.
_BUFFER = re.compile(r"(rotary_emb\.inv_freq|\.attn\.bias|\.attn\.masked_bias|embeddings\.position_ids)$")
_FLOAT_AFTER_ALL = "config.json has a quantization_config, but every tensor is float; it was ignored."
# Where the decoder is in models that read images too -> where it is alone.
_TEXT_PLACES = {"model.language_model.": "model.", "model.text_model.": "model.", "language_model.": ""}
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
    """A Hugging Face folder; implements ``edgelora.values.Checkpoint``. Tensors stay on disk until they are read."""

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
        """A tensor as float32; bfloat16 and float16 widen exactly, and numbers that are not finite are refused."""
        stored = self._find(name)
        try:
            with safe_open(stored.file, framework="numpy") as file:
                tensor = file.get_tensor(stored.key)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{stored.file.name} cannot be read any more ({first_line(error)})") from error
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is refused
            return check_finite(np.array(tensor, dtype=np.float32, order="C"), name, self.name)

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
    """Open ``model``: a folder, a GGUF file, or a hub id such as ``org/name`` or ``org/name@revision`` where no such
    path exists.

    Raises ``CheckpointError`` for what is missing, truncated, corrupt or of an unknown kind.
    """
    path = Path(model).expanduser()
    checkpoint: Checkpoint
    if path.is_dir():
        checkpoint = _open_folder(path, path.resolve().name)
    elif path.is_file():
        checkpoint = _open_file(path)
    elif (repository := hub_repository(model)) is not None:
        checkpoint = _open_folder(_download(repository, model.partition("@")[2] or None), repository.partition("/")[2])
    else:
        raise CheckpointError(
            f"{model} does not exist; give a Hugging Face folder, a GGUF file or a hub id such as org/name"
        )
    _check_complete(checkpoint)
    return checkpoint


def hub_repository(model: str) -> str | None:
    """The ``org/name`` that ``open_checkpoint`` asks the hub for; None where ``model`` is a path."""
    path, found = Path(model).expanduser(), _HUB_ID.fullmatch(model)
    return None if found is None or path.exists() or path.suffix in (".gguf", ".safetensors") else found[1]


def _open_file(path: Path) -> Checkpoint:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF" and path.suffix != ".gguf":
        raise CheckpointError(f"{path.name} is no GGUF file; for safetensors give the folder with its config.json")
    from edgelora.checkpoint.gguf.reader import open_gguf  # the gguf package is only needed here

    return open_gguf(path)


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download  # a local model must not pay for this import

    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(_HUB_FILES), ignore_patterns=["*/*"])
        )
    except (OSError, ValueError) as error:
        model = repository if revision is None else f"{repository}@{revision}"
        raise CheckpointError(
            f"{model} is no local path and cannot be fetched from the Hugging Face hub ({first_line(error)}); "
            f"check the name{'' if revision is None else ', the revision'} and the network, or give a folder"
        ) from error


def _open_folder(folder: Path, name: str) -> FolderCheckpoint:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise CheckpointError(f"{folder.name} is an adapter; give the base model that it was trained on")
        raise CheckpointError(f"{folder.name} has no config.json; give the folder of a Hugging Face model")
    config = read_object(folder / "config.json")
    check_config(config, name)
    quantized, has_images = config.get("quantization_config"), "text_config" in config
    config = normalise(config, name)
    stored = _read_headers(_weight_files(folder), name, quantized)
    stored, beside = _text_tensors(stored) if has_images else (stored, ())
    stored = _with_prefix(stored, config["model_type"])
    stored = settle_head(stored, _rows, ties_embeddings(config), name)
    rows = embedding_rows({key: tensor.shape for key, tensor in stored.items()})
    config, left_out = special_ids({**config, "tie_word_embeddings": HEAD not in stored}, rows, name)
    tokenizer, notes = read_tokenizer(folder)
    known = None if tokenizer is None else read_vocabulary(tokenizer.tokenizer_json)
    generation = read_object(folder / "generation_config.json", required=False)
    places = {"generation_config.json": generation, "config.json": config}
    declared = {f"eos_token_id of {place}": content.get("eos_token_id") for place, content in places.items()}
    eos, inferred = find_end_tokens(declared, tokenizer, known, rows, name)
    return FolderCheckpoint(
        name=name,
        config=config,
        eos_token_ids=eos,
        tokenizer=tokenizer,
        notes=(
            *notes,
            *([_FLOAT_AFTER_ALL] if quantized else []),
            *beside,
            *left_out,
            *inferred,
            *unreachable_tokens(known, rows, name),
        ),
        stored=stored,
    )


def _weight_files(folder: Path) -> dict[Path, frozenset[str] | None]:
    """Files with weights, each with the tensors that the index promises there (None: whatever the file holds)."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return {single: None}
    if index.is_file():
        weight_map = read_object(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{index.name} has no weight_map; download it again")
        if outside := [file for file in weight_map.values() if not _is_plain(file)]:
            raise CheckpointError(f"{index.name} names {show(outside[0])}, which is no plain file name")
        files = {file: folder / file for file in sorted(set(weight_map.values()))}
        if missing := [file for file, path in files.items() if not path.is_file()]:
            raise CheckpointError(f"{folder.name} lacks {join_some(missing, ', ')}; download the missing shards")
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


def _read_headers(files: Mapping[Path, frozenset[str] | None], name: str, quantized: object) -> dict[str, _Stored]:
    found: dict[str, _Stored] = {}
    problems: list[str] = []
    strange: list[str] = []
    for path, promised in files.items():
        try:
            with safe_open(path, framework="numpy") as file:
                present = frozenset(file.keys())
                if promised is not None and promised - present:
                    lost = sorted(promised - present)
                    shown = ", ".join(map(show, lost[:3]))
                    problems.append(f"{path.name} lacks {len(lost)} tensors of the index ({shown})")
                for key in sorted(present if promised is None else present & promised):
                    if _BUFFER.search(key):
                        continue
                    if has_control(key) or len(key) > _LONGEST_NAME:
                        strange.append(f"{show(key)} is no name of a tensor")
                        continue
                    part = file.get_slice(key)
                    if part.get_dtype() not in _FLOATS:
                        strange.append(f"{key} is {part.get_dtype()}")
                    found[key] = _Stored(path, key, tuple(part.get_shape()))
        except (SafetensorError, OSError) as error:
            problems.append(f"{path.name} is truncated or corrupt ({first_line(error)}); download it again")
    if strange and quantized:
        method = quantized.get("quant_method") if isinstance(quantized, Mapping) else None
        raise CheckpointError(
            f"{name} is already quantized ({show(method)}: {strange[0]}); give the float model or a GGUF file"
        )
    if strange:
        problems += [
            *strange[:3],
            f"EdgeLoRA reads {', '.join(sorted(_FLOATS))} ({len(strange)} tensors are none of these)",
        ]
    if problems:
        raise CheckpointError(join_some(problems))
    return found


def _is_plain(file: object) -> bool:
    return isinstance(file, str) and file.isprintable() and "/" not in file and find_unsafe(file) is None


def _text_tensors(found: Mapping[str, _Stored]) -> tuple[dict[str, _Stored], tuple[str, ...]]:
    """The decoder of a model that reads images too, under the names that it has alone, and a note on the others."""
    kept: dict[str, _Stored] = {}
    for name, stored in found.items():
        place = next((place for place in _TEXT_PLACES if name.startswith(place)), None)
        if place is not None:
            kept[_TEXT_PLACES[place] + name.removeprefix(place)] = stored
        elif name.startswith("lm_head."):
            kept[name] = stored
    if not any(name.startswith(tuple(_TEXT_PLACES)) for name in found):
        return dict(found), ()
    return kept, (f"{len(found) - len(kept)} tensors are of the parts that read images or sound, and were left out.",)


def _with_prefix(found: Mapping[str, _Stored], model_type: str) -> dict[str, _Stored]:
    """Weights saved from the model without its head lack the prefix that the state dict has (gpt2 on the hub)."""
    prefix, bare = ("transformer.", "h.") if model_type == "gpt2" else ("model.", "layers.")
    if not any(name.startswith(f"{bare}0.") for name in found):
        return dict(found)
    return {name if name.startswith("lm_head.") else prefix + name: stored for name, stored in found.items()}


def _rows(stored: _Stored) -> Iterator[FloatArray]:
    try:
        with safe_open(stored.file, framework="numpy") as file:
            part = file.get_slice(stored.key)
            for rows in chunks(stored.shape):
                yield np.asarray(part[rows], np.float32)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{stored.file.name} cannot be read ({first_line(error)}); download it again") from error


def _check_complete(checkpoint: Checkpoint) -> None:
    """Every layer must be there and have the same tensors; so must embedding and last norm."""
    names = frozenset(checkpoint.names())
    layers: dict[str, dict[int, set[str]]] = {}
    for name in names:
        if match := _LAYER.match(name):
            layers.setdefault(match[1], {}).setdefault(int(match[2]), set()).add(match[3])
    missing: list[str] = []
    count = checkpoint.config.get("num_hidden_layers", checkpoint.config.get("n_layer"))
    if isinstance(count, int) and count > len(names):
        raise CheckpointError(
            f"{checkpoint.name} has {len(names)} tensors, but its config names {show(count)} layers; download it again"
        )
    for stem, by_index in layers.items():
        if max(by_index) > len(names):
            raise CheckpointError(
                f"{checkpoint.name} has a layer {max(by_index)}, but {len(names)} tensors in all; download it again"
            )
        everywhere = set().union(*by_index.values())
        expected = range(count if isinstance(count, int) else max(by_index) + 1)
        if surplus := sorted(set(by_index) - set(expected)):
            raise CheckpointError(f"{checkpoint.name} has layer {surplus[0]}, but its config names {count} layers")
        missing += [f"{stem}.{i}.{part}" for i in expected for part in sorted(everywhere - by_index.get(i, set()))]
    for start, required in _DECODERS.items():
        if any(name.startswith(start) for name in names):
            missing += [name for name in required if name not in names]
    if missing:
        raise CheckpointError(
            f"{checkpoint.name} lacks {len(missing)} tensors ({', '.join(missing[:3])}); download the weights again"
        )
