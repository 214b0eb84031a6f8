"""The choices of ``adapter merge``, checked before anything is read.

choices of one merge -> MergeOptions, FitOptions, Method
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edgelora.adapter.task_vectors import SIGN_METHODS
from edgelora.errors import ConfigError
from edgelora.option import Option

FACTORS, DELTAS, RANKS, SHARED, CORE = "factors", "deltas", "ranks", "shared", "core"
_LARGEST_RANK = 65536
_LARGEST_SEED = (1 << 63) - 1


@dataclass(frozen=True)
class Method:
    """What is added up: A to A and B to B (factors), whole products (deltas), ranks behind ranks, what the products are
    in a basis of outputs that they share, or between two such bases (core); how it is pruned before, whether signs are
    held an election over, and whether directions of one adapter are turned away from those of the others.
    """

    space: str
    prunes: bool = False
    draws: bool = False  # prunes by chance
    elects: bool = False
    parts: bool = False  # directions

    @property
    def may_be_alone(self) -> bool:
        """Whether it means something for one adapter; PEFT takes linear there, whatever it is asked for."""
        return not self.prunes


METHODS = {
    "linear": Method(FACTORS),
    "cat": Method(RANKS),
    "svd": Method(DELTAS),
    "ties": Method(FACTORS, prunes=True, elects=True),
    "ties_svd": Method(DELTAS, prunes=True, elects=True),
    "dare_linear": Method(FACTORS, prunes=True, draws=True),
    "dare_linear_svd": Method(DELTAS, prunes=True, draws=True),
    "dare_ties": Method(FACTORS, prunes=True, draws=True, elects=True),
    "dare_ties_svd": Method(DELTAS, prunes=True, draws=True, elects=True),
    "magnitude_prune": Method(FACTORS, prunes=True),
    "magnitude_prune_svd": Method(DELTAS, prunes=True),
    "knots_ties": Method(SHARED, prunes=True, elects=True),
    "magnitude_prune_core": Method(CORE, prunes=True),
    "dare_linear_core": Method(CORE, prunes=True, draws=True),
    "ties_core": Method(CORE, prunes=True, elects=True),
    "dare_ties_core": Method(CORE, prunes=True, draws=True, elects=True),
    "tsv_core": Method(CORE, parts=True),
}
EXACT = ("cat", "svd")  # of the weighted sum; svd up to the rank that it is cut to


@dataclass(frozen=True)
class MergeOptions:
    """How adapters become one; raises ConfigError for what cannot be, or would change nothing."""

    method: Annotated[
        str,
        Option(
            f"{', '.join(METHODS)}. cat is the exact sum, at the sum of the ranks; svd is the nearest adapter to it.",
            metavar="METHOD",
        ),
    ] = "svd"
    density: Annotated[
        float | None, Option("Share of the numbers that pruning leaves, above 0 and at most 1, as 0.5.")
    ] = None
    seed: Annotated[int | None, Option("Of what dare_* methods draw.  [default: 0]")] = None
    rank: Annotated[
        int | None,
        Option("Rank of the result, for svd, *_svd, knots_ties and *_core.  [default: the largest of the adapters]"),
    ] = None
    majority_sign_method: Annotated[
        str | None,
        Option(
            "How ties methods elect a sign: total counts by size, frequency by number.  [default: total]",
            metavar="|".join(SIGN_METHODS),
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"--method is {self.method!r}; choose one of {', '.join(METHODS)}")
        rule = METHODS[self.method]
        if rule.prunes and self.density is None:
            raise ConfigError(f"--method {self.method} prunes; say how much is left with --density, such as 0.5")
        if self.density is not None and not 0 < self.density <= 1:
            raise ConfigError(f"--density is {self.density:g}, expected a share above 0 and at most 1")
        if self.rank is not None and not 1 <= self.rank <= _LARGEST_RANK:
            raise ConfigError(f"--rank is {self.rank}, expected a whole number from 1 to {_LARGEST_RANK}")
        if self.seed is not None and not 0 <= self.seed <= _LARGEST_SEED:
            raise ConfigError(f"--seed is {self.seed}, expected a whole number from 0")
        if self.majority_sign_method not in (None, *SIGN_METHODS):
            raise ConfigError(
                f"--majority-sign-method is {self.majority_sign_method!r}; choose {' or '.join(SIGN_METHODS)}"
            )
        idle = [
            name
            for name, value, has_say in (
                ("--density", self.density, rule.prunes),
                ("--seed", self.seed, rule.draws),
                ("--rank", self.rank, rule.space in (DELTAS, SHARED, CORE)),
                ("--majority-sign-method", self.majority_sign_method, rule.elects),
            )
            if value is not None and not has_say
        ]
        if idle:
            raise ConfigError(f"{' and '.join(idle)} would change nothing with --method {self.method}; leave it out")

    @property
    def rule(self) -> Method:
        """What the method does."""
        return METHODS[self.method]


@dataclass(frozen=True)
class FitOptions:
    """Rows on which the weights of a merge are found layer by layer, and the base model that reads them."""

    rows: Path
    base: str  # a Hugging Face folder, a hub id or a GGUF file
    steps: int = 20  # of gradient descent over all rows
    limit: int = 64  # the first rows alone
    quant: str | None = None  # None is as the receipt of the first adapter says

    def __post_init__(self) -> None:
        for option, value in (("--fit-steps", self.steps), ("--fit-limit", self.limit)):
            if value < 1:
                raise ConfigError(f"{option} is {value}, expected at least 1")


def check_fit(options: MergeOptions) -> None:
    """Raise ConfigError for a method that does not ship the sum whose weights a fit finds."""
    if options.method not in EXACT:
        raise ConfigError(
            f"--fit finds the weights of a sum, and --method {options.method} makes another of them; "
            f"give --method {' or '.join(EXACT)}"
        )
