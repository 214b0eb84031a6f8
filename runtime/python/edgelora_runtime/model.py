"""The public model: opens an artifact, takes text and gives text, over a model of token ids.

an artifact's folder, text -> Generation

Token ids are ``token_model.py``'s matter; this joins tokenizer, stops and choices.
"""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack, cast, overload

import numpy as np

from edgelora_runtime.adapter_set import AdapterSet
from edgelora_runtime.bound_adapter import BoundAdapter
from edgelora_runtime.check_files import check_files
from edgelora_runtime.encoder_model import EncoderModel
from edgelora_runtime.encoder_session import EncoderSession
from edgelora_runtime.errors import ArtifactError, InputError
from edgelora_runtime.find_operators import find_operators
from edgelora_runtime.generate import score_choices
from edgelora_runtime.generation import Generation, Row, TextStream, Timings, Usage, Written
from edgelora_runtime.graph_cache import find_entry
from edgelora_runtime.manifest import SMALL_FILE, read_manifest
from edgelora_runtime.messages import Messages, Tools
from edgelora_runtime.packed_adapters import PackedCache, name_artifact
from edgelora_runtime.packers import Packer
from edgelora_runtime.rendering import parse_date
from edgelora_runtime.request import Request, TextOptions, make_request
from edgelora_runtime.session import Session
from edgelora_runtime.text import Tokenizer
from edgelora_runtime.token_model import TokenModel
from edgelora_runtime.tool_calls import MARKS, CallReader, ToolCall

EncoderTask = Literal["text-classification", "token-classification", "feature-extraction", "image-classification"]


@dataclass(frozen=True)
class _Prompt:
    """Token ids, and how an answer is encoded behind them."""

    ids: list[int]
    encode_answer: Callable[[str], list[int]]
    tools: Tools | None = None


@overload
def load(
    path: str | Path,
    *,
    threads: int | None = ...,
    hashes: bool = ...,
    probe: bool = ...,
    twin: bool = ...,
    cache: str | Path | None = ...,
    adapter_bytes: int | None = ...,
    operator: bool | str | Path | None = ...,
    task: Literal["text-generation"] | None = ...,
) -> Model: ...
@overload
def load(
    path: str | Path,
    *,
    threads: int | None = ...,
    hashes: bool = ...,
    probe: bool = ...,
    twin: bool = ...,
    cache: str | Path | None = ...,
    adapter_bytes: int | None = ...,
    operator: bool | str | Path | None = ...,
    task: EncoderTask,
) -> EncoderModel: ...


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    hashes: bool = False,
    probe: bool = False,
    twin: bool = False,
    cache: str | Path | None = None,
    adapter_bytes: int | None = None,
    operator: bool | str | Path | None = None,
    task: str | None = None,
) -> Model | EncoderModel:
    """Open an artifact. Sizes and small files are always checked; ``hashes`` reads every byte of the weights too.

    The files of an adapter are checked when it is first used; with ``hashes`` or ``probe`` all of them are now.
    ``probe`` holds every adapter to its receipt: factors, base, and one replayed probe. ``twin`` keeps the graph
    without slots in memory beside the one with slots, for calls without an adapter at the speed of the bare base.
    ``cache`` is a folder of the device where the graph is kept as onnxruntime optimized and packed it: the first load
    writes it, later ones map it (two to three times the weights on disk, far less memory of each process's own).
    Adapters are kept there packed, too, until their files change.
    ``adapter_bytes`` bounds the memory of adapters: beyond it, those that were not used for longest are dropped, and
    read again when they are asked for. The model is a context manager: leaving it closes it.
    ``operator`` is whether adapters are multiplied by the native operators of ``edgelora-ops``: None where the package
    is installed and the artifact has a graph for it, False never, True always, or the path of such a library.
    ``task`` is what the artifact must be for; where it is left out, an artifact of a classifier, tagger or embedder
    comes back as an EncoderModel too, and a type checker has to be told.
    Raises ArtifactError for a damaged artifact or one of another task, AdapterError naming the adapter that is not what
    its receipt says.
    """
    folder = Path(path)
    for name, value in (("threads", threads), ("adapter_bytes", adapter_bytes)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise InputError(f"{name} is {value!r}, expected a whole number from 1, or None")
    manifest = read_manifest(folder)
    if task is not None and task != manifest.task:
        raise ArtifactError(f"{folder} is for {manifest.task}, expected {task}; load another artifact")
    if hashes:
        check_files(folder, manifest)
    else:
        check_files(folder, manifest, manifest.files_of_base, SMALL_FILE)
    kept = None if cache is None else Path(cache)
    find = None if kept is None else functools.partial(find_entry, kept, folder, manifest, hashes=hashes)

    def keep_packed(packer: Packer) -> PackedCache | None:
        if kept is None or hashes:  # adapters are trusted by size and time of their files, or read anew
            return None
        return PackedCache(kept / "adapters", name_artifact(manifest), packer)

    library = find_operators(operator, manifest)
    model: Model | EncoderModel
    if manifest.encoder is None:
        session = Session(folder, manifest, threads, twin, find, library)
        adapters = AdapterSet(folder, manifest, session.packer, keep_packed(session.packer), adapter_bytes)
        model = Model(folder, manifest, session, adapters)
    else:
        encoder = EncoderSession(folder, manifest, manifest.encoder, threads, find, library)
        packed = keep_packed(encoder.packer)
        adapters = AdapterSet(folder, manifest, encoder.packer, packed, adapter_bytes, encoder.base_head)
        model = EncoderModel(folder, manifest, manifest.encoder, encoder, adapters)
    for name in manifest.adapter_names if probe else ():
        model.probe(name)
    return model


class Model(TokenModel):
    """A loaded artifact, for any number of threads: it answers one call at a time, the others wait.

    A stream keeps others out from its first piece until it is exhausted, closed or garbage. A thread that has one open
    does not wait for itself: its next answer ends the stream with an error. Each call uses the adapters as they are
    when its turn comes.
    """

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
    ) -> TextStream: ...

    def generate(
        self,
        prompt: str | list[str],
        *,
        adapter: str | list[str] | None = None,
        raw: bool = False,
        stream: bool = False,
        **options: Unpack[TextOptions],
    ) -> Generation | list[Generation] | TextStream:
        """Answer a prompt, or each of a list. ``raw`` leaves out the chat template; ``adapter`` may be one per prompt.

        ``schema`` (a JSON Schema) and ``regex`` keep an answer in that form, one for all prompts or one for each.
        ``process_logits`` gets the token ids so far and the float32 logits (vocab_size,) of the next token, which it
        may change in place; what returns True ends the answer.
        With ``choices`` the answer is the likeliest of the given strings; with ``stream`` text comes as it is made,
        and the ``generation`` of the stream is the whole answer at its end.
        ``template`` holds variables of the chat template, as ``{"enable_thinking": False}``, beside those of the
        artifact; ``date`` (YYYY-MM-DD) is the day that a template with a date writes, today where it is left out.
        ``lookup`` guesses ahead from what was said before, for one prompt: quicker where the answer repeats it.
        """
        request = make_request(**options)
        texts = prompt if isinstance(prompt, list) else [prompt]
        for text in texts:
            if not isinstance(text, str):
                raise InputError(f"prompt is {type(text).__name__}, expected text; use chat() for messages")
        if raw and (request.template is not None or request.date is not None):
            raise InputError("template and date are for the chat template, which raw leaves out; leave one out")
        tokenizer = self._text("generate_ids") if raw else self._templated(request.template, request.date)
        encoded = [
            self._encode_raw(tokenizer, text) if raw else self._encode_chat(tokenizer, _ask(text), None)
            for text in texts
        ]
        return self._answer(encoded, isinstance(prompt, list), adapter, request, stream)

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = ...,
        adapter: str | None = ...,
        stream: Literal[False] = ...,
        **options: Unpack[TextOptions],
    ) -> Generation: ...
    @overload
    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = ...,
        adapter: str | None = ...,
        stream: Literal[True],
        **options: Unpack[TextOptions],
    ) -> TextStream: ...

    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        adapter: str | None = None,
        stream: bool = False,
        **options: Unpack[TextOptions],
    ) -> Generation | list[Generation] | TextStream:
        """Answer a conversation of ``{"role", "content"}`` messages; the options are those of ``generate``.

        ``tools`` are JSON schemas of functions, for templates that know them: what the model wants to have called is
        in ``tool_calls`` of the answer, no longer in its text; ``answer.message`` and messages of role ``tool`` go
        before the next question. Content may be a list of text parts.
        """
        request = make_request(**options)
        tokenizer = self._templated(request.template, request.date)
        return self._answer([self._encode_chat(tokenizer, messages, tools)], False, adapter, request, stream)

    def keep_prefix(
        self, prompt: str | Messages | Sequence[int], path: str | Path | None = None, *, adapter: str | None = None
    ) -> int:
        """Compute once what many prompts begin with; later calls with this adapter go on from there.

        ``prompt`` is an example of what ``generate`` gets, the first messages of what ``chat`` gets (a system message,
        say), or token ids. Whatever a later prompt shares with it is not computed again. ``path`` and the rest are
        those of ``TokenModel.keep_prefix``.
        """
        if isinstance(prompt, str):
            ids: Sequence[int] = self._text("generate_ids").encode_chat(_ask(prompt))
        elif prompt and isinstance(prompt[0], Mapping):
            ids = self._text("generate_ids").encode_chat(cast(Messages, prompt), add_generation_prompt=False)
        else:
            ids = cast(Sequence[int], prompt)
        return super().keep_prefix(ids, path, adapter=adapter)

    def _answer(
        self,
        encoded: list[_Prompt],
        is_list: bool,
        adapter: str | list[str] | None,
        request: Request,
        is_stream: bool,
    ) -> Generation | list[Generation] | TextStream:
        started = time.perf_counter()
        request.check_rows(len(encoded))
        if request.forms:
            _ = self._vocabulary  # what is missing for forms is reported now
        if is_stream:
            if is_list or request.choices is not None:
                raise InputError("stream takes one prompt and no choices; leave stream out for the others")
            spec = self._specs(adapter, 1)[0]
            self._start(spec, encoded[0].ids)  # an unknown name, or a prompt that lacks the invocation, is reported now
            written = Written()
            pieces = self._callers.stream(lambda: self._stream(encoded[0], spec, request, written, started))
            return TextStream(pieces, written)
        if request.choices is None:
            with self._callers.call():
                answers = self._generate(encoded, adapter, request, started)
        else:
            choices = [self._encode_choices(prompt, request.choices) for prompt in encoded]
            with self._callers.call():
                specs = self._specs(adapter, len(encoded))
                starts = [self._start(spec, prompt.ids) for spec, prompt in zip(specs, encoded, strict=True)]
                answers = [
                    self._choose(prompt, request.choices, of_row, self._adapters.find(spec), started, start)
                    for prompt, of_row, spec, start in zip(encoded, choices, specs, starts, strict=True)
                ]
        return answers if is_list else answers[0]

    def _row(self, prompt: _Prompt, request: Request, started: float) -> Row:
        tokenizer = self._text("generate_ids")
        stop_ids = tokenizer.find_stops(request.stops)
        if prompt.tools is None:
            return Row(tokenizer, request.stops, stop_ids, len(prompt.ids), started)
        reader = CallReader(prompt.tools)
        return Row(tokenizer.keeping(MARKS), request.stops, stop_ids, len(prompt.ids), started, reader)

    def _stream(self, prompt: _Prompt, spec: str, request: Request, written: Written, started: float) -> Iterator[str]:
        row = written.row = self._row(prompt, request, started)
        start = self._start(spec, prompt.ids)
        decoding = self._decoding({0: prompt.ids}, self._adapters.find(spec), request, start)
        for _, token in decoding:
            if piece := row.push(token):
                yield piece
            if row.is_stopped:
                break
        piece = row.flush()
        written.reason = decoding.reasons[0]
        if piece:
            yield piece

    def _generate(
        self, prompts: list[_Prompt], adapter: str | list[str] | None, request: Request, started: float
    ) -> list[Generation]:
        answers: dict[int, Generation] = {}
        for group, decoding in self._decode_groups([prompt.ids for prompt in prompts], adapter, request):
            rows = [self._row(prompts[index], request, started) for index in group]
            for place, token in decoding:
                rows[place].push(token)
                if rows[place].is_stopped:
                    decoding.finish(place)
            for index, row, reason in zip(group, rows, decoding.reasons, strict=True):
                row.flush()
                answers[index] = row.end(reason)
        return [answers[index] for index in range(len(prompts))]

    def _choose(
        self,
        prompt: _Prompt,
        texts: Sequence[str],
        choices: list[list[int]],
        adapter: BoundAdapter,
        started: float,
        start: int,
    ) -> Generation:
        scores = score_choices(self._session, adapter, prompt.ids, choices, self.manifest.model.eos_token_ids, start)
        best = int(np.argmax(scores))
        text, calls = texts[best], cast(tuple[ToolCall, ...], ())
        if prompt.tools is not None:
            reader = CallReader(prompt.tools)
            shown = reader.push(text)
            rest, calls = reader.end()
            text = shown + rest
        return Generation(
            text=text,
            token_ids=tuple(choices[best]),
            finish_reason="choice",
            usage=Usage(len(prompt.ids), len(choices[best])),
            timings=Timings((time.perf_counter() - started) * 1e3),
            tool_calls=calls,
            choice_scores=scores,
        )

    def _encode_choices(self, prompt: _Prompt, choices: Sequence[str]) -> list[list[int]]:
        encoded = [prompt.encode_answer(choice) for choice in choices]
        total = len(prompt.ids) + max(len(ids) for ids in encoded)
        if total > self.manifest.model.context_length:
            raise InputError(
                f"prompt and longest choice are {total} tokens, the context length is "
                f"{self.manifest.model.context_length}; shorten them"
            )
        return encoded

    def _encode_raw(self, tokenizer: Tokenizer, text: str) -> _Prompt:
        ends = self.manifest.model.eos_token_ids
        ids = self._check(tokenizer.encode_prompt(text, end_ids=ends))
        return _Prompt(ids, lambda answer: tokenizer.encode_after(text, answer, special=True, end_ids=ends))

    def _encode_chat(self, tokenizer: Tokenizer, messages: Messages, tools: Tools | None) -> _Prompt:
        ids = self._check(tokenizer.encode_chat(messages, tools=tools))
        return _Prompt(ids, lambda answer: tokenizer.encode_answer(messages, answer, tools), tools)

    def _templated(self, template: Mapping[str, Any] | None, date: str | datetime.date | None) -> Tokenizer:
        tokenizer, day = self._text("generate_ids"), parse_date(date)
        return tokenizer if template is None and day is None else tokenizer.with_template(template or {}, day)


def _ask(text: str) -> Messages:
    return [{"role": "user", "content": text}]
