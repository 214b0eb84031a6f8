"""Makes the artifact that several benchmarks measure: SmolLM2-135M-Instruct on the plain int4 grid.

folder -> the artifact in it
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.smollm2 import find_smollm2
from edgelora.artifact.build import Build
from edgelora.artifact.export import export_artifact
from edgelora.artifact.exporter import find_exporter
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import parse_quant, plan_grid


def plain_int4(place: Path) -> Path:
    """The artifact at ``place``, made where it is missing."""
    if not place.exists():
        grid = plan_grid(open_checkpoint(find_smollm2()), parse_quant("int4"))
        export_artifact(Parts(grid), place, Build(find_exporter(), ExportOptions()))
    return place
