"""``python -m benchmarks.encoder_torch``: one training of an encoder in plain torch, the yardstick of the other arms.

rows -> figures of the held-out rows, as a line of JSON

``full`` trains every weight, ``probe`` a linear layer on the frozen encoder. Nothing of EdgeLoRA is in the way.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from edgelora.evaluation.metrics import accuracy, entity_f1, macro_f1, spans_of, token_f1
from edgelora.evaluation.score_encoder import tags_of
from edgelora.training.recipe import Recipe

FULL, PROBE = "full", "probe"
_IGNORED = -100  # of the loss of torch: padding, and tokens that go on with a word
_GROUP = 16  # batches whose rows are sorted by length together
_EVAL_BATCH = 32
_HEAD = Recipe().head_ratio  # its learning rate over the others'
_WARMUP = 0.1  # of the steps
_PROBE_STEPS = 300  # of L-BFGS
_PROBE_DECAY = 1e-5


@dataclass(frozen=True)
class Item:
    """One row: token ids, and the number of its label for the row or for each token."""

    ids: Sequence[int]
    target: int | Sequence[int]


@dataclass(frozen=True)
class Settings:
    """How long and how fast."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


def main() -> None:
    """Print what one arm gives on one set."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoder_torch", description=main.__doc__)
    parser.add_argument("arm", choices=(FULL, PROBE))
    parser.add_argument("model")
    parser.add_argument("train", type=Path)
    parser.add_argument("heldout", type=Path)
    parser.add_argument("--max-length", type=int, default=128, help="tokens of a row that are read")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rows, held_out = _read(options.train), _read(options.heldout)
    names = label_names(rows)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    train = [encode(row, tokenizer, names, options.max_length) for row in rows]
    asked = [encode(row, tokenizer, names, options.max_length) for row in held_out]
    settings = Settings(options.epochs, options.batch_size, options.learning_rate, options.seed)
    started = time.process_time()
    made = fine_tune if options.arm == FULL else probe
    answer, trained = made(options.model, train, len(names), settings)
    minutes = (time.process_time() - started) / 60
    found = [[names[number] for number in numbers] for numbers in answer(asked)]
    expected = [[names[number] for number in _targets(item) if number != _IGNORED] for item in asked]
    scores = score(expected, found, is_tagging="tags" in rows[0])
    print(json.dumps({"cpu_minutes": minutes, "trained": trained, "scores": scores}))


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def score(expected: Sequence[Sequence[str]], found: Sequence[Sequence[str]], is_tagging: bool) -> dict[str, float]:
    """The figures of ``edgelora eval``: of the labels of texts, or of the tags of words."""
    if is_tagging:
        truth, told = ([tags_of(spans_of(row), len(row)) for row in rows] for rows in (expected, found))
        return {"token_f1": token_f1(truth, told), "entity_f1": entity_f1(truth, told)}
    flat = [row[0] for row in expected], [row[0] for row in found]
    return {"accuracy": accuracy(*flat), "macro_f1": macro_f1(*flat)}


def label_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Every label of the rows, in one order."""
    return sorted({name for row in rows for name in (row["tags"] if "tags" in row else [row["label"]])})


def encode(row: dict[str, Any], tokenizer: Any, names: Sequence[str], max_length: int) -> Item:
    """Token ids of a text and its label, or of words, of which the first token has the tag."""
    if "label" in row:
        return Item(
            tokenizer(row["text"], truncation=True, max_length=max_length)["input_ids"], names.index(row["label"])
        )
    found = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=max_length)
    words = found.word_ids()
    begins = [word is not None and (index == 0 or words[index - 1] != word) for index, word in enumerate(words)]
    tags = [names.index(row["tags"][word]) if begin else _IGNORED for word, begin in zip(words, begins, strict=True)]
    return Item(found["input_ids"], tags)


def _targets(item: Item) -> Sequence[int]:
    return [item.target] if isinstance(item.target, int) else item.target


def pad(items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids and mask (rows, tokens), and targets (rows,) or (rows, tokens)."""
    length = max(len(item.ids) for item in items)

    def filled(row: Sequence[int], value: int) -> list[int]:
        return [*row, *[value] * (length - len(row))]

    ids = torch.tensor([filled(item.ids, 0) for item in items])
    mask = torch.tensor([filled([1] * len(item.ids), 0) for item in items])
    targets = [item.target if isinstance(item.target, int) else filled(item.target, _IGNORED) for item in items]
    return ids, mask, torch.tensor(targets)


def batches(items: Sequence[Item], size: int, chooser: random.Random) -> Iterator[list[Item]]:
    """Every item once, rows of like length together, in random order."""
    order = chooser.sample(items, len(items))
    made: list[list[Item]] = []
    for first in range(0, len(order), size * _GROUP):
        near = sorted(order[first : first + size * _GROUP], key=lambda item: len(item.ids))
        made += [near[index : index + size] for index in range(0, len(near), size)]
    yield from chooser.sample(made, len(made))


def fine_tune(model_path: str, train: Sequence[Item], count: int, settings: Settings) -> tuple[Any, int]:
    """Train every weight with AdamW; gives what answers items with label numbers, and the number of weights."""
    kind = AutoModelForSequenceClassification if isinstance(train[0].target, int) else AutoModelForTokenClassification
    model = kind.from_pretrained(model_path, num_labels=count)
    weights = list(model.parameters())
    head = list(model.classifier.parameters())
    encoder = [weight for weight in weights if all(weight is not item for item in head)]
    groups: list[dict[str, Any]] = [{"params": encoder}, {"params": head, "lr": _HEAD * settings.learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=0.01, fused=True)
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    warm = max(1, round(_WARMUP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    chooser = random.Random(settings.seed)
    model.train()
    for _ in range(settings.epochs):
        for batch in batches(train, settings.batch_size, chooser):
            ids, mask, targets = pad(batch)
            logits = model(input_ids=ids, attention_mask=mask).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=_IGNORED)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
    model.eval()
    answer = _answerer(lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits)
    return answer, sum(weight.numel() for weight in weights)


def probe(model_path: str, train: Sequence[Item], count: int, settings: Settings) -> tuple[Any, int]:
    """Logistic regression on the mean of a text's last hidden states, or on each word's; the encoder stays as it is."""
    model = AutoModel.from_pretrained(model_path).eval()
    mean = isinstance(train[0].target, int)

    def features(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) if mean else hidden

    inputs, targets = [], []
    with torch.inference_mode():
        for first in range(0, len(train), _EVAL_BATCH):
            ids, mask, wanted = pad(train[first : first + _EVAL_BATCH])
            kept = wanted.flatten() != _IGNORED
            inputs.append(features(ids, mask).flatten(0, -2)[kept])
            targets.append(wanted.flatten()[kept])
    x, y = torch.cat(inputs).clone(), torch.cat(targets).clone()
    center, spread = x.mean(0), x.std(0) + 1e-6
    layer = torch.nn.Linear(x.shape[1], count)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=_PROBE_STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(layer((x - center) / spread), y)
        loss = loss + _PROBE_DECAY * layer.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    answer = _answerer(lambda ids, mask: layer((features(ids, mask) - center) / spread))
    return answer, sum(weight.numel() for weight in layer.parameters())


def _answerer(logits_of: Any) -> Any:
    """A function of items that gives the label numbers of each, in order; rows of like length run together."""

    def answer(items: Sequence[Item]) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in items]
        order = sorted(range(len(items)), key=lambda index: len(items[index].ids))
        with torch.inference_mode():
            for first in range(0, len(order), _EVAL_BATCH):
                some = order[first : first + _EVAL_BATCH]
                ids, mask, _ = pad([items[index] for index in some])
                best = logits_of(ids, mask).argmax(-1)
                for index, row in zip(some, best, strict=True):
                    numbers = [row] if row.ndim == 0 else list(row)
                    kept = zip(numbers, _targets(items[index]), strict=False)
                    found[index] = [int(number) for number, target in kept if target != _IGNORED]
        return found

    return answer


if __name__ == "__main__":
    main()
