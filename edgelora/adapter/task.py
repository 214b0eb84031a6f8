"""Says what an adapter is for, by the task that PEFT wrote into its configuration.

PEFT folder -> name of a task
"""

from __future__ import annotations

from pathlib import Path

from edgelora_runtime.adapter_config import read_fields
from edgelora_runtime.manifest import FEATURE_EXTRACTION, TEXT_CLASSIFICATION, TEXT_GENERATION, TOKEN_CLASSIFICATION

_TASKS = {
    "CAUSAL_LM": TEXT_GENERATION,
    "SEQ_CLS": TEXT_CLASSIFICATION,
    "TOKEN_CLS": TOKEN_CLASSIFICATION,
    "FEATURE_EXTRACTION": FEATURE_EXTRACTION,
}


def find_task(folder: Path) -> str | None:
    """The task of the manifest that PEFT wrote an adapter for, None where it says none; raises AdapterError."""
    return _TASKS.get(str(read_fields(folder).get("task_type")))
