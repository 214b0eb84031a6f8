"""Reads a GGUF file as a checkpoint with Hugging Face names, and hands out its integer codes where they fit.

GGUF file -> GgufCheckpoint
"""

from __future__ import annotations

import dataclasses
import math
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from edgelora.checkpoint.config import normalise
from edgelora.checkpoint.end_tokens import find_end_tokens, special_ids, unreachable_tokens
from edgelora.checkpoint.finite import check_finite
from edgelora.checkpoint.gguf.config import MODEL_TYPES, Metadata, build_config
from edgelora.checkpoint.gguf.names import is_permuted, modules_by_stem, row_order
from edgelora.checkpoint.gguf.tokenizer import build_tokenizer, declared_end_ids
from edgelora.checkpoint.gguf.types import PLAIN_TYPES, check_type_numbers, check_types
from edgelora.checkpoint.names import turned, turned_shape
from edgelora.checkpoint.tied_head import chunks, embedding_rows, settle_head
from edgelora.checkpoint.vocabulary import read_vocabulary
from edgelora.errors import CheckpointError
from edgelora.values import ByteArray, FloatArray, QuantizedMatrix, QuantSpec, Task, TokenizerFiles
from edgelora_runtime.parse_json import join_some, one_line, show

_TYPE_SUFFIX = re.compile(r"[.-](I?Q\d\w*|B?F16|F32)$", re.IGNORECASE)  # as in model.Q4_1.gguf
_LENGTH = struct.Struct("<Q")
_CHUNK_WEIGHTS = 1 << 17  # dequantized at once: what is in between stays in the processor's cache
_BLOCK = 32  # weights that share a scale, in Q4_0 and Q8_0 alike
_KEPT = {"Q4_0": QuantSpec(4, _BLOCK, True), "Q8_0": QuantSpec(8, _BLOCK, True)}
_WHY_DEQUANTIZED = {
    "Q4_1": "its block minimum is no multiple of its scale, so no integer zero point can hold it",
    "Q5_1": "its block minimum is no multiple of its scale, so no integer zero point can hold it",
}

_NORM_PLUS_ONE = frozenset({"gemma", "gemma2", "gemma3"})
_ROPE_TENSORS = (
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
)  # they go into the config


class FastReader(gguf.GGUFReader):  # type: ignore[misc]
    """The package's reader with a fast way through long lists, which a large vocabulary and its merges are.

    It reads from a plain array, because slicing ``numpy.memmap`` is slow, and a list at once instead of by its items.
    """

    data: npt.NDArray[Any]

    def __init__(self, path: Path) -> None:
        self.file = path.name
        super().__init__(path)

    def _get(self, offset: int, dtype: npt.DTypeLike, count: int = 1, override_order: Any = None) -> npt.NDArray[Any]:
        self.data = self.data.view(np.ndarray)
        return super()._get(offset, dtype, count, override_order)  # type: ignore[no-any-return]

    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[npt.NDArray[Any]], list[int], list[gguf.GGUFValueType]]:
        kind = gguf.GGUFValueType
        if raw_type != kind.ARRAY or self.byte_order == "S":
            return super()._get_field_parts(orig_offs, raw_type)  # type: ignore[no-any-return]
        raw_item, count = self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)
        item, length, start = kind(raw_item[0]), int(count[0]), orig_offs + 12
        if length == 0 or item == kind.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)  # type: ignore[no-any-return]
        if item == kind.STRING:
            texts, end = _split_strings(self.data, start, length)
        else:
            numbers = self._get(start, self.gguf_scalar_to_np[item], length)
            texts, end = [numbers], start + numbers.nbytes
            if len(numbers) < length:
                raise IndexError(f"a list of {length} numbers goes beyond its end")
        return end - orig_offs, [raw_item, count, *texts], list(range(2, 2 + len(texts))), [kind(raw_type), item]

    def _build_tensors(self, start_offs: int, fields: list[gguf.ReaderField]) -> None:
        types = ((str(bytes(field.parts[1]), "utf-8", "replace"), int(field.parts[4][0])) for field in fields)
        check_type_numbers(types, self.file)
        super()._build_tensors(start_offs, fields)


def _split_strings(data: ByteArray, start: int, count: int) -> tuple[list[npt.NDArray[Any]], int]:
    """``count`` strings from ``start``, each behind its length as uint64, and where the last one ends."""
    texts: list[npt.NDArray[Any]] = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(data.data, start)
        texts.append(data[start + 8 : start + 8 + length])
        start += 8 + length
    if start > len(data):
        raise IndexError(f"a list of {count} strings goes beyond its end")
    return texts, start


@dataclass(frozen=True)
class _Stored:
    """Where a tensor lies in the file, and as what."""

    offset: int
    kind: gguf.GGMLQuantizationType
    dtype: np.dtype[Any]  # of the stored array: bytes where blocks are packed
    stored: tuple[int, ...]  # shape of that array
    shape: tuple[int, ...]  # (out_features, in_features) or (n,)


@dataclass(frozen=True)
class GgufCheckpoint:
    """A GGUF file; implements ``edgelora.values.Checkpoint``. Tensors stay in the file until they are read."""

    name: str
    config: Mapping[str, Any]
    eos_token_ids: tuple[int, ...]
    tokenizer: TokenizerFiles | None
    notes: tuple[str, ...]
    architecture: str
    path: Path
    tensors: Mapping[str, _Stored]  # by Hugging Face name

    @property
    def task(self) -> Task:
        """GGUF files hold decoders that write text."""
        return Task()

    def names(self) -> tuple[str, ...]:
        """Every tensor name, sorted."""
        return tuple(sorted(self.tensors))

    def head_names(self) -> tuple[str, ...]:
        """None: they have no head of another task."""
        return ()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape in the orientation of the Hugging Face state dict."""
        return turned_shape(name, self._tensor(name).shape)

    def read(self, name: str) -> FloatArray:
        """A tensor as float32, with every change of llama.cpp's converter undone."""
        tensor = self._tensor(name)
        value = check_finite(_dequantize(self._load(tensor), tensor), name, self.name)
        order = self._row_order(name)
        if order is not None:
            value = value[order]
        if self.architecture in _NORM_PLUS_ONE and name.endswith("norm.weight"):
            value = value - np.float32(1)
        return np.ascontiguousarray(turned(name, value))

    def packed(self, name: str) -> QuantizedMatrix | None:
        """The file's own integers for Q4_0 and Q8_0, rows = out_features (for gpt2 too), else None."""
        tensor = self._tensor(name)
        spec = _KEPT.get(tensor.kind.name)
        if spec is None or len(tensor.shape) != 2:
            return None
        rows, in_features = tensor.shape
        blocks = self._load(tensor).reshape(rows, in_features // _BLOCK, -1)  # (out, n_blocks, 2 + code bytes)
        order = self._row_order(name)
        if order is not None:
            blocks = blocks[order]
        scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0].astype(np.float32)
        codes = np.ascontiguousarray(blocks[..., 2:])
        repacked = _pair_nibbles(codes) if spec.bits == 4 else codes ^ np.uint8(0x80)  # int8 q becomes q + 128
        return QuantizedMatrix(repacked, scales, None, spec, in_features)

    def _tensor(self, name: str) -> _Stored:
        try:
            return self.tensors[name]
        except KeyError:
            raise CheckpointError(f"{self.name} has no tensor {name!r}") from None

    def _load(self, tensor: _Stored) -> npt.NDArray[Any]:
        """The stored array, read anew: a mapped file would stay resident as a whole."""
        try:
            count = math.prod(tensor.stored)
            data = np.fromfile(self.path, tensor.dtype, count, offset=tensor.offset)
            return data.reshape(tensor.stored)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path.name} cannot be read any more ({error})") from error

    def _row_order(self, name: str) -> npt.NDArray[np.intp] | None:
        module = name.rpartition(".")[0]
        if not is_permuted(self.architecture, module):
            return None
        heads = "num_attention_heads" if module.endswith("q_proj") else "num_key_value_heads"
        return row_order(self.shape(name)[0], self.config[heads])


def open_gguf(path: Path) -> GgufCheckpoint:
    """Open a GGUF file; reads its metadata and maps its tensors.

    Raises ``CheckpointError`` for a corrupt or truncated file, an unknown architecture, pre-tokenizer or tensor type.
    """
    reader, metadata = open_reader(path)
    if metadata.integer("split.count", 1) > 1:
        raise CheckpointError(f"{path.name} is one part of a split GGUF; join the parts with llama-gguf-split --merge")
    architecture = metadata.text("general.architecture")
    if architecture not in MODEL_TYPES:
        raise CheckpointError(
            f"{path.name} has the architecture {architecture!r}; EdgeLoRA reads GGUF files of {', '.join(MODEL_TYPES)}"
        )
    stored = {tensor.name: tensor for tensor in reader.tensors}
    check_types(((tensor.name, tensor.tensor_type) for tensor in reader.tensors), path.name)
    rope = {
        name: check_finite(np.asarray(stored.pop(name).data, np.float32), name, path.name)
        for name in _ROPE_TENSORS
        if name in stored
    }
    blocks = metadata.count(f"{architecture}.block_count")
    if blocks > len(stored):
        raise CheckpointError(f"{path.name} names {blocks} layers but has {len(stored)} tensors; download it again")
    tensors = _rename(stored, architecture, blocks, path.name)
    located = {name: _locate(tensor) for name, tensor in tensors.items()}
    located = settle_head(located, lambda tensor: _rows(tensor, path), None, path.name)  # GGUF ties what is not there
    tokenizer, notes = build_tokenizer(metadata)
    shapes = {name: tensor.shape for name, tensor in located.items()}
    rows = embedding_rows(shapes)
    known = None if tokenizer is None else read_vocabulary(tokenizer.tokenizer_json)
    eos, inferred = find_end_tokens(declared_end_ids(metadata), tokenizer, known, rows, path.name)
    config = normalise(build_config(metadata, shapes, rope, eos), path.name)
    config, left_out = special_ids(config, rows, path.name)
    return GgufCheckpoint(
        name=_TYPE_SUFFIX.sub("", path.stem),
        config=config,
        eos_token_ids=eos,
        tokenizer=tokenizer,
        notes=(
            *notes,
            *left_out,
            *inferred,
            *unreachable_tokens(known, rows, path.name),
            *_type_notes(located),
        ),
        architecture=architecture,
        path=path,
        tensors=located,
    )


def open_reader(path: Path) -> tuple[gguf.GGUFReader, Metadata]:
    """A GGUF file of any kind; raises CheckpointError for one that is torn or stored for big-endian machines."""
    try:
        reader = FastReader(path)
        metadata = Metadata({key: field.contents() for key, field in reader.fields.items()}, path.name)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError, struct.error) as error:
        raise CheckpointError(
            f"{path.name} is no complete GGUF file ({one_line(error, named=False)}); download it again"
        ) from error
    if reader.byte_order == "S":
        raise CheckpointError(f"{path.name} is big-endian; convert it with gguf_convert_endian.py of llama.cpp")
    return reader, metadata


def _rename(
    stored: Mapping[str, gguf.ReaderTensor], architecture: str, blocks: int, file: str
) -> dict[str, gguf.ReaderTensor]:
    to_hugging_face = modules_by_stem(architecture, blocks)
    renamed: dict[str, gguf.ReaderTensor] = {}
    strangers: list[str] = []
    for name, tensor in stored.items():
        stem, _, suffix = name.rpartition(".")
        if stem in to_hugging_face:
            renamed[f"{to_hugging_face[stem]}.{suffix}"] = tensor
        else:
            strangers.append(name)
    if strangers:
        raise CheckpointError(
            f"{file} has {len(strangers)} tensors that {architecture} does not have in Hugging Face form: "
            f"{join_some(map(show, strangers), ', ')}; it cannot be read without losing them"
        )
    return renamed


def _rows(tensor: _Stored, path: Path) -> Iterator[FloatArray]:
    """The values of a matrix as the file stores them, some rows at a time."""
    try:
        data = np.memmap(path, tensor.dtype, "r", tensor.offset, tensor.stored)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read any more ({error})") from error
    for rows in chunks(tensor.shape):
        yield _dequantize(data[rows], dataclasses.replace(tensor, shape=(rows.stop - rows.start, *tensor.shape[1:])))


def _type_notes(tensors: Mapping[str, _Stored]) -> tuple[str, ...]:
    counts = Counter(tensor.kind.name for tensor in tensors.values())
    return tuple(
        f"{count} {'tensor is' if count == 1 else 'tensors are'} {kind} and {'was' if count == 1 else 'were'} "
        f"dequantized: {_WHY_DEQUANTIZED.get(kind, 'MatMulNBits has no form for its blocks')}."
        for kind, count in sorted(counts.items())
        if kind not in PLAIN_TYPES and kind not in _KEPT
    )


def _locate(tensor: gguf.ReaderTensor) -> _Stored:
    shape = tuple(int(size) for size in reversed(tensor.shape))
    return _Stored(int(tensor.data_offset), tensor.tensor_type, tensor.data.dtype, tensor.data.shape, shape)


def _dequantize(data: npt.NDArray[Any], tensor: _Stored) -> FloatArray:
    """The values (*shape) of a stored array, a few rows at a time.

    The package takes 16 rows at a time and holds the result twice; rows in one line it takes at once.
    """
    if tensor.kind.name == "F64":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            return data.astype(np.float32).reshape(tensor.shape)
    if tensor.kind.name in PLAIN_TYPES or len(tensor.shape) != 2:
        return np.asarray(gguf.dequantize(data, tensor.kind), np.float32).reshape(tensor.shape)
    value = np.empty(tensor.shape, np.float32)
    step = max(1, _CHUNK_WEIGHTS // max(1, tensor.shape[1]))
    for start in range(0, len(value), step):
        rows = value[start : start + step]
        rows[:] = gguf.dequantize(data[start : start + step].reshape(1, -1), tensor.kind).reshape(rows.shape)
    return value


def _pair_nibbles(codes: ByteArray) -> ByteArray:
    """GGUF keeps weights j and j + 16 in byte j; ``MatMulNBits`` keeps neighbours 2j and 2j + 1 there."""
    low, high = codes & np.uint8(0x0F), codes >> np.uint8(4)
    first = low[..., 0::2] | (low[..., 1::2] << np.uint8(4))  # weights 0..15
    second = high[..., 0::2] | (high[..., 1::2] << np.uint8(4))  # weights 16..31
    return np.concatenate([first, second], axis=-1)
