"""A base with the head of an adapter in the place of its own.

Checkpoint, PEFT folder -> Checkpoint
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgelora.checkpoint.derived import DerivedCheckpoint
from edgelora.checkpoint.finite import check_finite
from edgelora.checkpoint.placing import head_modules
from edgelora.errors import AdapterError
from edgelora.values import Checkpoint, FloatArray, Task
from edgelora_runtime.adapter import Adapter
from edgelora_runtime.head_info import find_head_info
from edgelora_runtime.manifest import HeadInfo


@dataclass(frozen=True)
class _Headed(DerivedCheckpoint):
    head: Mapping[str, FloatArray]  # tensor of the head -> its values
    info: HeadInfo

    @property
    def task(self) -> Task:
        """Task of the base, with the meaning of the adapter's head."""
        return dataclasses.replace(self.base.task, head=self.info)

    def head_names(self) -> tuple[str, ...]:
        """Those of the base and those of the adapter."""
        return tuple(sorted({*self.base.head_names(), *self.head}))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the adapter's tensor where it has one."""
        return self.head[name].shape if name in self.head else self.base.shape(name)

    def read(self, name: str) -> FloatArray:
        """The adapter's tensor where it has one."""
        if name in self.head:
            return check_finite(np.array(self.head[name]), name, f"the head for {self.name}")
        return self.base.read(name)


def with_head_of(checkpoint: Checkpoint, adapter: Adapter, folder: Path) -> Checkpoint:
    """``checkpoint`` with the head that ``adapter`` brings along; itself where it brings none.

    Raises AdapterError for a head without its last linear, or labels that do not fit it.
    """
    if not adapter.head:
        return checkpoint
    modules = head_modules(checkpoint.config["model_type"], checkpoint.task.name)
    last = f"{modules[-1]}.weight" if modules else ""
    if last not in adapter.head:
        raise AdapterError(
            f"{folder} holds {', '.join(sorted(adapter.head))} and not {last or 'a head of this task'}; train it with "
            "the classifier in modules_to_save"
        )
    info = find_head_info(folder, len(adapter.head[last]), str(folder))
    return _Headed(checkpoint, adapter.head, info)
