"""The losses of tasks that read a text once: which label, which of several, which tag, which text belongs to it.

torch model, Labelled, Pair -> loss

Source of the last: in-batch negatives (Henderson et al. 2017, arXiv:1705.00652) over cosines times a scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgelora.data.encode_labelled import NOT_LEARNED, Labelled, Pair
from edgelora.torch_model.task_model import answer
from edgelora.training.batches import sorted_batches
from edgelora.values import FloatArray, Task
from edgelora_runtime.manifest import MULTI_LABEL, TOKEN_CLASSIFICATION

SCALE = 20.0  # of cosines, before they are compared


@dataclass(frozen=True, eq=False)
class TaskModel:
    """A model that reads texts for ``task``; rows are padded with the token that it takes for padding."""

    model: Any
    task: Task
    device: torch.device

    def read(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits or embeddings of texts, as ``answer`` gives them."""
        padding = getattr(self.model.config, "pad_token_id", None) or 0
        longest = max(map(len, texts))
        ids = torch.full((len(texts), longest), padding, dtype=torch.long)
        mask = torch.zeros((len(texts), longest), dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(list(text))
            mask[row, : len(text)] = 1
        return answer(self.model, self.task, ids.to(self.device), mask.to(self.device)).float()


def label_loss(model: TaskModel, weights: torch.Tensor | None, examples: Sequence[Labelled]) -> torch.Tensor:
    """Sum over texts, or over tagged words, of the cross entropy (nats); of several labels the mean over them.

    ``weights`` is one for each label.
    """
    logits = model.read([example.ids for example in examples])
    targets = _targets(model.task, examples, logits.device)
    if _has_many(model.task):
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, targets.float(), pos_weight=weights, reduction="sum"
        )
        return each / logits.shape[-1]
    return torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), weights, ignore_index=NOT_LEARNED, reduction="sum"
    )


def pair_loss(model: TaskModel, examples: Sequence[Pair]) -> torch.Tensor:
    """Sum over anchors of the cross entropy (nats) of finding their own text among all of the batch.

    A text that stands in the batch several times is no wrong answer to any of its anchors.
    """
    texts = [*(pair.positive for pair in examples), *(pair.negative for pair in examples if pair.negative is not None)]
    anchors = torch.nn.functional.normalize(model.read([pair.ids for pair in examples]), dim=-1)
    others = torch.nn.functional.normalize(model.read(texts), dim=-1)
    scores = SCALE * anchors @ others.T
    same = torch.tensor([[text == pair.positive for text in texts] for pair in examples])
    same[range(len(examples)), range(len(examples))] = False
    scores = scores.masked_fill(same.to(scores.device), float("-inf"))
    targets = torch.arange(len(examples), device=scores.device)
    return torch.nn.functional.cross_entropy(scores, targets, reduction="sum")


def read_outputs(
    model: TaskModel, examples: Sequence[Labelled], batch_size: int
) -> tuple[FloatArray, np.ndarray[Any, np.dtype[np.int64]]]:
    """Logits (n, labels) and targets (n,), or (n, labels) of several, of every learned answer; in no order."""
    logits, targets = [], []
    with torch.inference_mode():
        for batch in sorted_batches([example.tokens for example in examples], batch_size):
            chosen = [examples[index] for index in batch]
            found = model.read([example.ids for example in chosen])
            wanted = _targets(model.task, chosen, found.device)
            if model.task.name == TOKEN_CLASSIFICATION:
                learned = wanted != NOT_LEARNED
                found, wanted = found[learned], wanted[learned]
            logits.append(found.cpu().numpy())
            targets.append(wanted.cpu().numpy())
    return np.concatenate(logits), np.concatenate(targets)


def _has_many(task: Task) -> bool:
    return task.head is not None and task.head.problem_type == MULTI_LABEL


def _targets(task: Task, examples: Sequence[Labelled], device: torch.device) -> torch.Tensor:
    """(n,) labels; (n, labels) zeros and ones where a text may have several; (n, longest) of tags."""
    if task.name == TOKEN_CLASSIFICATION:
        longest = max(len(example.ids) for example in examples)
        filled = [(*item.targets, *[NOT_LEARNED] * (longest - len(item.targets))) for item in examples]
        return torch.tensor(filled, device=device)
    if _has_many(task):
        return torch.tensor([example.targets for example in examples], device=device)
    return torch.tensor([example.targets[0] for example in examples], device=device)
