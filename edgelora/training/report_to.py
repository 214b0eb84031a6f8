"""Shows the steps of a run in TensorBoard or Weights & Biases while it goes, through their own libraries.

StepRecord -> what another library shows

``history.jsonl`` has the same figures whatever is chosen here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgelora.errors import ConfigError
from edgelora.training.history import StepRecord, fields_of
from edgelora_runtime.parse_json import one_line

REPORTERS = ("tensorboard", "wandb")
_LOGS = Path("runs")  # where `tensorboard --logdir runs` looks


def check_reporter(name: str | None) -> None:
    """Raise ConfigError for a reporter that is unknown or not installed; before any work."""
    if name is None:
        return
    if name not in REPORTERS:
        raise ConfigError(f"--report-to is {name}, expected {' or '.join(REPORTERS)}")
    if find_spec(name) is None:
        raise ConfigError(f"--report-to {name} needs the package {name}; run `pip install {name}`")


@contextlib.contextmanager
def reporting(
    name: str | None, run: str, config: Mapping[str, Any], earlier: Sequence[StepRecord]
) -> Iterator[Callable[[StepRecord], None]]:
    """Give a function that shows a step of ``run``; steps before a resume are shown first, so that a curve is whole."""
    with _open(name, run, config) as add:
        for step in earlier:
            add(step)
        yield add


@contextlib.contextmanager
def _open(name: str | None, run: str, config: Mapping[str, Any]) -> Iterator[Callable[[StepRecord], None]]:
    if name is None:
        yield lambda _: None
    elif name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(_LOGS / run), purge_step=1) as writer:

            def add(step: StepRecord) -> None:
                for field, value in fields_of(step).items():
                    if field != "step":
                        writer.add_scalar(field, value, step.step)

            yield add
    else:
        import wandb

        try:
            board = wandb.init(project="edgelora", name=run, config=dict(config))
        except wandb.Error as error:
            raise ConfigError(
                f"--report-to wandb cannot begin a run ({one_line(error, named=False)}); run `wandb login`, or set "
                "WANDB_MODE=offline"
            ) from error
        with board:
            yield lambda step: board.log(fields_of(step), step=step.step)
