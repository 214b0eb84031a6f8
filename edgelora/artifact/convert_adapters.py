"""The adapters of an export, or for an artifact, as plain LoRA for their base, whatever kind they came as.

ExportOptions, Checkpoint -> ExportOptions
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from edgelora.adapter.dora import GridWeights, is_dora
from edgelora.adapter.foreign.whole import needs_merge
from edgelora.adapter.make_plain import PlainFolder, base_of_artifact, base_of_checkpoint, plain_folder
from edgelora.artifact.exporter import find_exporter
from edgelora.artifact.options import ExportOptions
from edgelora.errors import AdapterError
from edgelora.progress import Progress
from edgelora.values import Checkpoint, FloatArray
from edgelora_runtime.adapter import no_place_for_gains
from edgelora_runtime.adapter_config import base_of, read_fields
from edgelora_runtime.base_name import find_other_name
from edgelora_runtime.files import restore
from edgelora_runtime.manifest import read_manifest
from edgelora_runtime.receipt import RECEIPT_FILE


@contextlib.contextmanager
def plain_adapters(options: ExportOptions, checkpoint: Checkpoint, progress: Progress) -> Iterator[ExportOptions]:
    """The same options with folders that slots and merges can use, for as long as the block runs.

    Raises AdapterError for an adapter that no conversion makes plain without a loss.
    """
    if not options.adapters and options.merge is None:
        yield options
        return
    base = base_of_checkpoint(checkpoint)
    with contextlib.ExitStack() as stack:

        def plain(name: str, folder: Path) -> Path:
            found = stack.enter_context(plain_folder(folder, base))
            for step in found.steps:
                progress.say(f"{name}: {step}")
            return found.path

        merge = options.merge
        if merge is not None and not needs_merge(merge):
            merge = plain("--merge", merge)
        if merge is not None and (note := _base_note(merge, checkpoint, options)):
            progress.say(f"--merge: {note}")
        # DoRA follows from the values that ship: it is converted for the artifact that is made.
        adapters = {
            name: folder if is_dora(folder) else plain(name, folder) for name, folder in options.adapters.items()
        }
        yield dataclasses.replace(options, adapters=adapters, merge=merge)


def _base_note(folder: Path, checkpoint: Checkpoint, options: ExportOptions) -> str | None:
    """What adapters in slots are told when they are opened: a merge has no receipt to hold to afterwards."""
    if (folder / RECEIPT_FILE).is_file():
        return None
    return find_other_name(base_of(read_fields(folder)), (checkpoint.name, options.source), "this export is of")


@contextlib.contextmanager
def plain_for_all(artifact: Path, adapters: Mapping[str, Path]) -> Iterator[Mapping[str, Path]]:
    """The same for several, by name."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(plain_for(artifact, folder)).path for name, folder in adapters.items()}


@contextlib.contextmanager
def plain_for(artifact: Path, folder: Path) -> Iterator[PlainFolder]:
    """A folder that the slots of ``artifact`` can use, for as long as the block runs; raises as ``plain_adapters``."""
    restore(artifact)
    manifest = read_manifest(artifact)
    if manifest.slots and is_dora(folder) and all(slot.gain is None for slot in manifest.slots):
        raise AdapterError(no_place_for_gains(str(folder)))
    with plain_folder(folder, base_of_artifact(manifest), weights_of(artifact)) as plain:
        yield plain


def weights_of(artifact: Path) -> GridWeights:
    """What the linears of an artifact multiply with, which are read when somebody asks for them."""
    manifest = read_manifest(artifact)

    def read(modules: Collection[str]) -> Iterator[tuple[str, FloatArray]]:
        return find_exporter().slot_weights(artifact / manifest.graph.file, manifest.slots, modules)

    return GridWeights(manifest.base.grid, read)
