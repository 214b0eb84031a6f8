"""Finds out what kind of adapter a folder is, and reads it as plain factors.

folder, Base -> Plain
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgelora.adapter.foreign.adalora import read_adalora
from edgelora.adapter.foreign.loha import read_loha
from edgelora.adapter.foreign.lokr import read_lokr
from edgelora.adapter.foreign.mlx import is_mlx, read_mlx
from edgelora.adapter.foreign.peft_lora import read_peft_lora
from edgelora.adapter.foreign.places import place
from edgelora.adapter.foreign.stored import Base, Plain, Stored, read_stored
from edgelora.adapter.foreign.vera import read_vera
from edgelora.errors import AdapterError
from edgelora_runtime.parse_json import show

_KINDS: dict[str, Callable[[Stored, Base], Plain]] = {
    "VERA": lambda stored, base: read_vera(stored, base.places),
    "LOHA": lambda stored, _: read_loha(stored),
    "LOKR": lambda stored, _: read_lokr(stored),
    "ADALORA": lambda stored, _: read_adalora(stored),
}
PRODUCTS = frozenset({"LOHA", "LOKR"})  # whose ranks are products, mostly more than there are directions


def read_foreign(folder: Path, base: Base, initial: Path | None = None) -> tuple[Plain, Stored]:
    """The adapter in ``folder`` as plain LoRA at the places of ``base``, and the folder as it was written.

    ``initial`` is the folder of the same adapter before its training. Raises AdapterError for what is no plain LoRA.
    """
    stored = read_stored(folder)
    kind = stored.config.get("peft_type")
    if initial is not None and kind != "LORA":
        raise AdapterError(f"{folder} is {kind}; an initial adapter belongs to LoRA that began with a part of its base")
    if is_mlx(stored):
        plain = read_mlx(stored)
    elif kind == "LORA":
        plain = read_peft_lora(stored, base, None if initial is None else read_stored(initial))
    elif kind in _KINDS:
        plain = _KINDS[kind](stored, base)
    else:
        raise stored.refused([f"peft_type is {show(kind)}, expected LORA, {', '.join(_KINDS)} or an adapter of mlx-lm"])
    if stored.has_wrappings:
        plain = plain.then(plain.factors, "names without what torch wraps modules in")
    return place(plain, base.places) if base.places else plain, stored
