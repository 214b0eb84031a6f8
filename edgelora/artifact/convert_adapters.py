"""The adapters of an export, or for an artifact, as plain LoRA for their base, whatever kind they came as.

ExportOptions, Checkpoint -> ExportOptions
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from edgelora.adapter.foreign.whole import needs_merge
from edgelora.adapter.make_plain import PlainFolder, base_of_artifact, base_of_checkpoint, plain_folder
from edgelora.artifact.options import ExportOptions
from edgelora.progress import Progress
from edgelora.values import Checkpoint
from edgelora_runtime.files import restore
from edgelora_runtime.manifest import read_manifest


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
        adapters = {name: plain(name, folder) for name, folder in options.adapters.items()}
        yield dataclasses.replace(options, adapters=adapters, merge=merge)


@contextlib.contextmanager
def plain_for(artifact: Path, folder: Path) -> Iterator[PlainFolder]:
    """A folder that the slots of ``artifact`` can use, for as long as the block runs; raises as ``plain_adapters``."""
    restore(artifact)
    with plain_folder(folder, base_of_artifact(read_manifest(artifact))) as plain:
        yield plain
