"""Turns an adapter of one kind into another: folders of PEFT, GGUF files of llama.cpp.

folder or file, its base -> folder or file
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgelora.adapter.dora import GridWeights, convert_dora, is_dora, read_dora
from edgelora.adapter.foreign.stored import Base
from edgelora.adapter.make_plain import (
    GGUF_SUFFIX,
    Conversion,
    base_of_artifact,
    base_of_checkpoint,
    is_foreign,
    is_gguf,
    make_plain,
    write_record,
)
from edgelora.adapter.narrow import check_store, narrow
from edgelora.adapter.plain import PlainAdapter, read_plain, write_plain
from edgelora.adapter.smallest import smallest
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import CheckpointError, ConfigError
from edgelora.values import Checkpoint
from edgelora_runtime.adapter_config import base_of
from edgelora_runtime.files import replace_folder
from edgelora_runtime.manifest import MANIFEST_FILE, read_manifest
from edgelora_runtime.parse_json import show
from edgelora_runtime.receipt import RECEIPT_FILE


@dataclass(frozen=True)
class Converted:
    """What was written; ``notes`` tell what changed on the way, a line each."""

    path: Path
    modules: int
    rank: int  # the largest
    notes: tuple[str, ...]
    relative_error: float = 0.0  # of the module's delta that a lower rank cost most


def convert(
    source: Path,
    out: Path,
    base: str | None = None,
    store: str | None = None,
    *,
    initial: Path | None = None,
    rank: int | None = None,
    weights_of: Callable[[Path], GridWeights] | None = None,
) -> Converted:
    """Write the adapter at ``source`` to ``out``, as a GGUF file where that ends in ``.gguf``, else as a PEFT folder.

    ``base`` is the model that it adapts, by default the one that its configuration names; GGUF files need it, and so do
    kinds whose factors follow from its weights or widths, for which an artifact may do. DoRA needs an artifact, and
    ``weights_of`` to read it. ``initial`` is the adapter before its training. ``rank`` cuts every module, else nothing
    is lost. With ``store`` the factors are rounded as ``adapter add --store`` does, else they stay as they are. Raises
    ConfigError where ``out`` exists or the base is needed, and what reading either raises.
    """
    if store is not None:
        check_store(store)
    if out.exists():
        raise ConfigError(f"{out} exists; choose another path")
    if is_dora(source):
        if out.suffix == GGUF_SUFFIX or initial is not None or rank is not None:
            raise ConfigError(
                f"{source} is DoRA, which a GGUF file, --rank and --initial have no place for; leave it out"
            )
        conversion = _read_dora(source, base, weights_of)
    else:
        conversion = _read(source, base, initial, rank)
    plain = conversion.plain
    if store is not None:
        plain = _rounded(plain, store)
    notes = plain.notes
    if (source / RECEIPT_FILE).is_file():
        notes += (f"{RECEIPT_FILE} stays behind: it tells of {source}; `edgelora adapter receipt` measures a new one",)
    if out.suffix == GGUF_SUFFIX:
        from edgelora.adapter.gguf_file import write_gguf_adapter  # the gguf package is only needed here

        notes += write_gguf_adapter(out, plain, _open_base(base, plain, source))
    else:
        with replace_folder(out) as fresh:
            write_plain(fresh, plain)
            if conversion.plain.notes:
                write_record(fresh, conversion)
    return Converted(out, len(plain.adapter.factors), plain.adapter.rank, notes, conversion.error)


def _read(source: Path, base: str | None, initial: Path | None, rank: int | None) -> Conversion:
    if is_gguf(source):
        from edgelora.adapter.gguf_file import read_gguf_adapter

        if initial is not None or rank is not None:
            raise ConfigError("--initial and --rank are for folders; convert the GGUF file to one first")
        return Conversion(read_gguf_adapter(source, _find_base(base)))
    known = _find_base(base)
    if initial is None and rank is None and not is_foreign(source, known.places):
        return Conversion(read_plain(source))
    return make_plain(source, known, initial, rank)


def _read_dora(source: Path, base: str | None, weights_of: Callable[[Path], GridWeights] | None) -> Conversion:
    """DoRA for the grid of an artifact, the one base whose values are those that ship."""
    if weights_of is None or base is None or not (Path(base) / MANIFEST_FILE).is_file():
        raise ConfigError(
            f"{source} is DoRA, which follows from the values that ship; give the artifact that it is for with --base, "
            "or the folder itself to `edgelora adapter add`, which converts it"
        )
    places = base_of_artifact(read_manifest(Path(base))).places
    return Conversion(convert_dora(read_dora(source, places), weights_of(Path(base))))


def _find_base(base: str | None) -> Base:
    """What is known of a model, or of the slots of an artifact."""
    if base is None:
        return Base()
    if (Path(base) / MANIFEST_FILE).is_file():
        return base_of_artifact(read_manifest(Path(base)))
    return base_of_checkpoint(open_checkpoint(base))


def _open_base(base: str | None, plain: PlainAdapter, source: Path) -> Checkpoint:
    if base is not None:
        return open_checkpoint(base)
    named = base_of(plain.config)
    if named is None:
        raise ConfigError(
            f"{source} does not name its base, whose layers a GGUF file is laid out for; give --base MODEL"
        )
    try:
        return open_checkpoint(named)
    except CheckpointError as error:
        told = f"{source} names its base {show(named)}, which cannot be opened; give --base MODEL"
        raise ConfigError(f"{told} ({error})") from error


def _rounded(plain: PlainAdapter, store: str) -> PlainAdapter:
    """The factors rounded, each as float16 where that holds every number of it."""
    whole = dataclasses.replace(plain, adapter=narrow(plain.adapter, store), halves=frozenset())
    narrow_ones = {name: smallest(value) for name, value in whole.factors().items() if not name.endswith(".lora_gain")}
    halves = {name for name, value in narrow_ones.items() if value.dtype.itemsize == 2}
    return dataclasses.replace(whole, halves=frozenset(halves) if store != "float32" else plain.halves)
