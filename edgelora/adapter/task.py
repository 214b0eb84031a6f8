"""Says what an adapter is for, by the task that PEFT wrote into its configuration.

PEFT folder -> name of a task
"""

from __future__ import annotations

from pathlib import Path

from edgelora.errors import AdapterError
from edgelora_runtime.adapter_config import CONFIG_FILE
from edgelora_runtime.manifest import FEATURE_EXTRACTION, TEXT_CLASSIFICATION, TEXT_GENERATION, TOKEN_CLASSIFICATION
from edgelora_runtime.parse_json import read_json

_TASKS = {
    "CAUSAL_LM": TEXT_GENERATION,
    "SEQ_CLS": TEXT_CLASSIFICATION,
    "TOKEN_CLS": TOKEN_CLASSIFICATION,
    "FEATURE_EXTRACTION": FEATURE_EXTRACTION,
}


def find_task(folder: Path) -> str | None:
    """The task of the manifest that PEFT wrote an adapter for, None where it says none; raises AdapterError."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise AdapterError(f"{folder} has no {CONFIG_FILE}; expected a folder saved by PEFT")
    config = read_json(path, AdapterError, "save the adapter again")
    return _TASKS.get(str(config.get("task_type"))) if isinstance(config, dict) else None
