"""Every value that flows between the stages of the compiler.

arrays, names, numbers -> QuantizedMatrix, TokenizerFiles, Checkpoint, Reference, ExportedModel

Frozen data and the checks that keep it valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgelora.errors import ConfigError
from edgelora_runtime.manifest import FLOAT_CACHE, TEXT_GENERATION, EncoderInfo, HeadInfo, Slot

FloatArray = npt.NDArray[np.float32]
HalfArray = npt.NDArray[np.float16]
ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class QuantSpec:
    """How a linear weight becomes integers; the words are those of ``MatMulNBits``.

    ``bits`` is 2, 4 or 8, ``block_size`` the number of weights along ``in_features`` that share a scale.
    """

    bits: int
    block_size: int = 32
    symmetric: bool = True

    def __post_init__(self) -> None:
        if self.bits not in (2, 4, 8):
            raise ConfigError(f"bits is {self.bits}; onnxruntime multiplies with 2, 4 or 8")
        if self.block_size not in (16, 32, 64, 128, 256):
            raise ConfigError(f"block_size is {self.block_size}; use 16, 32, 64, 128 or 256")


@dataclass(frozen=True)
class QuantizedMatrix:
    """A weight on its grid: ``weight = (code - zero_point) * scale`` for each block of a row.

    Rows are independent, so slicing and stacking rows never changes a value.
    """

    packed: ByteArray  # (out_features, n_blocks, block_size * bits / 8), little end first
    scales: FloatArray  # (out_features, n_blocks)
    zero_points: ByteArray | None  # (out_features, ceil(n_blocks * bits / 8)); None means 2 ** (bits - 1)
    spec: QuantSpec
    in_features: int

    @property
    def out_features(self) -> int:
        """Rows of the matrix."""
        return int(self.packed.shape[0])


@dataclass(frozen=True)
class TokenizerFiles:
    """What turns text into token ids, as it travels into an artifact."""

    tokenizer_json: str
    chat_template: str | None
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    unk_token: str | None


@dataclass(frozen=True)
class Task:
    """What a model is opened for. ``head`` says what the rows of its own head mean, None where it has no whole one.

    ``pooling`` and ``normalize`` make one vector of a text: of feature-extraction alone.
    """

    name: str = TEXT_GENERATION  # one of the tasks of the manifest
    head: HeadInfo | None = None
    pooling: str | None = None  # mean, cls or lasttoken
    normalize: bool = False
    context_length: int = 0  # tokens that a text holds at most, special ones included; 0 of text-generation and images

    @property
    def generates(self) -> bool:
        """Whether the model is a decoder that writes text."""
        return self.name == TEXT_GENERATION


class Checkpoint(Protocol):
    """A base model at rest. Tensors carry the names of the whole model's Hugging Face state dict, whatever the files
    leave out of them, and are read one at a time.
    """

    @property
    def name(self) -> str:
        """Short name, such as ``SmolLM2-135M-Instruct``."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The content of ``config.json`` as transformers 4.57 writes it."""

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every token id that ends an answer."""

    @property
    def tokenizer(self) -> TokenizerFiles | None:
        """None when the checkpoint has no tokenizer; such a model speaks token ids alone."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading changed, one plain sentence each (a GGUF type that had to be dequantized, for example)."""

    @property
    def task(self) -> Task:
        """What the model was opened for."""

    def names(self) -> tuple[str, ...]:
        """Every tensor name, sorted; those of the head of a task without a KV cache are none of them."""

    def head_names(self) -> tuple[str, ...]:
        """The tensors of that head which the files have, sorted; shapes and values are read like those of others."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor without reading it."""

    def read(self, name: str) -> FloatArray:
        """A tensor as float32, in the orientation of the Hugging Face state dict.

        Raises CheckpointError where a number in it is not finite.
        """

    def packed(self, name: str) -> QuantizedMatrix | None:
        """The file's own codes where it stores a grid that ``MatMulNBits`` can hold (GGUF Q4_0, Q8_0), else None."""


@dataclass(frozen=True)
class Reference:
    """What PyTorch answered on the grid of the artifact; ``verify`` holds the graph to it."""

    prompts: tuple[tuple[int, ...], ...]
    last_logits: tuple[FloatArray, ...]  # each (vocab_size,), after the whole prompt
    greedy: tuple[tuple[int, ...], ...]  # each up to 32 token ids


@dataclass(frozen=True)
class EncoderReference:
    """What PyTorch answered on the grid of an artifact without a KV cache, with the head that stands beside."""

    inputs: tuple[npt.NDArray[Any], ...]  # each token ids (tokens,), or pixels (channels, height, width)
    outputs: tuple[FloatArray, ...]  # each (labels,), (tokens, labels) or (hidden_size,)
    head: Mapping[str, FloatArray]  # tensor of the head -> its values


@dataclass(frozen=True)
class ExportedModel:
    """What an exporter wrote into a folder, and what a runtime must know to drive it."""

    graph_file: str
    weights_file: str
    twin_file: str | None  # the graph without slots, over the same weights
    slots: tuple[Slot, ...]
    num_layers: int
    num_kv_heads: int
    head_dim: int
    context_length: int
    vocab_size: int
    fused_file: str | None = None  # the graph with one node for each slot, over the same weights
    kv_cache: str = FLOAT_CACHE
    encoder: EncoderInfo | None = None  # of a graph without a KV cache, whose three sizes above are 0
    report: Mapping[str, Any] = field(default_factory=dict)
