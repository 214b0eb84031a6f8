"""An unfinished run on disk: everything that the rest of it depends on, in one file that is replaced atomically.

Knows nothing about how steps are taken. Batches, learning rate and first factors are functions of seed and step, and
nothing is dropped out, so a run draws no random number that would have to be saved.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgelora.errors import ConfigError
from edgelora_runtime.files import write_atomically

CHECKPOINT_FOLDER = ".checkpoint"
STATE_FILE = "state.pt"

_DAMAGED = (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class RunState:
    """A run after ``step`` steps."""

    step: int
    adapter: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    losses: list[float]  # of every step so far, nats per completion token
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
    content = io.BytesIO()  # into a file torch would turn a full disk into an error of its own
    torch.save({"identity": identity, "date": date, **fields}, content)
    try:
        write_atomically(folder / STATE_FILE, lambda stream: stream.write(content.getbuffer()))
    except BaseException:
        for place in made:
            place.rmdir()
        raise


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
        state = RunState(**data)
    except _DAMAGED as error:
        raise ConfigError(f"{path} is damaged; leave --resume out to train from the start") from error
    if found != identity:
        raise ConfigError(
            f"{path} belongs to a run with another base, other data or other options; "
            "repeat its command with --resume, or leave --resume out to train from the start"
        )
    return state
