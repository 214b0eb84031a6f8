"""An unfinished run on disk: everything that the rest of it depends on, in one file that is replaced atomically.

RunState -> a file, and back

Batches, learning rate, first factors and what is dropped out are functions of seed and step, so a run draws no random
number that would have to be saved.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgelora.errors import ConfigError
from edgelora.training.history import HISTORY_FILE, StepRecord, history_lines
from edgelora_runtime.files import naming, write_atomically

CHECKPOINT_FOLDER = ".checkpoint"
STATE_FILE = "state.pt"
UNFINISHED = {f"{CHECKPOINT_FOLDER}/{name}" for name in (STATE_FILE, HISTORY_FILE)}

_DAMAGED = (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class RunState:
    """A run after ``step`` steps."""

    step: int
    adapter: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    history: list[StepRecord]  # of every step so far
    best_loss: float | None  # lowest evaluation loss so far
    best_adapter: dict[str, torch.Tensor] | None
    tokens: int  # seen so far
    seconds: float  # spent so far


def save_state(out: Path, state: RunState, identity: str, date: str | None) -> None:
    """Replace the checkpoint of the run that writes to ``out``; a kill at any moment leaves the old or the new one."""
    folder = out / CHECKPOINT_FOLDER
    made = [place for place in (folder, out) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    fields = {item.name: getattr(state, item.name) for item in dataclasses.fields(state)}
    fields["history"] = [dataclasses.asdict(step) for step in state.history]
    content = io.BytesIO()  # into a file torch would turn a full disk into an error of its own
    torch.save({"identity": identity, "date": date, **fields}, content)
    try:
        write_atomically(folder / STATE_FILE, lambda stream: stream.write(content.getbuffer()))
    except BaseException:
        for place in made:
            place.rmdir()
        raise


@contextlib.contextmanager
def show_history(out: Path, earlier: Sequence[StepRecord]) -> Iterator[Callable[[StepRecord], None]]:
    """Give a function that adds a step to the history beside the checkpoint, where it can be read as training goes.

    It begins with the steps before the checkpoint that the run goes on from. The file is for readers alone: a resumed
    run takes its history from the checkpoint, and without one nothing is left behind.
    """
    folder = out / CHECKPOINT_FOLDER
    path = folder / HISTORY_FILE
    made = [place for place in (folder, out) if not place.exists()]

    def add(step: StepRecord) -> None:
        with naming(path), path.open("a", encoding="utf-8") as stream:
            stream.write(history_lines([step]))

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, history_lines(earlier))
        yield add
    finally:
        if not (folder / STATE_FILE).exists():
            path.unlink(missing_ok=True)
            for place in made:
                with contextlib.suppress(OSError):
                    place.rmdir()


def load_date(out: Path) -> str | None:
    """The day with which the unfinished run in ``out`` renders; None where there is none, or it cannot be read."""
    try:
        data = torch.load(out / CHECKPOINT_FOLDER / STATE_FILE, map_location="cpu", weights_only=True)
        found = data["date"]
    except (*_DAMAGED, OSError):  # load_state says what is wrong with the file
        return None
    return found if isinstance(found, str) else None


def load_state(out: Path, identity: str) -> RunState | None:
    """The checkpoint in ``out``, None where there is none.

    ``identity`` says what the run is made of; raises ConfigError when the checkpoint is of another run or damaged.
    """
    path = out / CHECKPOINT_FOLDER / STATE_FILE
    if not path.is_file():
        return None
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        found = data.pop("identity")
        data.pop("date")
        data["history"] = [StepRecord(**step) for step in data["history"]]
        state = RunState(**data)
    except _DAMAGED as error:
        raise ConfigError(f"{path} is damaged; leave --resume out to train from the start") from error
    if found != identity:
        raise ConfigError(
            f"{path} belongs to a run with another base, other data or other options; "
            "repeat its command with --resume, or leave --resume out to train from the start"
        )
    return state
