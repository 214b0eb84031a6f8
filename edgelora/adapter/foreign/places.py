"""Puts factors at the places that a base has: other prefixes of names, projections that are fused in one of the two.

Factors by module, Places -> Factors by module
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from edgelora.adapter.foreign.stored import Places, Plain
from edgelora.values import FloatArray
from edgelora_runtime.adapter import Factors

# A fused projection's rows are those of its pieces, one below the other.
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
_LAYER = re.compile(r"(?:^|\.)((?:layers|h)\.\d+\..+)$")
# Containers of the text model alone: a name through any other part may be of a picture's encoder.
_CONTAINERS = frozenset({"", "model", "language_model", "transformer", "text_model", "base_model"})


def place(plain: Plain, places: Places) -> Plain:
    """The same adapter under the names of the base, where its own lead nowhere; what has no place stays as it is."""
    for move in (_renamed, _split, _stacked):
        plain = plain.then(*move(plain.factors, places))
    return plain


def _renamed(factors: Mapping[str, Factors], places: Places) -> tuple[dict[str, Factors], str | None]:
    """``model.language_model.layers.0.x`` is ``model.layers.0.x`` where only the text model has such a module."""
    known = [*places, *(f"{name[: -len(tail)]}{piece}" for name in places for tail, piece in _pieces(name))]
    by_tail: dict[str, list[str]] = {}
    for name in known:
        if tail := _tail(name):
            by_tail.setdefault(tail, []).append(name)
    found = dict.fromkeys(known)
    told, count = {}, 0
    for module, item in factors.items():
        names = by_tail.get(_tail(module) or "", [])
        if module not in found and len(names) == 1 and names[0] not in factors:
            count += 1
            told[names[0]] = item
        else:
            told[module] = item
    return told, f"{count} modules under the names of the base" if count else None


def _tail(module: str) -> str | None:
    found = _LAYER.search(module)
    if found is None or not set(module[: found.start(1)].rstrip(".").split(".")) <= _CONTAINERS:
        return None
    return found[1]


def _pieces(name: str) -> list[tuple[str, str]]:
    """(last part, other last part) of what a module would be called, fused or in pieces."""
    last = name.rsplit(".", 1)[-1]
    whole = [fused for fused, pieces in FUSED.items() if pieces[0] == last]
    return [(last, other) for other in (*FUSED.get(last, ()), *whole)]


def _split(factors: Mapping[str, Factors], places: Places) -> tuple[dict[str, Factors], str | None]:
    """Rows of a fused B for each of the base's projections, which share its A."""
    told, count = {}, 0
    for module, item in factors.items():
        parent, _, last = module.rpartition(".")
        pieces = [f"{parent}.{piece}" for piece in FUSED.get(last, ())]
        rows = [places[piece][0] for piece in pieces if piece in places]
        if module in places or not pieces or len(rows) < len(pieces) or sum(rows) != len(item.b):
            told[module] = item
            continue
        count += 1
        for piece, b in zip(pieces, np.split(item.b, np.cumsum(rows)[:-1]), strict=True):
            told[piece] = Factors(item.a, b, item.scaling)
    return told, f"{count} fused projections split, exactly" if count else None


def _stacked(factors: Mapping[str, Factors], places: Places) -> tuple[dict[str, Factors], str | None]:
    """The pieces of a projection that the base has fused, each with ranks of its own."""
    told = dict(factors)
    count = 0
    for module, (out_features, _) in places.items():
        parent, _, last = module.rpartition(".")
        if last not in FUSED or module in factors:
            continue
        pieces = {piece: told[name] for piece in FUSED[last] if (name := f"{parent}.{piece}") in told}
        starts = {piece: _first_row(piece, len(item.b), out_features) for piece, item in pieces.items()}
        if not pieces or any(starts[piece] + len(item.b) > out_features for piece, item in pieces.items()):
            continue
        count += 1
        for piece in pieces:
            del told[f"{parent}.{piece}"]
        told[module] = _block(pieces, starts, out_features)
    return told, f"{count} projections stacked as the base has them fused, exactly" if count else None


def _first_row(piece: str, rows: int, out_features: int) -> int:
    """Keys and values have as many rows as each other, and stand last; so do gate and up."""
    return {"k_proj": out_features - 2 * rows, "v_proj": out_features - rows, "up_proj": out_features - rows}.get(
        piece, 0
    )


def _block(pieces: Mapping[str, Factors], starts: Mapping[str, int], out_features: int) -> Factors:
    a = np.concatenate([item.a for item in pieces.values()])
    b: FloatArray = np.zeros((out_features, len(a)), np.float32)
    column = 0
    for piece, item in pieces.items():
        rank = len(item.a)
        b[starts[piece] : starts[piece] + len(item.b), column : column + rank] = np.float32(item.scaling) * item.b
        column += rank
    return Factors(a, b, 1.0)
