"""A grid as one file: the codes that every later ``train`` and ``export`` of a base start from.

Grid -> a file, and back

Nothing that is read is trusted.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from edgelora.checkpoint.derived import DerivedCheckpoint
from edgelora.checkpoint.names import turned_shape
from edgelora.errors import ArtifactError, ConfigError
from edgelora.grid.make import Grid, GridSpec, plan_grid
from edgelora.progress import SILENT, Progress
from edgelora.values import Checkpoint, FloatArray, QuantizedMatrix, QuantSpec
from edgelora_runtime.files import write_atomically
from edgelora_runtime.parse_json import one_line, parse_json, show

FORMAT = "edgelora-grid"
FORMAT_VERSION = 1
_SCALE_TYPES = (ml_dtypes.bfloat16, np.float16, np.float32)  # the first that holds every scale of a tensor exactly
_TEXTS = ("label", "method", "base", "fingerprint")


def write_grid(path: Path, grid: Grid) -> None:
    """Write ``grid`` to ``path`` as safetensors: ``NAME.codes``, ``NAME.scales``, ``NAME.zero_points``, and a header.

    The file appears whole or not at all. Raises ConfigError for a grid without integers.
    """
    if grid.plan.spec is None:
        raise ConfigError(
            f"--quant {grid.plan.label} keeps floats, so there are no codes to write; give int8, int4 or int2"
        )
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name, matrix in grid.matrices.items():
        tensors[f"{name}.codes"] = matrix.packed
        tensors[f"{name}.scales"] = _narrow(matrix.scales)
        if matrix.zero_points is not None:
            tensors[f"{name}.zero_points"] = matrix.zero_points
    record = {
        "label": grid.plan.label,
        "method": grid.plan.method,
        "spec": dataclasses.asdict(grid.plan.spec),
        "overrides": {name: dataclasses.asdict(spec) for name, spec in sorted(grid.plan.overrides.items())},
        "tensors": {name: dataclasses.asdict(spec) for name, spec in sorted(grid.specs.items())},
        "errors": dict(sorted(grid.errors.items())),
        "model": grid.checkpoint.name,
        "base": grid.base_fingerprint,
        "fingerprint": grid.fingerprint,
        "calibration": grid.calibration,
    }
    header = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "grid": json.dumps(record)}
    write_atomically(path, save(tensors, header))


def read_grid(path: Path, checkpoint: Checkpoint, progress: Progress = SILENT) -> Grid:
    """The grid of a file, over the base it was made from.

    Nothing is quantized; the base and the codes are read once and hashed. Raises ArtifactError when the file cannot be
    read, is damaged or of another version, ConfigError when it belongs to another base.
    """
    record, tensors = _read(path)
    plan, specs = _parse(path, record)
    matrices = {}
    for name, spec in specs.items():
        if name not in checkpoint.names():
            raise ConfigError(_other_base(path, record, checkpoint, f"there is no tensor {show(name)}"))
        matrices[name] = _matrix(path, name, spec, checkpoint, tensors)
    # Method and calibration chose the codes once; here they are only hashed, as rtn would hash a file's own.
    coded = _CodedCheckpoint(checkpoint, matrices)
    found = plan_grid(coded, dataclasses.replace(plan, method="rtn"), progress)
    if found.base_fingerprint != record["base"]:
        told = f"its weights are {found.base_fingerprint[:12]}, the file was made from {record['base'][:12]}"
        raise ConfigError(_other_base(path, record, checkpoint, told))
    if found.fingerprint != record["fingerprint"] or found.errors:
        raise ArtifactError(
            f"{path} was altered: it records grid {record['fingerprint'][:12]}, its codes give "
            f"{found.fingerprint[:12]}; copy it again or make it with `edgelora quantize`"
        )
    return dataclasses.replace(
        found,
        checkpoint=checkpoint,
        plan=plan,
        matrices={name: matrices[name] for name in found.matrices},
        errors={name: float(error) for name, error in record["errors"].items()},
        calibration=record["calibration"],
    )


def check_is_grid(path: Path) -> Mapping[str, str]:
    """The header of a grid file of any version; raises ArtifactError when ``path`` is none, or is cut short."""
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file; expected a grid file, as `edgelora quantize` writes")
    try:
        with safe_open(path, framework="np") as file:
            header: Mapping[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is truncated or no safetensors file ({one_line(error, named=False)}); copy it again"
        ) from error
    if header.get("format") != FORMAT:
        raise ArtifactError(f"{path} is a safetensors file but no grid file; make one with `edgelora quantize`")
    return header


@dataclass(frozen=True)
class _CodedCheckpoint(DerivedCheckpoint):
    """A base whose file seems to hold the codes of the grid file, so that ``plan_grid`` keeps every one of them."""

    matrices: Mapping[str, QuantizedMatrix]

    def packed(self, name: str) -> QuantizedMatrix | None:
        return self.matrices.get(name)


def _read(path: Path) -> tuple[dict[str, Any], Mapping[str, npt.NDArray[Any]]]:
    """The record of the header and every tensor."""
    header = check_is_grid(path)
    if header.get("format_version") != str(FORMAT_VERSION):
        raise ArtifactError(
            f"{path} has grid format version {header.get('format_version')!r}, this edgelora reads {FORMAT_VERSION}; "
            "make it again with `edgelora quantize`, or update edgelora"
        )
    record = parse_json(header.get("grid", ""), f"{path}: the header's 'grid'", ArtifactError, "copy it again")
    if not isinstance(record, dict):
        raise ArtifactError(f"{path}: the header's 'grid' is {type(record).__name__}, expected an object")
    with safe_open(path, framework="np") as file:
        return record, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _parse(path: Path, record: Mapping[str, Any]) -> tuple[GridSpec, Mapping[str, QuantSpec]]:
    """The plan and the spec of each tensor; every field that is used later has its type after this."""
    texts = all(isinstance(record.get(key), str) for key in _TEXTS)
    if not texts or not isinstance(record.get("calibration"), str | None):
        raise ArtifactError(f"{path}: the header needs the texts {', '.join(_TEXTS)}; copy it again")
    errors = record.get("errors")
    if not isinstance(errors, dict) or not all(isinstance(error, int | float) for error in errors.values()):
        raise ArtifactError(f"{path}: the header's 'errors' is no object of numbers; copy it again")
    try:
        plan = GridSpec(
            record["label"],
            QuantSpec(**record["spec"]),
            method=record["method"],
            overrides={name: QuantSpec(**spec) for name, spec in record["overrides"].items()},
        )
        return plan, {name: QuantSpec(**spec) for name, spec in record["tensors"].items()}
    except (TypeError, KeyError, AttributeError, ConfigError) as error:
        raise ArtifactError(
            f"{path}: the header does not say how tensors are quantized ({one_line(error, named=False)})"
        ) from error


def _matrix(
    path: Path, name: str, spec: QuantSpec, checkpoint: Checkpoint, tensors: Mapping[str, npt.NDArray[Any]]
) -> QuantizedMatrix:
    """The codes of one tensor, with the shapes that the base's own shape demands."""
    shape = checkpoint.shape(name)
    out_features, in_features = turned_shape(name, shape)
    n_blocks = -(-in_features // spec.block_size)
    wanted: dict[str, tuple[int, ...]] = {
        "codes": (out_features, n_blocks, spec.block_size * spec.bits // 8),
        "scales": (out_features, n_blocks),
    }
    if not spec.symmetric:
        wanted["zero_points"] = (out_features, -(-n_blocks * spec.bits // 8))
    found = {key: tensors.get(f"{name}.{key}") for key in wanted}
    for key, expected in wanted.items():
        array = found[key]
        if array is None or array.shape != expected:
            there = "missing" if array is None else f"of shape {list(array.shape)}"
            raise ArtifactError(
                f"{path}: {name}.{key} is {there}, {checkpoint.name} needs {list(expected)}; it belongs to another "
                "base or is damaged"
            )
    codes, scales, zero_points = found["codes"], found["scales"], found.get("zero_points")
    assert codes is not None and scales is not None
    if codes.dtype != np.uint8 or (zero_points is not None and zero_points.dtype != np.uint8):
        raise ArtifactError(f"{path}: the codes of {name} are {codes.dtype}, expected uint8; copy it again")
    return QuantizedMatrix(codes, scales.astype(np.float32), zero_points, spec, in_features)


def _narrow(scales: FloatArray) -> npt.NDArray[Any]:
    """The scales in the smallest type that holds them exactly: quantize() makes bfloat16, GGUF has float16."""
    with np.errstate(over="ignore"):
        fitting = (scales.astype(kind) for kind in _SCALE_TYPES)
        return next(narrow for narrow in fitting if np.array_equal(narrow.astype(np.float32), scales))


def _other_base(path: Path, record: Mapping[str, Any], checkpoint: Checkpoint, why: str) -> str:
    return (
        f"{path} is a grid of another base ({record.get('model')}) than {checkpoint.name}: {why}; make one for it with "
        "`edgelora quantize`"
    )
