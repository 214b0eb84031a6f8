"""One process of the native runtime's readers, which answers requests one by one.

Knows nothing about what is read.
"""

import json
import subprocess
from pathlib import Path
from typing import Any


class Readers:
    """A request is a line of JSON, the answer one with ``value``, or with ``code`` and ``message``."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def ask(self, what: str, **request: Any) -> dict[str, Any]:
        """The answer to a request, whose paths may be paths."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **request}, default=str) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the process ended with {self._process.wait()} at {what} {request}"
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process, which must end well."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait() == 0
