"""The most memory that this process ever held.

a running process -> bytes
"""

from __future__ import annotations

import sys
from pathlib import Path


def peak_rss_bytes() -> int:
    """The most memory that this process ever held."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):  # ru_maxrss also counts what the parent held when it started this process
            return 1024 * int(line.split()[1])
    if sys.platform == "win32":  # not run by the tests, which have no Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource  # which Windows lacks

    # macOS counts bytes, others kB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
