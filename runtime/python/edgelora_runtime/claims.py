"""Which modules an adapter's configuration claims: those that PEFT gave factors, and then has factors for.

module's name, target_modules, Narrowing -> whether it is claimed
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgelora_runtime.patterns import matches_whole

Targets = str | tuple[str, ...]  # a pattern for the whole name, or names and endings of names


@dataclass(frozen=True)
class Narrowing:
    """What a configuration takes out of its ``target_modules``; nothing where it is empty."""

    excluded: Targets = ()  # exclude_modules
    layers: tuple[int, ...] = ()  # layers_to_transform
    lists: tuple[str, ...] = ()  # layers_pattern: names of the lists that these count in, whatever stands there if none


def is_target(module: str, targets: Targets | None) -> bool:
    """PEFT's rule: a text is a pattern for the whole name, a list holds endings of names."""
    if isinstance(targets, str):
        return matches_whole(targets, module)
    return any(module == target or module.endswith(f".{target}") for target in targets or ())


def claims(module: str, targets: Targets | None, narrowing: Narrowing) -> bool:
    """PEFT's rule: a module that ``target_modules`` have by its whole name is claimed in any layer."""
    if not is_target(module, targets) or is_target(module, narrowing.excluded):
        return False
    if not narrowing.layers or (isinstance(targets, tuple) and module in targets):
        return True
    return _layer_of(module, narrowing.lists) in narrowing.layers


def _layer_of(module: str, lists: Sequence[str]) -> int | None:
    """The number behind the first of ``lists`` that has one; of any list but one at the very beginning if none."""
    for name in lists:
        if found := re.search(rf"(?:^|\.){re.escape(name)}\.([0-9]+)\.", module):
            return int(found[1])
    found = None if lists else re.match(r".*?\.[^.]*\.([0-9]+)\.", module)
    return None if found is None else int(found[1])
