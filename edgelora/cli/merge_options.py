"""The options of ``edgelora export`` that say how an adapter is merged.

Knows nothing about how merging is done or measured.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from edgelora.artifact.merge_auto import AutoMerge
from edgelora.artifact.merge_policy import Limits
from edgelora.errors import ConfigError
from edgelora.torch_model.merge_kl import open_merge_kl, read_kl_prompts
from edgelora.values import Checkpoint

MERGE_POLICIES = ("all", "auto")

MergePolicy = Annotated[
    str,
    typer.Option(
        help="all, or auto: measure for each layer whether to merge it, merge it at int8 or keep it factored. With "
        "auto, --budget-mb bounds graph and weights together, and KL is measured on the rows of --calibration if given."
    ),
]
AcceptLossyMerge = Annotated[
    bool, typer.Option("--accept-lossy-merge", help="Merge all, even where rounding loses most of what was trained.")
]
MaxKl = Annotated[
    float | None, typer.Option(help="auto: KL divergence from the factored model, in nats.  [default: 0.05]")
]
BudgetMs = Annotated[float | None, typer.Option(help="auto: milliseconds of a decode step, measured on this machine.")]


def check_merge_options(
    policy: str, merge: Path | None, accept_lossy: bool, max_kl: float | None, budget_ms: float | None
) -> None:
    """Raise ConfigError for options that would be ignored."""
    if policy not in MERGE_POLICIES:
        raise ConfigError(f"--merge-policy is {policy!r}; choose one of {', '.join(MERGE_POLICIES)}")
    if merge is None and (policy == "auto" or accept_lossy):
        raise ConfigError("--merge-policy auto and --accept-lossy-merge say how to --merge ADAPTER_DIR; give that too")
    if policy == "auto" and accept_lossy:
        raise ConfigError("--merge-policy auto loses no more than --max-kl; leave out --accept-lossy-merge")
    if policy != "auto" and (max_kl is not None or budget_ms is not None):
        raise ConfigError("--max-kl and --budget-ms belong to --merge-policy auto; give that too")


def auto_merge(
    checkpoint: Checkpoint,
    rows: Path | None,
    max_kl: float | None,
    budget_mb: float | None,
    budget_ms: float | None,
) -> AutoMerge:
    """The options of ``--merge-policy auto``; ``rows`` are what the KL is measured on, probe prompts without."""
    max_bytes = None if budget_mb is None else int(1e6 * budget_mb)
    limits = Limits(0.05 if max_kl is None else max_kl, max_bytes, budget_ms)
    prompts = None if rows is None else read_kl_prompts(checkpoint, rows)
    return AutoMerge(open_merge_kl, limits, prompts, _merge_bar)


def _merge_bar(layers: Sequence[str]) -> Iterable[str]:
    bar: Iterable[str] = tqdm(layers, desc="merge", unit="layer", file=sys.stderr, disable=None)
    return bar
