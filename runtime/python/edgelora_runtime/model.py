"""The public model: text or token ids in, answers out, with adapters by name.

Knows nothing about buffers or kernels; it joins tokenizer, adapters, sampling and session.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import numpy as np
import numpy.typing as npt

from edgelora_runtime.cache import find_entry
from edgelora_runtime.errors import InputError
from edgelora_runtime.generate import Decoding, FinishReason, logits_at, score_choices, score_tokens
from edgelora_runtime.lookup import LookupDecoding
from edgelora_runtime.manifest import Manifest, check_files, read_manifest
from edgelora_runtime.probe import ProbeResult, check_adapter
from edgelora_runtime.request import IdOptions, Request, TextOptions, check_ids, make_request
from edgelora_runtime.sampling import Sampler, SamplingOptions
from edgelora_runtime.session import BoundAdapter, Session
from edgelora_runtime.swap import AdapterSet
from edgelora_runtime.text import Messages, StopFilter, StreamDecoder, Tokenizer, read_tokenizer, text_pieces

MAX_ROWS = 16  # rows computed together; longer lists are worked off in groups
_ALWAYS_HASHED_BYTES = 4 << 20  # hashing a small file costs nothing beside loading; weights are hashed on demand


@dataclass(frozen=True)
class Generation:
    """One answer. ``token_ids`` leaves out the end token; ``choice_scores`` are in the order of the choices given."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    choice_scores: tuple[float, ...] | None = None


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    hashes: bool = False,
    probe: bool = False,
    twin: bool = False,
    cache: str | Path | None = None,
) -> Model:
    """Open an artifact. Sizes and small files are always checked; ``hashes`` reads every byte of the weights too.

    ``probe`` holds every adapter to its receipt: factors, base, and one replayed probe. ``twin`` keeps the graph
    without slots in memory beside the one with slots, for calls without an adapter at the speed of the bare base.
    ``cache`` is a folder of the device where the graph is kept as onnxruntime optimized and packed it: the first load
    writes it, later ones map it (two to three times the weights on disk, far less memory of each process's own).
    Raises ArtifactError for a damaged artifact, AdapterError naming the adapter that is not what its receipt says.
    """
    folder = Path(path)
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        raise InputError(f"threads is {threads!r}, expected a whole number from 1, or None")
    manifest = read_manifest(folder)
    check_files(folder, manifest, hashes=hashes)
    if not hashes:
        small = {name: info for name, info in manifest.files.items() if info.bytes <= _ALWAYS_HASHED_BYTES}
        check_files(folder, dataclasses.replace(manifest, files=small))
    find = None if cache is None else functools.partial(find_entry, Path(cache), folder, manifest, hashes=hashes)
    model = Model(folder, manifest, Session(folder, manifest, threads, twin, find))
    for info in manifest.adapters if probe else ():
        model.probe(info.name)
    return model


class Model:
    """A loaded artifact. It answers one call at a time; a call during an open stream ends the stream with an error."""

    def __init__(self, folder: Path, manifest: Manifest, session: Session) -> None:
        self.manifest = manifest
        self._folder = folder
        self._session = session
        self._adapters = AdapterSet(folder, manifest, session)
        self._spec = "none"

    @functools.cached_property
    def tokenizer(self) -> Tokenizer | None:
        """None when the artifact has none. Raises InputError when the packages of ``edgelora[text]`` are missing."""
        info = self.manifest.tokenizer
        if info is None:
            return None
        special = {key: getattr(info, key) for key in ("bos_token", "eos_token", "pad_token", "unk_token")}
        return read_tokenizer(self._folder, info.file, info.chat_template, special)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that a SPEC can use."""
        return self._adapters.names

    @property
    def adapter(self) -> str:
        """The SPEC used where a call gives none."""
        return self._spec

    def set_adapter(self, spec: str) -> None:
        """Use ``spec`` from now on where a call gives none, and bind it; a change drops the KV cache."""
        adapter = self._adapters.find(spec)
        if adapter is not self._session.adapter:
            self._session.begin(1, adapter)
        self._spec = spec

    def load_adapter(self, name: str, folder: str | Path) -> None:
        """Make the PEFT folder known as ``name`` (replacing that name); raises AdapterError when it does not fit."""
        self._adapters.load(name, Path(folder))

    def probe(self, name: str) -> ProbeResult | None:
        """Hold an adapter to its receipt and replay a probe of it; None where the receipt has none, or there is none.

        Raises AdapterError when it does nothing, or not what its receipt says.
        """
        self._adapters.find(name)
        return check_adapter(self, name, self._adapters.folder(name))

    @overload
    def generate(
        self,
        prompt: str,
        *,
        adapter: str | None = ...,
        raw: bool = ...,
        stream: Literal[False] = ...,
        **options: Unpack[TextOptions],
    ) -> Generation: ...
    @overload
    def generate(
        self,
        prompt: list[str],
        *,
        adapter: str | list[str] | None = ...,
        raw: bool = ...,
        stream: Literal[False] = ...,
        **options: Unpack[TextOptions],
    ) -> list[Generation]: ...
    @overload
    def generate(
        self,
        prompt: str,
        *,
        adapter: str | None = ...,
        raw: bool = ...,
        stream: Literal[True],
        **options: Unpack[TextOptions],
    ) -> Iterator[str]: ...

    def generate(
        self,
        prompt: str | list[str],
        *,
        adapter: str | list[str] | None = None,
        raw: bool = False,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        lookup: bool = False,
        stop: str | Sequence[str] = (),
        choices: Sequence[str] | None = None,
        stream: bool = False,
    ) -> Generation | list[Generation] | Iterator[str]:
        """Answer a prompt, or each of a list. ``raw`` leaves out the chat template; ``adapter`` may be one per prompt.

        With ``choices`` the answer is the likeliest of the given strings; with ``stream`` text comes as it is made.
        ``lookup`` guesses ahead from what was said before, for one prompt: quicker where the answer repeats it.
        """
        sampling = SamplingOptions(temperature, top_k, top_p, min_p, repetition_penalty, seed)
        request = make_request(sampling, max_new_tokens, stop, choices, lookup)
        texts = prompt if isinstance(prompt, list) else [prompt]
        for text in texts:
            if not isinstance(text, str):
                raise InputError(f"prompt is {type(text).__name__}, expected text; use chat() for messages")
        tokenizer = self._text()
        encode: Callable[[str], list[int]] = tokenizer.encode if raw else functools.partial(_encode_user, tokenizer)
        prompts = [self._check(encode(text)) for text in texts]
        return self._answer(prompts, isinstance(prompt, list), adapter, request, stream)

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        adapter: str | None = ...,
        stream: Literal[False] = ...,
        **options: Unpack[TextOptions],
    ) -> Generation: ...
    @overload
    def chat(
        self, messages: Messages, *, adapter: str | None = ..., stream: Literal[True], **options: Unpack[TextOptions]
    ) -> Iterator[str]: ...

    def chat(
        self,
        messages: Messages,
        *,
        adapter: str | None = None,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        lookup: bool = False,
        stop: str | Sequence[str] = (),
        choices: Sequence[str] | None = None,
        stream: bool = False,
    ) -> Generation | list[Generation] | Iterator[str]:
        """Answer a conversation of ``{"role", "content"}`` messages; the options are those of ``generate``."""
        sampling = SamplingOptions(temperature, top_k, top_p, min_p, repetition_penalty, seed)
        request = make_request(sampling, max_new_tokens, stop, choices, lookup)
        return self._answer([self._check(self._text().encode_chat(messages))], False, adapter, request, stream)

    @overload
    def generate_ids(self, ids: list[int], *, adapter: str | None = ..., **options: Unpack[IdOptions]) -> list[int]: ...
    @overload
    def generate_ids(
        self, ids: list[list[int]], *, adapter: str | list[str] | None = ..., **options: Unpack[IdOptions]
    ) -> list[list[int]]: ...

    def generate_ids(
        self,
        ids: list[int] | list[list[int]],
        *,
        adapter: str | list[str] | None = None,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        lookup: bool = False,
    ) -> list[int] | list[list[int]]:
        """Continue token ids, or each list of a batch; what comes back leaves out the end token."""
        sampling = SamplingOptions(temperature, top_k, top_p, min_p, repetition_penalty, seed)
        request = make_request(sampling, max_new_tokens, lookup=lookup)
        is_batch = bool(ids) and all(isinstance(row, (list, tuple)) for row in ids)
        rows: Any = ids if is_batch else [ids]
        answers: list[list[int]] = [[] for _ in rows]
        for start, decoding in self._decode_groups([self._check(row) for row in rows], adapter, request):
            for row, token in decoding:
                answers[start + row].append(token)
        return answers if is_batch else answers[0]

    def logits(
        self, ids: Sequence[int], *, adapter: str | None = None, positions: Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """Logits (n_positions, vocab_size) after the tokens at ``positions`` of ``ids``, by default after every one."""
        row = self._check(ids)
        wanted = range(len(row)) if positions is None else [int(position) for position in positions]
        if not wanted or not all(0 <= position < len(row) for position in wanted):
            raise InputError(f"positions {list(wanted)!r}: expected indices from 0 to {len(row) - 1}, at least one")
        return logits_at(self._session, self._one(adapter), row, wanted)

    def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
    ) -> npt.NDArray[np.float64]:
        """Log-probability (len(completion_ids),) of each completion token after the prompt and those before it."""
        row = self._check([*prompt_ids, *completion_ids])
        if len(prompt_ids) == 0:
            raise InputError("prompt_ids is empty; the first token of a text has no probability, give at least one")
        return score_tokens(self._session, self._one(adapter), row[: len(prompt_ids)], row[len(prompt_ids) :])

    def _answer(
        self,
        prompts: list[list[int]],
        is_list: bool,
        adapter: str | list[str] | None,
        request: Request,
        is_stream: bool,
    ) -> Generation | list[Generation] | Iterator[str]:
        if is_stream:
            if is_list or request.choices is not None:
                raise InputError("stream takes one prompt and no choices; leave stream out for the others")
            return self._stream(prompts[0], self._one(adapter), request)
        if request.choices is None:
            answers = self._generate(prompts, adapter, request)
        else:
            choices = self._encode_choices(request.choices, max((len(ids) for ids in prompts), default=0))
            specs = self._specs(adapter, len(prompts))
            self._adapters.find_rows(specs)  # an unknown name is reported before anything is computed
            answers = [
                self._choose(ids, request.choices, choices, self._adapters.find(spec))
                for ids, spec in zip(prompts, specs, strict=True)
            ]
        return answers if is_list else answers[0]

    def _stream(self, ids: list[int], adapter: BoundAdapter, request: Request) -> Iterator[str]:
        decoding = self._decoding([ids], adapter, request, 0)
        tokens = (token for _, token in decoding)
        return text_pieces(tokens, StreamDecoder(self._text()), StopFilter(request.stops))

    def _generate(
        self, prompts: list[list[int]], adapter: str | list[str] | None, request: Request
    ) -> list[Generation]:
        tokenizer = self._text()
        answers = []
        for start, decoding in self._decode_groups(prompts, adapter, request):
            group = prompts[start : start + MAX_ROWS]
            decoders = [StreamDecoder(tokenizer) for _ in group]
            filters = [StopFilter(request.stops) for _ in group]
            ids: list[list[int]] = [[] for _ in group]
            texts = [""] * len(group)
            for row, token in decoding:
                ids[row].append(token)
                texts[row] += filters[row].push(decoders[row].push(token))
                if filters[row].is_stopped:
                    decoding.finish(row)
            for row, prompt in enumerate(group):
                text = texts[row] + filters[row].push(decoders[row].flush()) + filters[row].flush()
                reason: FinishReason = "stop" if filters[row].is_stopped else decoding.reasons[row]
                answers.append(Generation(text, tuple(ids[row]), reason, len(prompt)))
        return answers

    def _choose(
        self, ids: list[int], texts: Sequence[str], choices: list[list[int]], adapter: BoundAdapter
    ) -> Generation:
        scores = score_choices(self._session, adapter, ids, choices, self.manifest.model.eos_token_ids)
        best = int(np.argmax(scores))
        return Generation(texts[best], tuple(choices[best]), "choice", len(ids), scores)

    def _encode_choices(self, choices: Sequence[str], longest_prompt: int) -> list[list[int]]:
        tokenizer = self._text()
        encoded = [tokenizer.encode(choice, special=False) for choice in choices]
        total = longest_prompt + max(len(ids) for ids in encoded)
        if total > self.manifest.model.context_length:
            raise InputError(
                f"prompt and longest choice are {total} tokens, the context length is "
                f"{self.manifest.model.context_length}; shorten them"
            )
        return encoded

    def _decode_groups(
        self, prompts: list[list[int]], adapter: str | list[str] | None, request: Request
    ) -> Iterator[tuple[int, Decoding]]:
        """Groups of rows with the index of their first; each must be worked off before the next is asked for."""
        specs = self._specs(adapter, len(prompts))
        for spec in specs:
            self._adapters.parse(spec)
        for start in range(0, len(prompts), MAX_ROWS):
            group = prompts[start : start + MAX_ROWS]
            found = self._adapters.find_rows(specs[start : start + MAX_ROWS])
            yield start, self._decoding(group, found, request, start)

    def _decoding(self, prompts: list[list[int]], adapter: BoundAdapter, request: Request, start: int) -> Decoding:
        samplers = [Sampler(request.sampling, ids, start + row) for row, ids in enumerate(prompts)]
        ends = self.manifest.model.eos_token_ids
        kind = LookupDecoding if request.lookup else Decoding
        return kind(self._session, adapter, prompts, samplers, request.max_new_tokens, ends)

    def _one(self, adapter: str | list[str] | None) -> BoundAdapter:
        return self._adapters.find(self._specs(adapter, 1)[0])

    def _specs(self, adapter: str | list[str] | None, n_rows: int) -> list[str]:
        if n_rows == 0:
            raise InputError("the batch is empty; give at least one prompt")
        if not isinstance(adapter, (list, tuple)):
            return [self._spec if adapter is None else adapter] * n_rows
        if len(adapter) != n_rows:
            raise InputError(f"{len(adapter)} adapters for {n_rows} prompts; give one SPEC, or one for each prompt")
        return list(adapter)

    def _check(self, ids: Sequence[int]) -> list[int]:
        return check_ids(ids, self.manifest.model)

    def _text(self) -> Tokenizer:
        if self.tokenizer is None:
            raise InputError(f"{self.manifest.model.name} was exported without a tokenizer; use generate_ids")
        return self.tokenizer


def _encode_user(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode_chat([{"role": "user", "content": text}])
