"""Opens a base model: a Hugging Face folder, a hub id or a GGUF file.

folder, hub id or GGUF file -> Checkpoint

It finds the files, checks that they are whole and reads them lazily.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from edgelora.checkpoint.check_config import check_config
from edgelora.checkpoint.complete import check_complete
from edgelora.checkpoint.config import normalise
from edgelora.checkpoint.end_tokens import find_end_tokens, special_ids, unreachable_tokens
from edgelora.checkpoint.finite import check_finite
from edgelora.checkpoint.json_files import first_line, read_object
from edgelora.checkpoint.names import HEAD, is_head
from edgelora.checkpoint.placing import place_tensors
from edgelora.checkpoint.pooling import has_pooling
from edgelora.checkpoint.stored import Stored, read_headers, rows_of, weight_files
from edgelora.checkpoint.task import describe_task, find_task, own_task
from edgelora.checkpoint.tied_head import embedding_rows, settle_head, ties_embeddings
from edgelora.checkpoint.tokenizer_files import read_tokenizer
from edgelora.checkpoint.vocabulary import read_vocabulary
from edgelora.errors import CheckpointError
from edgelora.values import Checkpoint, FloatArray, QuantizedMatrix, Task, TokenizerFiles
from edgelora_runtime.adapter_config import base_of
from edgelora_runtime.manifest import IMAGE_CLASSIFICATION, TEXT_GENERATION
from edgelora_runtime.parse_json import show

_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@[\w./-]+)?")  # a revision is a branch, a tag or a commit
_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
_HUB_FOLDERS = "[!0-9]*/*"  # not read, but for those that sentence-transformers numbers
_FLOAT_AFTER_ALL = "config.json has a quantization_config, but every tensor is float; it was ignored."
# Where the decoder is in models that read images too -> where it is alone.
_TEXT_PLACES = {"model.language_model.": "model.", "model.text_model.": "model.", "language_model.": ""}


@dataclass(frozen=True)
class FolderCheckpoint:
    """A Hugging Face folder; implements ``edgelora.values.Checkpoint``. Tensors stay on disk until they are read."""

    name: str
    config: Mapping[str, Any]
    eos_token_ids: tuple[int, ...]
    tokenizer: TokenizerFiles | None
    notes: tuple[str, ...]
    stored: Mapping[str, Stored]
    task: Task = field(default_factory=Task)

    def names(self) -> tuple[str, ...]:
        """Every tensor name, sorted."""
        return tuple(sorted(name for name in self.stored if self.task.generates or not is_head(name)))

    def head_names(self) -> tuple[str, ...]:
        """The tensors of the head that are stored."""
        return () if self.task.generates else tuple(sorted(name for name in self.stored if is_head(name)))

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

    def _find(self, name: str) -> Stored:
        try:
            return self.stored[name]
        except KeyError:
            raise CheckpointError(f"{self.name} has no tensor {name!r}") from None


def open_checkpoint(model: str, task: str | None = None) -> Checkpoint:
    """Open ``model``: a folder, a GGUF file, or a hub id such as ``org/name`` or ``org/name@revision`` where no such
    path exists.

    ``task`` is one of the manifest's, None the model's own: that of its config's class, feature-extraction where
    sentence-transformers saved it or an encoder has no head, else text-generation.

    Raises ``CheckpointError`` for what is missing, truncated, corrupt or of an unknown kind.
    """
    path = Path(model).expanduser()
    checkpoint: Checkpoint
    if path.is_dir():
        checkpoint = _open_folder(path, path.resolve().name, task)
    elif path.is_file():
        checkpoint = _open_file(path, task)
    elif (repository := hub_repository(model)) is not None:
        folder = _download(repository, model.partition("@")[2] or None)
        checkpoint = _open_folder(folder, repository.partition("/")[2], task)
    else:
        raise CheckpointError(
            f"{model} does not exist; give a Hugging Face folder, a GGUF file or a hub id such as org/name"
        )
    check_complete(checkpoint)
    return checkpoint


def hub_repository(model: str) -> str | None:
    """The ``org/name`` that ``open_checkpoint`` asks the hub for; None where ``model`` is a path."""
    path, found = Path(model).expanduser(), _HUB_ID.fullmatch(model)
    return None if found is None or path.exists() or path.suffix in (".gguf", ".safetensors") else found[1]


def _open_file(path: Path, task: str | None) -> Checkpoint:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF" and path.suffix != ".gguf":
        raise CheckpointError(f"{path.name} is no GGUF file; for safetensors give the folder with its config.json")
    if task not in (None, TEXT_GENERATION):
        raise CheckpointError(f"{path.name} is a GGUF file, which is read for {TEXT_GENERATION} alone; give the folder")
    from edgelora.checkpoint.gguf.reader import open_gguf  # the gguf package is only needed here

    return open_gguf(path)


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download  # a local model must not pay for this import

    try:
        wanted, unread = list(_HUB_FILES), [_HUB_FOLDERS]
        return Path(snapshot_download(repository, revision=revision, allow_patterns=wanted, ignore_patterns=unread))
    except (OSError, ValueError) as error:
        model = repository if revision is None else f"{repository}@{revision}"
        raise CheckpointError(
            f"{model} is no local path and cannot be fetched from the Hugging Face hub ({first_line(error)}); "
            f"check the name{'' if revision is None else ', the revision'} and the network, or give a folder"
        ) from error


def _open_folder(folder: Path, name: str, asked: str | None) -> FolderCheckpoint:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            base = base_of(read_object(folder / "adapter_config.json"))
            named = "" if base is None else f", which it calls {show(base)}"
            raise CheckpointError(f"{folder.name} is an adapter; give the base model that it was trained on{named}")
        raise CheckpointError(f"{folder.name} has no config.json; give the folder of a Hugging Face model")
    written = read_object(folder / "config.json")
    check_config(written, name)
    quantized, has_images = written.get("quantization_config"), "text_config" in written
    config = normalise(written, name)
    task = find_task(config, has_pooling(folder), asked, name)
    stored = read_headers(weight_files(folder), name, quantized)
    stored, beside = _text_tensors(stored) if has_images else (stored, ())
    if task == TEXT_GENERATION:
        stored = _with_prefix(stored, config["model_type"])
        stored = settle_head(stored, rows_of, ties_embeddings(config), name)
        is_tied = HEAD not in stored
    else:
        placed = place_tensors(stored, config, task, keep_labels=own_task(config) in (None, TEXT_GENERATION, task))
        stored = {place: stored[key] for key, place in placed.names.items()}
        beside, is_tied = (*beside, *placed.notes), True
    rows = embedding_rows({key: tensor.shape for key, tensor in stored.items()})
    config, left_out = special_ids({**config, "tie_word_embeddings": is_tied}, rows, name)
    tokenizer, notes = (None, ()) if task == IMAGE_CLASSIFICATION else read_tokenizer(folder)
    known = None if tokenizer is None else read_vocabulary(tokenizer.tokenizer_json)
    eos: tuple[int, ...] = ()
    meaning = Task()
    if task == TEXT_GENERATION:
        generation = read_object(folder / "generation_config.json", required=False)
        places = {"generation_config.json": generation, "config.json": config}
        declared = {f"eos_token_id of {place}": content.get("eos_token_id") for place, content in places.items()}
        eos, inferred = find_end_tokens(declared, tokenizer, known, rows, name)
    else:
        heads = [key for key in stored if is_head(key)]
        meaning, inferred = describe_task(task, {**written, **config}, heads, folder, tokenizer)
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
        task=meaning,
    )


def _text_tensors(found: Mapping[str, Stored]) -> tuple[dict[str, Stored], tuple[str, ...]]:
    """The decoder of a model that reads images too, under the names that it has alone, and a note on the others."""
    kept: dict[str, Stored] = {}
    for name, stored in found.items():
        place = next((place for place in _TEXT_PLACES if name.startswith(place)), None)
        if place is not None:
            kept[_TEXT_PLACES[place] + name.removeprefix(place)] = stored
        elif name.startswith("lm_head."):
            kept[name] = stored
    if not any(name.startswith(tuple(_TEXT_PLACES)) for name in found):
        return dict(found), ()
    return kept, (f"{len(found) - len(kept)} tensors are of the parts that read images or sound, and were left out.",)


def _with_prefix(found: Mapping[str, Stored], model_type: str) -> dict[str, Stored]:
    """Weights saved from the model without its head lack the prefix that the state dict has (gpt2 on the hub)."""
    prefix, bare = ("transformer.", "h.") if model_type == "gpt2" else ("model.", "layers.")
    if not any(name.startswith(f"{bare}0.") for name in found):
        return dict(found)
    return {name if name.startswith("lm_head.") else prefix + name: stored for name, stored in found.items()}
