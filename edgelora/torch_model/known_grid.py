"""The grid that an adapter was trained on, made again from what its receipt says of it.

Receipt -> GridChoice
"""

from __future__ import annotations

from pathlib import Path

from edgelora.checkpoint.names import is_vocabulary
from edgelora.errors import ConfigError
from edgelora.torch_model.choose_grid import GridChoice
from edgelora_runtime.receipt import Receipt


def known_choice(receipt: Receipt | None, folder: Path) -> GridChoice:
    """The choice that makes a receipt's grid again, none without a receipt; raises ConfigError for one that needs what
    the receipt lacks.
    """
    known = {} if receipt is None else receipt.quantization or {}
    if "bits" not in known:
        return GridChoice("none")
    overrides = known.get("overrides") or {}
    tables = {spec["bits"] for name, spec in overrides.items() if is_vocabulary(name)}
    own = [name for name, spec in overrides.items() if not is_vocabulary(name) or spec["bits"] == known["bits"]]
    if known.get("method") == "ranges" and known["bits"] == 4 and own:
        return GridChoice("int4")  # the default, which chose for each tensor; receipts are held to its fingerprint
    if known.get("method", "rtn") not in ("rtn", "ranges") or len(overrides) > 2 or len(tables) != bool(overrides):
        raise ConfigError(f"{folder} was trained on a grid that its receipt cannot give anew; give it as --quant GRID")
    bits, method = known["bits"], known.get("method", "rtn")
    wide = tables.pop() if tables else 4 if bits == 4 else None
    return GridChoice(f"int{bits}", known["block_size"], known["symmetric"], method, embedding_bits=wide)
