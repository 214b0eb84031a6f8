"""The grid: which tensors of a checkpoint are quantized, and the exact values that then ship.

Checkpoint, GridSpec, Calibration -> Grid

Training and graphs ask it for the same values, which is what makes them meet.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgelora.checkpoint.finite import is_finite
from edgelora.checkpoint.names import HEAD, is_embedding, is_layer_linear, is_linear, turned, turned_shape
from edgelora.errors import ConfigError
from edgelora.grid.blocks import dequantize, quantize, quantize_ranges, relative_error
from edgelora.grid.gptq import quantize_gptq
from edgelora.grid.moments import Calibration
from edgelora.progress import SILENT, Progress
from edgelora.values import Checkpoint, FloatArray, QuantizedMatrix, QuantSpec

QUANT_LABELS = ("none", "fp16", "int8", "int4", "int2")
QUANT_METHODS = ("rtn", "ranges", "gptq")
CALIBRATED = ("ranges", "gptq")  # methods that read what a float model was seen doing
_SCALE_BITS = 16  # an artifact stores scales as bfloat16, which quantize() rounded them to, or GGUF's own float16
EMBEDDING_BITS = (4, 8)  # what GatherBlockQuantized reads
_THREADS = 2  # round beside the one that hashes; numpy and SHA-256 both let the others run
_AHEAD = 2  # tensors that may wait in float for their turn to be hashed


@dataclass(frozen=True)
class GridSpec:
    """A ``--quant`` choice: ``spec`` for integers, ``half`` for float16 storage, neither for float32.

    ``method`` is how integers are chosen; ``overrides`` gives single tensors a spec of their own (mixed precision).
    """

    label: str
    spec: QuantSpec | None
    half: bool = False
    method: str = "rtn"  # one of QUANT_METHODS
    overrides: Mapping[str, QuantSpec] = field(default_factory=dict)  # tensor name -> its spec

    def __post_init__(self) -> None:
        if self.method not in QUANT_METHODS:
            raise ConfigError(f"--quant-method is {self.method!r}; choose one of {', '.join(QUANT_METHODS)}")
        if self.overrides and self.spec is None:
            raise ConfigError(
                f"--quant {self.label} keeps floats, but {len(self.overrides)} tensors have bits of their own"
            )


@dataclass(frozen=True)
class Grid:
    """A checkpoint together with the codes of its grid, which take a fraction of the float weights' memory."""

    checkpoint: Checkpoint
    plan: GridSpec
    matrices: Mapping[str, QuantizedMatrix]  # tensor name -> its codes; tensors not named stay float
    errors: Mapping[str, float]  # tensor name -> rms of the rounding over rms of the weight; kept codes have none
    base_fingerprint: str  # SHA-256 (hex) of the base's float32 weights: the identity that an adapter is bound to
    fingerprint: str  # SHA-256 (hex) over names, packed codes, scales and zero points, and the floats that stay float
    calibration: str | None = None  # fingerprint of the calibration that decided codes; None where none did
    # Tensor name -> (in_features,) by which a device that rounds rows multiplies columns, and divides inputs.
    column_factors: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def specs(self) -> Mapping[str, QuantSpec]:
        """How each quantized tensor is quantized."""
        return {name: matrix.spec for name, matrix in self.matrices.items()}

    def matrix(self, name: str) -> QuantizedMatrix:
        """Codes of a quantized tensor, rows = out_features; the file's own codes where they already are this grid."""
        return self.matrices[name]

    def value(self, name: str) -> FloatArray:
        """A tensor with the values that ship, in the orientation of the Hugging Face state dict."""
        if name in self.matrices:
            weight = dequantize(self.matrices[name])
            return turned(name, weight)
        return _shipped(self.checkpoint.read(name), name, self.plan)

    def bits_per_weight(self) -> float | None:
        """Bits that a quantized weight takes, scales and zero points included; None when nothing is quantized."""
        return _bits(self.matrices.values())

    def bits_by_kind(self) -> Mapping[str, float | None]:
        """``bits_per_weight`` of the linears (a head of its own included), of the embedding table, and of all."""
        tables = {name for name in self.matrices if is_embedding(name)}
        return {
            "linears": _bits(matrix for name, matrix in self.matrices.items() if name not in tables),
            "embedding": _bits(self.matrices[name] for name in tables),
            "all": self.bits_per_weight(),
        }

    def record(self) -> Mapping[str, Any]:
        """What receipts and manifests record as ``quantization``, ready for JSON; enough to make an rtn grid again."""
        spec = self.plan.spec
        if spec is None:
            return {"label": self.plan.label}
        return {
            "label": self.plan.label,
            "method": self.plan.method,
            **asdict(spec),
            "overrides": {name: asdict(own) for name, own in sorted(self.plan.overrides.items())},
            "calibration": self.calibration,
        }

    def in_features(self, name: str) -> int:
        """Columns of a linear or an embedding."""
        return turned_shape(name, self.checkpoint.shape(name))[1]


MakeGrid = Callable[[Checkpoint], Grid]  # how a command's options turn a checkpoint into its grid


def parse_quant(text: str, block_size: int = 32, symmetric: bool | None = None, method: str = "rtn") -> GridSpec:
    """Read a ``--quant`` value; int2 is asymmetric unless said otherwise, int4 and int8 symmetric."""
    if text not in QUANT_LABELS:
        raise ConfigError(f"--quant is {text!r}; choose one of {', '.join(QUANT_LABELS)}")
    if text in ("none", "fp16"):
        return GridSpec(text, None, half=text == "fp16")
    bits = int(text.removeprefix("int"))
    return GridSpec(text, QuantSpec(bits, block_size, bits != 2 if symmetric is None else symmetric), method=method)


def plan_grid(
    checkpoint: Checkpoint, plan: GridSpec, progress: Progress = SILENT, calibration: Calibration | None = None
) -> Grid:
    """Quantize a checkpoint: one pass that reads each tensor once and hashes both what was read and what ships.

    A few tensors are in float at a time. Raises ConfigError when an override names a tensor that is not quantized, or
    a calibrated method has no ``calibration``.
    """
    _check(checkpoint, plan, calibration)
    matrices: dict[str, QuantizedMatrix] = {}
    errors: dict[str, float] = {}
    base, grid = hashlib.sha256(), hashlib.sha256()
    names = checkpoint.names()
    tensors = _in_order(names, lambda name: _read_and_round(checkpoint, name, plan, calibration))
    for name, tensor in zip(progress.track(names, "grid", "tensor"), tensors, strict=True):
        _add_float(base, name, tensor.weight)
        if tensor.matrix is None:
            _add_float(grid, name, _shipped(tensor.weight, name, plan))
            continue
        matrices[name] = tensor.matrix
        if tensor.error is not None:
            errors[name] = tensor.error
        _add_matrix(grid, name, tensor.matrix)
    seen = calibration.fingerprint if calibration is not None and plan.method in CALIBRATED else None
    return Grid(checkpoint, plan, matrices, errors, base.hexdigest(), grid.hexdigest(), seen)


def choose_spec(name: str, shape: tuple[int, ...], plan: GridSpec) -> QuantSpec | None:
    """The spec of one tensor, None where it stays float.

    Linears take ``plan.spec`` or their override. An embedding is read by ``GatherBlockQuantized``, which knows 4 and 8
    bits and whole blocks alone: it takes at least 4 bits, and stays float where ``hidden_size`` is no multiple of
    ``block_size``. A tied head follows its embedding; a head of its own takes at least 4 bits unless overridden.
    """
    if plan.spec is None or len(shape) != 2:
        return None
    spec = plan.overrides.get(name, plan.spec)
    wide = spec if spec.bits in EMBEDDING_BITS else QuantSpec(4, spec.block_size, symmetric=True)
    if is_embedding(name):
        return wide if shape[1] % spec.block_size == 0 else None
    if name == HEAD and name not in plan.overrides:
        return wide
    return spec if is_linear(name) else None


def _check(checkpoint: Checkpoint, plan: GridSpec, calibration: Calibration | None) -> None:
    if plan.spec is not None and plan.method in CALIBRATED and calibration is None:
        raise ConfigError(f"--quant-method {plan.method} needs calibration text: give --calibration, or choose rtn")
    if plan.method in CALIBRATED and calibration is not None:
        _check_moments(checkpoint, plan, calibration)
    known = set(checkpoint.names())
    stray = sorted(name for name in plan.overrides if name not in known or not (is_linear(name) or is_embedding(name)))
    if stray:
        raise ConfigError(
            f"{checkpoint.name} has no linear or embedding {stray[0]!r} ({len(stray)} such overrides); "
            "use tensor names that end in .weight"
        )


def _check_moments(checkpoint: Checkpoint, plan: GridSpec, calibration: Calibration) -> None:
    """Every linear of the decoder layers must have been seen, with the width it has."""
    for name in checkpoint.names():
        shape = checkpoint.shape(name)
        if choose_spec(name, shape, plan) is None or not is_layer_linear(name):
            continue
        width = turned_shape(name, shape)[1]
        is_gptq = plan.method == "gptq"
        found = (calibration.hessians if is_gptq else calibration.importance).get(name)
        wanted = (width, width) if is_gptq else (width,)
        if found is None or found.shape != wanted:
            what = "nothing" if found is None else f"a matrix of {found.shape}"
            raise ConfigError(
                f"the calibration holds {what} for {name}, {plan.method} needs {wanted}; calibrate on {checkpoint.name}"
            )


@dataclass(frozen=True)
class _Tensor:
    weight: FloatArray  # as in the checkpoint
    matrix: QuantizedMatrix | None = None  # None where it stays float
    error: float | None = None  # None where the codes are the file's own


def _read_and_round(checkpoint: Checkpoint, name: str, plan: GridSpec, calibration: Calibration | None) -> _Tensor:
    weight = checkpoint.read(name)
    spec = choose_spec(name, checkpoint.shape(name), plan)
    if spec is None:
        return _Tensor(weight)
    own = checkpoint.packed(name)
    if own is not None and _holds(spec, own.spec):
        return _Tensor(weight, own)
    rows = turned(name, weight)
    matrix = _round(name, rows, spec, plan.method, calibration)
    if not is_finite(matrix.scales):
        raise ConfigError(
            f"{name} holds {float(np.abs(rows).max()):g}, too much for float32 scales; choose --quant none"
        )
    return _Tensor(weight, matrix, relative_error(rows, matrix))


def _holds(spec: QuantSpec, own: QuantSpec) -> bool:
    """Whether codes of ``own`` are codes of ``spec`` too: a symmetric block is an asymmetric one with zero midway."""
    return own in (spec, dataclasses.replace(spec, symmetric=True))


def _in_order(names: Sequence[str], work: Callable[[str], _Tensor]) -> Iterator[_Tensor]:
    """``work(name)`` for each name, in order, done by other threads a few names ahead of the caller."""
    waiting: deque[Future[_Tensor]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for name in names:
            waiting.append(pool.submit(work, name))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _round(
    name: str, rows: FloatArray, spec: QuantSpec, method: str, calibration: Calibration | None
) -> QuantizedMatrix:
    """Codes of one weight (out, in_features); gptq leaves embedding and head to rtn, ranges leave what has 8 bits."""
    if method == "gptq" and calibration is not None and name in calibration.hessians:
        return quantize_gptq(rows, spec, calibration.hessians[name])
    if method == "ranges" and spec.bits < 8 and calibration is not None and name in calibration.importance:
        return quantize_ranges(rows, spec, calibration.importance[name])
    return quantize(rows, spec)


def _bits(matrices: Iterable[QuantizedMatrix]) -> float | None:
    weights = stored = 0
    for matrix in matrices:
        weights += matrix.out_features * matrix.in_features
        stored += matrix.packed.nbytes * 8 + matrix.scales.size * _SCALE_BITS
        stored += 0 if matrix.zero_points is None else matrix.zero_points.nbytes * 8
    return round(stored / weights, 3) if weights else None


def _shipped(weight: FloatArray, name: str, plan: GridSpec) -> FloatArray:
    """The value of a tensor without codes: float16 storage rounds the matrices that a linear or the embedding reads."""
    if plan.half and (is_embedding(name) or is_linear(name)):
        with np.errstate(over="ignore"):
            rounded = weight.astype(np.float16).astype(np.float32)
        if not is_finite(rounded):
            raise ConfigError(
                f"{name} holds {float(np.abs(weight).max()):g}, and float16 ends at 65504; choose --quant none, or "
                "integers such as int8"
            )
        return rounded
    return weight


def _add_matrix(digest: hashlib._Hash, name: str, matrix: QuantizedMatrix) -> None:
    spec = matrix.spec
    digest.update(f"{name}|{spec.bits}|{spec.block_size}|{spec.symmetric}".encode())
    for array in (matrix.packed, matrix.scales, matrix.zero_points):
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)


def _add_float(digest: hashlib._Hash, name: str, value: FloatArray) -> None:
    digest.update(f"{name}|float|{value.shape}".encode())
    digest.update(np.ascontiguousarray(value, np.float32).data)
