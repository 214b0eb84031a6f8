"""Says what a model is opened for, and what the rows of its own head mean.

config.json, name of a task -> name of a task, HeadInfo

What a task's tensors are called is ``placing``'s matter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgelora.checkpoint.derived import DerivedCheckpoint
from edgelora.checkpoint.encoder_config import ENCODERS
from edgelora.checkpoint.placing import head_modules
from edgelora.checkpoint.pooling import LAST_TOKEN, MEAN, read_pooling
from edgelora.errors import CheckpointError, ConfigError
from edgelora.values import Checkpoint, Task, TokenizerFiles
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    MULTI_LABEL,
    REGRESSION,
    SINGLE_LABEL,
    TEXT_CLASSIFICATION,
    TEXT_GENERATION,
    TOKEN_CLASSIFICATION,
    HeadInfo,
)
from edgelora_runtime.names import has_control
from edgelora_runtime.parse_json import show

TASK_WORDS: Mapping[str, str] = {
    "generation": TEXT_GENERATION,
    "classification": TEXT_CLASSIFICATION,
    "tagging": TOKEN_CLASSIFICATION,
    "embedding": FEATURE_EXTRACTION,
    "image-classification": IMAGE_CLASSIFICATION,
}
"""What commands call the tasks of the manifest."""

_CLASSES = {
    "ForSequenceClassification": TEXT_CLASSIFICATION,
    "ForTokenClassification": TOKEN_CLASSIFICATION,
    "ForImageClassification": IMAGE_CLASSIFICATION,
}
_PROBLEMS = (SINGLE_LABEL, MULTI_LABEL, REGRESSION)
_TRAINED = ("classifier", "pre_classifier", "score")  # modules that PEFT trains with every adapter of a classifier
_MOST_LABELS = 1 << 16


def find_task_word(word: str | None) -> str | None:
    """The task of the manifest that a command's word means, None for none; raises ConfigError for another word."""
    if word is None:
        return None
    if word not in TASK_WORDS:
        raise ConfigError(f"--task is {show(word)}; choose one of {', '.join(TASK_WORDS)}")
    return TASK_WORDS[word]


def tasks_of(model_type: str) -> tuple[str, ...]:
    """Every task that an architecture can be opened for."""
    if model_type == "vit":
        return (IMAGE_CLASSIFICATION,)
    if model_type in ENCODERS:
        return (TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION, FEATURE_EXTRACTION)
    return (TEXT_GENERATION, TEXT_CLASSIFICATION, FEATURE_EXTRACTION)


def find_task(config: Mapping[str, Any], makes_vectors: bool, asked: str | None, name: str) -> str:
    """The task that was asked for, else the one that ``config.json`` names; ``makes_vectors``: its folder pools.

    Raises CheckpointError for a task that the architecture does not have.
    """
    model_type = config["model_type"]
    known = tasks_of(model_type)
    if asked is None:
        own = own_task(config)
        is_plain = own is None or own == TEXT_GENERATION
        return FEATURE_EXTRACTION if is_plain and makes_vectors and FEATURE_EXTRACTION in known else own or known[-1]
    if asked not in known:
        raise CheckpointError(f"{name} ({model_type}) cannot be opened for {show(asked)}; choose {', '.join(known)}")
    return asked


def own_task(config: Mapping[str, Any]) -> str | None:
    """The task that ``architectures`` names, None where it names none of those known here."""
    model_type, named = config["model_type"], config.get("architectures") or ()
    found = next((task for name in named for end, task in _CLASSES.items() if str(name).endswith(end)), None)
    if found in tasks_of(model_type):
        return found
    return TEXT_GENERATION if TEXT_GENERATION in tasks_of(model_type) else None


def read_head(
    config: Mapping[str, Any], task: str, heads: Collection[str], name: str
) -> tuple[HeadInfo | None, tuple[str, ...]]:
    """What the rows of the head mean that the files have whole, by the names of its tensors; None where they have none.

    ``config`` is that of the files. The notes say which labels could not be taken from it.
    """
    modules = head_modules(config["model_type"], task)
    if not modules or any(f"{module}.weight" not in heads for module in modules):
        return None, ()
    labels, notes = _labels(config, name)
    problem = config.get("problem_type")
    if task != TEXT_CLASSIFICATION:
        problem = SINGLE_LABEL
    elif problem is None:
        problem = REGRESSION if len(labels) == 1 else SINGLE_LABEL  # what transformers takes for such a head
    if problem not in _PROBLEMS:
        raise CheckpointError(f"{name}: problem_type is {show(problem)}; expected one of {', '.join(_PROBLEMS)}")
    return HeadInfo(labels, problem), notes


def describe_task(
    task: str, config: Mapping[str, Any], heads: Collection[str], folder: Path, tokenizer: TokenizerFiles | None
) -> tuple[Task, tuple[str, ...]]:
    """What a folder says of a task without a KV cache, and notes; ``heads`` are the tensors of the head that it has."""
    if task == FEATURE_EXTRACTION:
        pooling, notes = read_pooling(folder, MEAN if config["model_type"] in ENCODERS else LAST_TOKEN, tokenizer)
        length = context_length(config, pooling.max_tokens)
        return Task(task, None, pooling.mode, pooling.normalize, length), notes
    head, notes = read_head(config, task, heads, folder.name)
    return Task(task, head, context_length=context_length(config, None)), notes


def _labels(config: Mapping[str, Any], name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    stored = config.get("id2label")
    count = config.get("num_labels", 2) if not isinstance(stored, Mapping) else len(stored)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MOST_LABELS:
        raise CheckpointError(f"{name}: its config has {show(count)} labels; expected 1 to {_MOST_LABELS}")
    plain = tuple(f"LABEL_{index}" for index in range(count))
    if not isinstance(stored, Mapping):
        return plain, ()
    found = tuple(stored.get(str(index), stored.get(index)) for index in range(count))
    labels = tuple(label for label in found if isinstance(label, str) and label and not has_control(label))
    if len(labels) == count == len(set(labels)):
        return labels, ()
    return plain, (f"id2label of config.json does not name {count} labels, each once; they are called LABEL_0 and on.",)


@dataclass(frozen=True)
class _WithHead(DerivedCheckpoint):
    head: HeadInfo

    @property
    def task(self) -> Task:
        """Task of the base, with the meaning of the new head."""
        return replace(self.base.task, head=self.head)

    def head_names(self) -> tuple[str, ...]:
        """What of the base's head stays: all but the modules that are trained for the labels."""
        return tuple(name for name in self.base.head_names() if name.partition(".")[0] not in _TRAINED)


def with_head(checkpoint: Checkpoint, head: HeadInfo) -> Checkpoint:
    """The same base with a fresh head, whose rows mean what ``head`` says.

    A pooler, or a dense layer that pretraining made, stays. Raises CheckpointError for a task without a head.
    """
    if not head_modules(checkpoint.config["model_type"], checkpoint.task.name):
        raise CheckpointError(f"{checkpoint.name} is opened for {checkpoint.task.name}, which has no head")
    return _WithHead(checkpoint, head)


def context_length(config: Mapping[str, Any], limit: int | None) -> int:
    """Tokens that a text holds at most: what the position table has room for, and ``limit`` where there is one.

    ``config`` is in one spelling. Some models begin to count positions behind the id of padding.
    """
    if config["model_type"] == "vit":
        return 0
    positions = next(config[key] for key in ("max_position_embeddings", "n_positions") if key in config)
    if config["model_type"] in ("roberta", "xlm-roberta", "mpnet"):
        padding = config.get("pad_token_id")
        positions -= 1 + (1 if padding is None else padding)
    return int(positions if limit is None else min(positions, limit))
