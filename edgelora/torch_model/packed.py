"""Linears and embeddings whose weight stays packed codes and becomes float only while it multiplies.

torch module, PackedMatrix -> module that multiplies with codes

The values are those of ``edgelora.grid.blocks.dequantize``, bit for bit.

A frozen weight is needed twice, forward and for the gradient of the input. Neither pass keeps it: a few rows at a time
are dequantized, multiplied and dropped, so that not even a large head is ever whole in float.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from edgelora.values import QuantizedMatrix

_CHUNK_WEIGHTS = 1 << 19  # 2 MB in float: stays in the processor's cache between dequantizing and multiplying
_CHUNK_WEIGHTS_GPU = 1 << 24  # 64 MB: a GPU is busy with it long enough to hide the launches


@dataclass(frozen=True)
class WeightSize:
    """What the weights of a model take in memory."""

    weights: int  # how many there are, tied ones once
    held_bytes: int  # codes, scales, zero points and floats

    @property
    def ratio(self) -> float:
        """Bytes held over the bytes of all weights in float32."""
        return self.held_bytes / (4 * self.weights)


class PackedMatrix(torch.nn.Module):
    """A ``QuantizedMatrix`` on a device; a tied head and its embedding hold one together.

    On the CPU the codes are the very memory of ``matrix``. Scales are kept in bfloat16 where that is exact.
    """

    packed: torch.Tensor  # (out_features, n_blocks, block_size * bits / 8) uint8
    scales: torch.Tensor  # (out_features, n_blocks) bfloat16 or float32
    zero_points: torch.Tensor | None  # (out_features, ceil(n_blocks * bits / 8)) uint8; None is 2 ** (bits - 1)
    levels: torch.Tensor | None  # (out_features, n_blocks, block_size) int8 or int16, after ``unpack``

    def __init__(self, matrix: QuantizedMatrix) -> None:
        super().__init__()
        self.bits, self.in_features, self.out_features = matrix.spec.bits, matrix.in_features, matrix.out_features
        scales = _share(matrix.scales)
        short = scales.bfloat16()
        self.register_buffer("packed", _share(matrix.packed))
        self.register_buffer("scales", short if torch.equal(short.float(), scales) else scales)
        zeros = None if matrix.zero_points is None else _share(matrix.zero_points)
        self.register_buffer("zero_points", zeros)
        self.register_buffer("levels", None)

    def unpack(self) -> None:
        """Hold a byte a weight as well, which halves the time of ``rows``: for weights that are read many times."""
        n_blocks = self.scales.shape[1]
        levels = [_levels(self.packed[some], self._zeros(some), self.bits, n_blocks) for some in self._steps()]
        self.levels = torch.cat(levels)

    def rows(self, chosen: slice | torch.Tensor) -> torch.Tensor:
        """Rows in float32: (n, in_features); ``chosen`` is a slice or row numbers (n,)."""
        if self.levels is not None:
            return _values(self.levels[chosen], self.scales[chosen], self.in_features)
        zeros = self._zeros(chosen)
        return dequantize_rows(self.packed[chosen], self.scales[chosen], zeros, self.bits, self.in_features)

    def chunks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """All rows, a few at a time, with where they are."""
        for some in self._steps():
            yield some, self.rows(some)

    def stand_in(self, shape: tuple[int, int]) -> torch.Tensor:
        """Shape, dtype and device of the float weight for code that asks: all NaN, 4 bytes, refuses to be written."""
        return torch.full((), float("nan"), device=self.packed.device).expand(shape)

    def _zeros(self, chosen: slice | torch.Tensor) -> torch.Tensor | None:
        return None if self.zero_points is None else self.zero_points[chosen]

    def _steps(self) -> Iterator[slice]:
        limit = _CHUNK_WEIGHTS_GPU if self.packed.is_cuda else _CHUNK_WEIGHTS
        step = max(1, limit // self.in_features)
        for start in range(0, self.out_features, step):
            yield slice(start, min(start + step, self.out_features))


class PackedLinear(torch.nn.Linear):
    """A linear over a ``PackedMatrix``, to the outside (PEFT) a ``torch.nn.Linear``. Made by ``pack_module``."""

    codes: PackedMatrix

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """No values: see ``PackedMatrix.stand_in``."""
        return self.codes.stand_in((self.codes.out_features, self.codes.in_features))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        return _multiply(inputs, self.codes, self.bias)


class PackedConv1D(Conv1D):  # type: ignore[misc]
    """gpt2's transposed linear over a ``PackedMatrix``; the codes are (out_features, in_features) as everywhere."""

    codes: PackedMatrix

    @property
    def weight(self) -> torch.Tensor:
        """No values: see ``PackedMatrix.stand_in``."""
        return self.codes.stand_in((self.codes.in_features, self.codes.out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        return _multiply(x, self.codes, self.bias)


class PackedEmbedding(torch.nn.Embedding):
    """An embedding over a ``PackedMatrix``: rows are gathered packed and then dequantized."""

    codes: PackedMatrix

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """No values: see ``PackedMatrix.stand_in``."""
        return self.codes.stand_in((self.codes.out_features, self.codes.in_features))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Token ids (...) to (..., embedding_dim)."""
        return self.codes.rows(input.reshape(-1)).reshape(*input.shape, self.codes.in_features)


_PACKED: dict[type[torch.nn.Module], type[torch.nn.Module]] = {
    torch.nn.Linear: PackedLinear,
    Conv1D: PackedConv1D,
    torch.nn.Embedding: PackedEmbedding,
}


def can_pack(module: torch.nn.Module) -> bool:
    """True for what ``pack_module`` takes."""
    return isinstance(module, tuple(_PACKED))


def pack_module(module: torch.nn.Module, codes: PackedMatrix) -> None:
    """Turn a linear, Conv1D or embedding into its packed form in place: its float weight goes, all else stays.

    A class of its own (gemma3's scaled embedding) stays one: its ``forward`` then finds the packed one as ``super``.
    """
    plain = next(kind for kind in _PACKED if isinstance(module, kind))
    packed, own = _PACKED[plain], type(module)
    del module._parameters["weight"]
    module.codes = codes
    module.__class__ = packed if own is plain else type(f"Packed{own.__name__}", (own, packed), {})


def weigh(model: torch.nn.Module) -> WeightSize:
    """Size of all weights of a model without adapters, packed or not; the head counts once where it is tied."""
    weights = held = 0
    for module in model.modules():
        if isinstance(module, PackedMatrix):
            weights += module.out_features * module.in_features
            held += sum(buffer.nbytes for buffer in module.buffers())
    for parameter in model.parameters():
        weights += parameter.numel()
        held += parameter.nbytes
    return WeightSize(weights, held)


def dequantize_rows(
    packed: torch.Tensor, scales: torch.Tensor, zero_points: torch.Tensor | None, bits: int, in_features: int
) -> torch.Tensor:
    """The float32 values (n, in_features) of n rows; arguments as in ``PackedMatrix``."""
    return _values(_levels(packed, zero_points, bits, scales.shape[1]), scales, in_features)


def _levels(packed: torch.Tensor, zero_points: torch.Tensor | None, bits: int, n_blocks: int) -> torch.Tensor:
    """Codes less their zero points: (n, n_blocks, block_size)."""
    codes = _unpack(packed, bits)
    zeros: torch.Tensor | int = 1 << (bits - 1)
    if zero_points is not None:
        zeros = _unpack(zero_points, bits)[:, :n_blocks, None]
    if bits == 8 and zero_points is not None:
        return codes.to(torch.int16) - zeros
    return (codes - zeros).view(torch.int8)  # what wraps around below 0 is right again when read as signed


def _values(levels: torch.Tensor, scales: torch.Tensor, in_features: int) -> torch.Tensor:
    values = levels.to(torch.float32).mul_(scales.to(torch.float32)[:, :, None])
    return values.flatten(1)[:, :in_features]


def _share(array: npt.NDArray[Any]) -> torch.Tensor:
    """The array's own memory; a copy where it is mapped from a file or not contiguous, which torch does not take."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _unpack(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes along the last axis, first code in the lowest bits: (..., n) becomes (..., n * 8 / bits).

    A byte is spread within a word of as many bytes as it holds codes, and the word read as bytes (little end first, as
    on every machine that PyTorch runs on): no temporary is wider than its codes, and every step vectorizes.
    """
    if bits == 8:
        return packed
    if bits == 4:
        word = packed.to(torch.int16)
        word.bitwise_or_(word << 4).bitwise_and_(0x0F0F)
        return word.view(torch.uint8)
    word = packed.to(torch.int32)
    word.bitwise_or_(word << 12).bitwise_and_(0x000F000F)
    word.bitwise_or_(word << 6).bitwise_and_(0x03030303)
    return word.view(torch.uint8)


def _multiply(inputs: torch.Tensor, codes: PackedMatrix, bias: torch.Tensor | None) -> torch.Tensor:
    device = inputs.device.type
    if torch.is_autocast_enabled(device):  # a function of one's own is not on autocast's list
        inputs = inputs.to(torch.get_autocast_dtype(device))
    flat = inputs.reshape(-1, inputs.shape[-1])
    output: torch.Tensor = _Product.apply(flat, codes)  # type: ignore[no-untyped-call]
    if bias is not None:
        output = output + bias.to(output.dtype)
    return output.reshape(*inputs.shape[:-1], codes.out_features)


class _Product(torch.autograd.Function):
    """``inputs @ weight.T`` that remembers the codes for its backward, never the weight."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, codes: PackedMatrix) -> torch.Tensor:
        """(n, in_features) to (n, out_features) in the dtype of ``inputs``."""
        ctx.codes = codes
        output = inputs.new_empty(inputs.shape[0], codes.out_features)
        for some, weight in codes.chunks():
            torch.mm(inputs, weight.to(inputs.dtype).T, out=output[:, some])
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, None]:
        """The gradient of ``inputs`` alone; the base is frozen."""
        if not ctx.needs_input_grad[0]:
            return None, None
        codes: PackedMatrix = ctx.codes
        # Sums over chunks stay float32, as they do inside a single product of bfloat16.
        total = gradient.new_zeros(gradient.shape[0], codes.in_features, dtype=torch.float32)
        for some, weight in codes.chunks():
            if gradient.dtype == torch.float32:
                total.addmm_(gradient[:, some], weight)
            else:
                total += gradient[:, some] @ weight.to(gradient.dtype)
        return total.to(gradient.dtype), None
