"""The option of how many threads a loaded artifact computes with.

--threads -> a count, or the runtime's default
"""

from __future__ import annotations

from typing import Annotated

import typer

from edgelora_runtime.graph import DEFAULT_THREADS

Threads = Annotated[
    int | None,
    typer.Option(min=1, help=f"Threads for one matrix product.  [default: {DEFAULT_THREADS}]", show_default=False),
]
