"""What the machine that measures calls itself.

Knows nothing about what is measured.
"""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def cpu_flags() -> frozenset[str]:
    """What the processor can do, as Linux calls it; nothing is known elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(": ")[2] for line in lines if line.startswith("flags")), "").split())


def memory_mb(file: str, field: str) -> float:
    """What the system tells of this process, such as ``RssAnon`` of ``status`` or ``Pss`` of ``smaps_rollup``."""
    lines = Path("/proc/self", file).read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024
