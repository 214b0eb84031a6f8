"""Puts a trained adapter in its place: what may be replaced there, and the files beside the factors.

wrapped model, RunState -> an adapter folder
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelora.adapter.card import CARD_FILE, is_card
from edgelora.adapter.page import PAGE_FILE
from edgelora.artifact.changing import check_outside
from edgelora.errors import ConfigError
from edgelora.option import OPTIONS_FILE, write_options
from edgelora.training.card import write_trained_card
from edgelora.training.cut_rank import Truncation, rewrite_truncated
from edgelora.training.history import HISTORY_FILE, history_lines
from edgelora.training.lora import write_peft
from edgelora.training.resume import CHECKPOINT_FOLDER, UNFINISHED, RunState
from edgelora_runtime.adapter import WEIGHTS_FILE
from edgelora_runtime.adapter_config import CONFIG_FILE
from edgelora_runtime.files import is_temporary, replace_folder, restore, write_atomically
from edgelora_runtime.receipt import RECEIPT_FILE, Receipt

_WRITTEN = {WEIGHTS_FILE, CONFIG_FILE, RECEIPT_FILE, PAGE_FILE, CARD_FILE, OPTIONS_FILE, HISTORY_FILE, *UNFINISHED}


def check_out(out: Path, overwrite: bool) -> None:
    """Raise ConfigError when ``out`` holds anything that training must not replace."""
    restore(out)
    check_outside(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"{out} is a file; choose a folder for the adapter")
    names = set(_list_files(out))
    foreign = sorted(names - _WRITTEN | {name for name in names & {CARD_FILE} if not is_card(out / name)})
    if foreign:
        raise ConfigError(f"{out} holds other files ({', '.join(foreign[:3])}); choose another folder")
    if names - UNFINISHED and not overwrite:
        raise ConfigError(f"{out} already holds an adapter; choose another folder or replace it with --overwrite")


def _list_files(out: Path) -> Iterator[str]:
    """What lies in ``out`` and its checkpoint folder, other folders by their names alone."""
    for entry in out.iterdir():
        if entry.name == CHECKPOINT_FOLDER and entry.is_dir() and not entry.is_symlink():
            yield from (f"{entry.name}/{item.name}" for item in entry.iterdir() if not is_temporary(item.name))
        elif not is_temporary(entry.name):
            yield entry.name if entry.is_file() else f"{entry.name}/"


def publish(
    place: Path,
    overwrite: bool,
    wrapped: Any,
    final: RunState,
    truncation: Truncation | None,
    used: Sequence[tuple[str, int]],
    add_receipt: Callable[[Path], Receipt],
    base_name: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write the adapter and put it in the place of what ``place`` holds, its checkpoint included.

    ``used`` has the names of data files and how many of their rows were used, ``base_name`` what a hub knows the base
    by, and ``config`` what repeats the run.
    """

    @contextlib.contextmanager
    def replacing(out: Path) -> Iterator[None]:
        check_out(out, overwrite)
        yield

    with replace_folder(place, replacing) as fresh:
        write_peft(wrapped, final.best_adapter or final.adapter, fresh)
        if truncation is not None:
            rewrite_truncated(fresh, truncation.adapter)
        receipt = add_receipt(fresh)
        write_trained_card(fresh, receipt, used, base_name or receipt.name)
        write_atomically(fresh / HISTORY_FILE, history_lines(final.history))
        if config is not None:
            write_options(fresh / OPTIONS_FILE, config)
