"""Whether an adapter has factors for exactly those matrices of a base that its configuration claims.

Checkpoint, fields of adapter_config.json, modules with factors -> a line for each that differs

An artifact holds an adapter to its slots; a merge has no slots, and would leave out what is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from edgelora.checkpoint.names import module_of
from edgelora.values import Checkpoint
from edgelora_runtime.adapter_config import is_saved, read_claims
from edgelora_runtime.claims import claims


def find_unclaimed(checkpoint: Checkpoint, config: Mapping[str, Any], found: Collection[str]) -> list[str]:
    """What of the modules ``found`` is missing or too much; raises AdapterError for fields of other types.

    Modules that were trained whole have no factors, and a configuration that names no modules claims none.
    """
    targets, narrowing = read_claims(config)
    if targets is None:
        return []
    saved = config.get("modules_to_save") or ()
    matrices = (name for name in checkpoint.names() if name.endswith(".weight") and len(checkpoint.shape(name)) == 2)
    modules = [module_of(name) for name in matrices if not is_saved(name, saved)]
    absent = [module for module in modules if module not in found and claims(module, targets, narrowing)]
    return [
        *(f"{module}: its configuration claims it, and it has no factors" for module in absent),
        *(
            f"{module}: its configuration does not claim it"
            for module in found
            if not claims(module, targets, narrowing)
        ),
    ]
