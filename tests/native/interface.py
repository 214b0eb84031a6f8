"""The C interface of the native runtime through ctypes: structures as ``edgelora.h`` has them, errors as exceptions.

Knows nothing about pytest; another binding of the interface looks like this one.
"""

from __future__ import annotations

import ctypes
import itertools
import json
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INVALID_INPUT, ARTIFACT, ADAPTER, CANCELLED, UNSUPPORTED = 1, 2, 3, 4, 5
OnText = ctypes.CFUNCTYPE(c_int32, c_void_p, c_size_t, POINTER(ctypes.c_char), c_size_t)
OnToken = ctypes.CFUNCTYPE(c_int32, c_void_p, c_size_t, c_int32)


class LoadOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("threads", c_int32), ("onnxruntime", c_char_p), ("cache", c_char_p),
        ("operators", c_char_p), ("adapter_bytes", c_int64), ("hashes", c_int32), ("probe", c_int32),
        ("twin", c_int32), ("reserved", c_int32),
    ]  # fmt: skip


class GenerateOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("max_new_tokens", c_int32), ("temperature", c_double), ("top_p", c_double),
        ("min_p", c_double), ("repetition_penalty", c_double), ("top_k", c_int32), ("has_seed", c_int32),
        ("seed", c_uint64), ("adapter", c_char_p), ("adapters_json", c_char_p), ("stop_json", c_char_p),
        ("choices_json", c_char_p), ("template_json", c_char_p), ("tools_json", c_char_p), ("date", c_char_p),
        ("raw", c_int32), ("reserved", c_int32), ("cancel", c_void_p), ("on_text", OnText), ("on_token", OnToken),
        ("user_data", c_void_p),
    ]  # fmt: skip


class EncoderOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved", c_int32), ("adapter", c_char_p), ("adapters_json", c_char_p),
        ("cancel", c_void_p),
    ]  # fmt: skip


class Conversation(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("no_generation_prompt", c_int32), ("messages_json", c_char_p),
        ("tools_json", c_char_p), ("template_json", c_char_p), ("date", c_char_p),
    ]  # fmt: skip


class NativeError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Answer:
    text: str
    token_ids: list[int]
    finish_reason: str
    prompt_tokens: int
    scores: list[float]


class Library:
    """The functions of ``libedgelora.so``; whatever is no success is raised."""

    def __init__(self, path: Path, onnxruntime: Path) -> None:
        self._onnxruntime = onnxruntime
        self.functions = ctypes.CDLL(str(path))
        results: dict[str, Any] = {
            "version": c_char_p, "error_message": c_char_p, "cancel_create": c_void_p, "generation_rows": c_size_t,
            "generation_text": POINTER(ctypes.c_char), "generation_ids": POINTER(c_int32),
            "generation_finish_reason": c_char_p, "generation_prompt_tokens": c_size_t,
            "generation_scores": POINTER(c_double), "load_options_init": None, "generate_options_init": None,
            "encoder_options_init": None,
            "error_free": None, "free": None, "cancel_free": None, "cancel_set": None, "cancel_reset": None,
            "model_free": None, "generation_free": None, "random": None,
        }  # fmt: skip
        for name, result in results.items():
            self[name].restype = result

    def __getitem__(self, name: str) -> Any:
        return getattr(self.functions, f"edgelora_{name}")

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function whose last parameter is the error."""
        error = c_void_p()
        status = self[name](*arguments, byref(error))
        if status == 0:
            assert error.value is None
            return
        assert self["error_code"](error) == status
        message = self["error_message"](error).decode()
        self["error_free"](error)
        raise NativeError(status, message)

    def ids(self, name: str, *arguments: Any) -> list[int]:
        """The token ids that a function gives."""
        ids, n_ids = POINTER(c_int32)(), c_size_t()
        self.call(name, *arguments, byref(ids), byref(n_ids))
        found = ids[: n_ids.value]
        self["free"](ids)
        return found

    def text(self, name: str, *arguments: Any) -> str:
        """The text that a function gives."""
        text, n_bytes = POINTER(ctypes.c_char)(), c_size_t()
        self.call(name, *arguments, byref(text), byref(n_bytes))
        assert text[n_bytes.value] == b"\0"
        found = text[: n_bytes.value].decode()
        self["free"](text)
        return found

    def floats(self, name: str, *arguments: Any, after: Sequence[Any] = ()) -> list[float]:
        """The numbers that a function gives; ``after`` are the arguments behind their places."""
        numbers, count = POINTER(c_float)(), c_size_t()
        self.call(name, *arguments, byref(numbers), byref(count), *after)
        found = numbers[: count.value]
        self["free"](numbers)
        return found

    def load(self, path: Path, **options: Any) -> Model:
        given = LoadOptions()
        self["load_options_init"](byref(given), c_size_t(ctypes.sizeof(given)))
        for key, value in {"onnxruntime": self._onnxruntime, **options}.items():
            setattr(given, key, str(value).encode() if isinstance(value, (str, Path)) else value)
        handle = c_void_p()
        self.call("load", str(path).encode(), byref(given), byref(handle))
        return Model(self, handle)

    def options(self, **given: Any) -> GenerateOptions:
        """Options of a call: texts and JSON values as such, a seed as ``seed=``."""
        options = GenerateOptions()
        self["generate_options_init"](byref(options), c_size_t(ctypes.sizeof(options)))
        for key, value in given.items():
            if key == "seed":
                options.has_seed = 1
            if key in ("stop", "choices", "template", "tools", "adapters"):
                key, value = f"{key}_json", json.dumps(value)
            setattr(options, key, value.encode() if isinstance(value, str) else value)
        return options

    def encoder_options(self, adapter: str | list[str] | None) -> EncoderOptions:
        """Options with one SPEC, or one for each text."""
        options = EncoderOptions()
        self["encoder_options_init"](byref(options), c_size_t(ctypes.sizeof(options)))
        if isinstance(adapter, str):
            options.adapter = adapter.encode()
        elif adapter is not None:
            options.adapters_json = json.dumps(adapter).encode()
        return options

    def conversation(self, case: dict[str, Any]) -> Conversation:
        """The conversation of a conformance case."""
        found = Conversation(struct_size=ctypes.sizeof(Conversation))
        found.no_generation_prompt = not case.get("add_generation_prompt", True)
        found.messages_json = json.dumps(case["messages"]).encode()
        for key, field in (("tools", "tools_json"), ("variables", "template_json")):
            if key in case:
                setattr(found, field, json.dumps(case[key]).encode())
        found.date = case["date"].encode() if "date" in case else None
        return found


class Model:
    """A model's handle; freed with it."""

    def __init__(self, library: Library, handle: c_void_p) -> None:
        self.library, self.handle = library, handle

    def __del__(self) -> None:
        self.library["model_free"](self.handle)

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.library.text("model_info", self.handle))
        return found

    def encode(self, text: str, special: bool = True) -> list[int]:
        content = text.encode()
        return self.library.ids("encode", self.handle, content, c_size_t(len(content)), c_int32(special))

    def decode(self, ids: Sequence[int]) -> str:
        return self.library.text("decode", self.handle, int32s(ids), c_size_t(len(ids)), c_int32(0))

    def generate(self, prompt: str, **options: Any) -> Answer:
        content = prompt.encode()
        given = self.library.options(**options)
        return self._answers("generate", content, c_size_t(len(content)), byref(given))[0]

    def chat(self, messages: Any, **options: Any) -> Answer:
        given = self.library.options(**options)
        return self._answers("chat", json.dumps(messages).encode(), byref(given))[0]

    def generate_batch(self, prompts: Sequence[str], **options: Any) -> list[Answer]:
        given = self.library.options(**options)
        return self._answers("generate_batch", json.dumps(prompts).encode(), byref(given))

    def generate_ids(self, rows: Sequence[Sequence[int]], **options: Any) -> list[Answer]:
        given = self.library.options(**options)
        lengths = (c_size_t * len(rows))(*map(len, rows))
        every = int32s([token for row in rows for token in row])
        return self._answers("generate_ids", every, lengths, c_size_t(len(rows)), byref(given))

    def logits(self, ids: Sequence[int], adapter: str, positions: Sequence[int]) -> list[list[float]]:
        size = self.library["vocab_size"](self.handle)
        room = (c_float * (size * len(positions)))()
        where = (c_size_t * len(positions))(*positions)
        counts = c_size_t(len(ids)), adapter.encode(), where, c_size_t(len(positions)), None
        self.library.call("logits", self.handle, int32s(ids), *counts, room, c_size_t(len(room)))
        return [list(room[start : start + size]) for start in range(0, len(room), size)]

    def classify(self, texts: Sequence[str], adapter: str | list[str] | None = None) -> list[dict[str, Any]]:
        return self._encoded("classify", json.dumps(texts).encode(), adapter=adapter)

    def classify_pixels(self, pixels: Sequence[float], adapter: str | list[str] | None = None) -> list[dict[str, Any]]:
        return self._encoded("classify_pixels", floats(pixels), c_size_t(len(pixels)), adapter=adapter)

    def classify_each(self, text: str, adapters: list[str] | None = None) -> dict[str, Any]:
        content = text.encode()
        return dict(self._encoded("classify_each", content, c_size_t(len(content)), adapter=adapters))

    def tag(self, texts: Sequence[str], adapter: str | list[str] | None = None) -> list[dict[str, Any]]:
        return self._encoded("tag", json.dumps(texts).encode(), adapter=adapter)

    def embed(
        self, texts: Sequence[str], adapter: str | list[str] | None = None
    ) -> tuple[list[list[float]], list[bool]]:
        cut, options = (c_int32 * len(texts))(), self.library.encoder_options(adapter)
        given = self.handle, json.dumps(texts).encode(), byref(options)
        found = self.library.floats("embed", *given, after=(cut, c_size_t(len(texts))))
        size = len(found) // len(texts)
        return [found[start : start + size] for start in range(0, len(found), size)], list(map(bool, cut))

    def outputs(self, rows: Sequence[Sequence[int]], adapter: str | list[str] | None = None) -> list[list[float]]:
        counts, options = (c_size_t * len(rows))(), self.library.encoder_options(adapter)
        lengths = (c_size_t * len(rows))(*map(len, rows))
        every = int32s([token for row in rows for token in row])
        given = self.handle, every, lengths, c_size_t(len(rows)), byref(options)
        return split(self.library.floats("outputs", *given, after=(counts,)), counts)

    def outputs_of_pixels(self, images: Sequence[Sequence[float]], adapter: list[str]) -> list[list[float]]:
        counts, options = (c_size_t * len(images))(), self.library.encoder_options(adapter)
        every = [number for image in images for number in image]
        given = self.handle, floats(every), c_size_t(len(every)), byref(options)
        after = counts, c_size_t(len(images))
        return split(self.library.floats("outputs_of_pixels", *given, after=after), counts)

    def _encoded(self, name: str, *arguments: Any, adapter: str | list[str] | None) -> Any:
        options = self.library.encoder_options(adapter)
        return json.loads(self.library.text(name, self.handle, *arguments, byref(options)))

    def _answers(self, name: str, *arguments: Any) -> list[Answer]:
        generation = c_void_p()
        self.library.call(name, self.handle, *arguments, byref(generation))
        found = [self._answer(generation, row) for row in range(self.library["generation_rows"](generation))]
        self.library["generation_free"](generation)
        return found

    def _answer(self, generation: c_void_p, row: int) -> Answer:
        def read(name: str) -> Any:
            count = c_size_t()
            found = self.library[f"generation_{name}"](generation, c_size_t(row), byref(count))
            return found[: count.value] if count.value else []

        reason = self.library["generation_finish_reason"](generation, c_size_t(row)).decode()
        n_tokens = self.library["generation_prompt_tokens"](generation, c_size_t(row))
        text = bytes(read("text") or b"").decode()
        return Answer(text, list(read("ids")), reason, n_tokens, list(read("scores")))


def on_text(take: Callable[[int, str], bool]) -> Any:
    """A callback for text: ``take`` gets row and piece, and says whether to go on."""
    return OnText(lambda _, row, text, n_bytes: not take(row, text[:n_bytes].decode()))


def on_token(take: Callable[[int, int], bool]) -> Any:
    """A callback for tokens: ``take`` gets row and token id, and says whether to go on."""
    return OnToken(lambda _, row, token: not take(row, token))


def floats(numbers: Sequence[float]) -> Any:
    return (c_float * len(numbers))(*numbers)


def split(numbers: list[float], counts: Sequence[int]) -> list[list[float]]:
    """Numbers as rows of these lengths."""
    ends = list(itertools.accumulate(counts, initial=0))
    return [numbers[start:end] for start, end in itertools.pairwise(ends)]


def int32s(ids: Sequence[int]) -> Any:
    return (c_int32 * len(ids))(*ids)
