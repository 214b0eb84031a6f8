"""Finds the library of operators that a graph may be fused with: given, or of the package edgelora-ops.

what ``load`` was given, Manifest -> Path of a library, or nothing to leave it
"""

from __future__ import annotations

import importlib
from pathlib import Path

from edgelora_runtime.errors import InputError
from edgelora_runtime.manifest import Manifest

_PACKAGE = "edgelora_ops"


def find_operators(operator: bool | str | Path | None, manifest: Manifest) -> Path | None:
    """The library for a fused graph. None takes the package where it is installed and there is such a graph.

    Raises InputError where a library was asked for and there is none, or no graph for it.
    """
    if operator is False:
        return None
    is_optional = operator is None
    if is_optional and manifest.graph.fused is None:
        return None
    library = _installed(is_optional) if is_optional or operator is True else Path(str(operator))
    if library is not None and not library.is_file():
        raise InputError(f"{library} is not a file; give operator=PATH of libedgelora_ops, or operator=False")
    if manifest.graph.fused is None:
        raise InputError(
            f"{manifest.model.name} has no fused graph (target {manifest.target!r}); export it again for cpu, mobile "
            "or embedded, or load with operator=False"
        )
    return library


def _installed(is_optional: bool) -> Path | None:
    try:
        package = importlib.import_module(_PACKAGE)
    except ImportError as error:
        if is_optional:
            return None
        raise InputError("edgelora-ops is not installed; run `pip install edgelora-ops`, or give its path") from error
    return Path(str(package.library_path()))
