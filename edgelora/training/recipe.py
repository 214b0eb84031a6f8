"""What decides the adapter of one training run, filled in and checked before anything heavy starts.

choices of one training run -> Recipe
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgelora.errors import ConfigError
from edgelora_runtime.errors import InputError
from edgelora_runtime.rendering import parse_date

ALL_LINEAR = "all-linear"
SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("float32", "bfloat16")
INITS = ("zero", "residual")
CLASS_WEIGHTS = ("none", "balanced")
AUTO_RANK = 32  # what `--rank auto` trains with before it truncates


@dataclass(frozen=True)
class Recipe:
    """What decides the final adapter, together with the base and the rows; raises ConfigError listing what is wrong."""

    rank: int = 8
    alpha: float = 16.0
    target_modules: tuple[str, ...] = (ALL_LINEAR,)  # names of linears in the decoder layers
    epochs: int = 1
    max_steps: int | None = None  # wins over epochs
    batch_size: int = 8
    accumulate: int = 1  # batches summed into one step
    learning_rate: float = 1e-3
    head_learning_rate: float | None = None  # of what learns beside the factors; None is ten times the other
    schedule: str = "cosine"
    warmup: int = 5  # steps
    dropout: float = 0.0  # share of values left out at random while a step is taken
    max_length: int = 512  # tokens; longer rows are left out
    seed: int = 0
    precision: str = "float32"
    raw: bool = False  # prompts without the chat template
    init: str = "zero"  # B starts at zero, or A and B at what rounding took away
    share_a: bool = False  # linears that read the same input have one A
    template_variables: Mapping[str, Any] = field(default_factory=dict)  # for the chat template
    date: str | None = None  # YYYY-MM-DD that the chat template writes; None is the day on which the run began
    class_weights: str = "none"  # how much the rows of a label count: all the same, or labels the same
    activated: bool = False  # it acts from its invocation in a prompt on
    invocation: str | None = None  # the text of that; None is what the chat template opens an answer with
    rank_auto_energy: float | None = None  # share of the squared singular values that truncation keeps at the end

    def __post_init__(self) -> None:
        wrong = [
            f"--{name.replace('_', '-')} is {getattr(self, name)}, expected at least {least}"
            for name, least in _LEAST.items()
            if getattr(self, name) is not None and getattr(self, name) < least
        ]
        wrong += [
            f"--{name.replace('_', '-')} is {getattr(self, name)}, expected a number above 0"
            for name in ("alpha", "learning_rate", "head_learning_rate")
            if (value := getattr(self, name)) is not None and not (value > 0 and math.isfinite(value))
        ]
        wrong += [
            f"--{name.replace('_', '-')} is {getattr(self, name)!r}, expected one of {', '.join(known)}"
            for name, known in (
                ("schedule", SCHEDULES),
                ("precision", PRECISIONS),
                ("init", INITS),
                ("class_weights", CLASS_WEIGHTS),
            )
            if getattr(self, name) not in known
        ]
        if self.rank_auto_energy is not None and not 0 < self.rank_auto_energy <= 1:
            wrong.append(f"--rank-energy is {self.rank_auto_energy}, expected a share above 0 and at most 1")
        if not 0 <= self.dropout < 1:
            wrong.append(f"--dropout is {self.dropout}, expected a share from 0 to below 1")
        if self.share_a and (self.init == "residual" or self.rank_auto_energy is not None):
            other = "--rank auto" if self.init == "zero" else "--init residual"
            wrong.append(
                f"--share-a and {other} exclude each other, since that gives each linear its own A; leave one out"
            )
        if self.invocation is not None and not self.activated:
            wrong.append("--invocation is where an activated adapter begins to act; give --activated as well")
        if self.raw and (self.template_variables or self.date is not None):
            wrong.append("--template-var and --date are for the chat template, which --raw leaves out; leave one out")
        try:
            parse_date(self.date)
        except InputError as error:
            wrong.append(f"--{error}")
        if not self.target_modules:
            wrong.append(f"--target-modules is empty, expected {ALL_LINEAR} or names such as q_proj")
        if wrong:
            raise ConfigError("; ".join(wrong))

    @property
    def head_ratio(self) -> float:
        """The learning rate of a head over that of the factors, at every step."""
        own = self.head_learning_rate
        return _HEAD_RATIO if own is None else own / self.learning_rate

    def record(self) -> Mapping[str, Any]:
        """The options as plain JSON values, for the receipt and for comparing a run with its checkpoint."""
        return {
            **dataclasses.asdict(self),
            "target_modules": list(self.target_modules),
            "template_variables": dict(self.template_variables),
        }


# Factors start from a base that knows the language, a head from nothing: at one rate it stays behind.
_HEAD_RATIO = 10.0
_LEAST = {
    "rank": 1, "epochs": 1, "max_steps": 1, "batch_size": 1, "accumulate": 1, "warmup": 0, "max_length": 2, "seed": 0,
}  # fmt: skip


def learning_rate_at(options: Recipe, step: int, total: int) -> float:
    """Learning rate of ``step`` (from 0) out of ``total``: a linear warmup, then the schedule down towards 0."""
    if step < options.warmup:
        return options.learning_rate * (step + 1) / (options.warmup + 1)
    done = (step - options.warmup) / max(1, total - options.warmup)
    if options.schedule == "cosine":
        return options.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if options.schedule == "linear":
        return options.learning_rate * (1 - done)
    return options.learning_rate
