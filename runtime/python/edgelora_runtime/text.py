"""Text in and out: tokenizer, chat template, streaming decoder, stop strings.

Knows nothing about graphs or sampling; the only file that needs the package ``tokenizers``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelora_runtime.errors import ArtifactError, EdgeLoraError, InputError
from edgelora_runtime.parse_json import one_line, parse_json

if TYPE_CHECKING:
    from edgelora_runtime.chat_template import ChatTemplate

Messages = Sequence[Mapping[str, Any]]

_REPLACEMENT = "\ufffd"  # what a decoder writes for bytes that are no complete UTF-8 character
_ADVICE = "run: pip install 'edgelora[text]'"


class Tokenizer:
    """Encodes, decodes and renders chats exactly as transformers does with the same files."""

    def __init__(
        self,
        tokenizer_json: str,
        chat_template: str | None = None,
        special_tokens: Mapping[str, str | None] | None = None,
        where: str = "tokenizer.json",
        vocab_size: int | None = None,
    ) -> None:
        try:
            import tokenizers
        except ImportError as error:
            raise InputError(f"text needs the package tokenizers, which is not installed; {_ADVICE}") from error
        _check_tokenizer(tokenizer_json, where)
        with _guarded(ArtifactError, f"{where} is no tokenizer that the package can read", "copy or export it again"):
            self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json)
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
        self.chat_template = chat_template
        self.vocab_size = vocab_size  # token ids that the model has; a tokenizer may know more. None: not known
        self._special = {name: token for name, token in (special_tokens or {}).items() if token is not None}
        self._template: ChatTemplate | None = None

    @classmethod
    def from_text(
        cls,
        tokenizer_json: str,
        chat_template: str | None = None,
        *,
        bos_token: str | None = None,
        eos_token: str | None = None,
        pad_token: str | None = None,
        unk_token: str | None = None,
        vocab_size: int | None = None,
    ) -> Tokenizer:
        """Build from the content of the files; the special tokens are what chat templates may ask for."""
        special = {"bos_token": bos_token, "eos_token": eos_token, "pad_token": pad_token, "unk_token": unk_token}
        return cls(tokenizer_json, chat_template, special, vocab_size=vocab_size)

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids of ``text``; ``special`` adds the tokenizer's own special tokens."""
        with _guarded(InputError, "the tokenizer cannot encode this text", "give text without halves of characters"):
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids`` without special tokens."""
        with _guarded(InputError, "the tokenizer cannot decode these ids", "give token ids of this model"):
            text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def render(self, messages: Messages, add_generation_prompt: bool = True) -> str:
        """The chat template over ``messages``; raises InputError when there is none or it refuses them."""
        if self.chat_template is None:
            raise InputError("this artifact has no chat template; give raw text (raw=True, --raw)")
        if isinstance(messages, (str, bytes)) or not messages:
            raise InputError(f"messages is {messages!r}, expected a list of at least one {{'role', 'content'}}")
        for index, message in enumerate(messages):
            if not isinstance(message, Mapping) or "role" not in message:
                raise InputError(f"message {index} is {message!r}, expected {{'role', 'content'}}")
        return self._compiled().render(
            {
                "messages": [dict(message) for message in messages],
                "tools": None,
                "documents": None,
                "add_generation_prompt": add_generation_prompt,
                **self._special,
            }
        )

    def _compiled(self) -> ChatTemplate:
        if self._template is None:
            try:
                import jinja2  # noqa: F401 - what is missing is named, whatever was imported before

                from edgelora_runtime.chat_template import ChatTemplate
            except ImportError as error:
                raise InputError(f"chat templates need jinja2, which is not installed; {_ADVICE}") from error
            self._template = ChatTemplate(str(self.chat_template))
        return self._template

    def check_template(self) -> None:
        """Compile the chat template, if there is one, now; raises ArtifactError when it is malformed."""
        if self.chat_template is not None:
            self._compiled()

    def encode_chat(self, messages: Messages, add_generation_prompt: bool = True) -> list[int]:
        """Token ids of the rendered chat; the template writes its own special tokens."""
        return self.encode(self.render(messages, add_generation_prompt), special=False)

    def encode_prompt(self, prompt: str, special: bool = True, end_ids: Collection[int] = ()) -> list[int]:
        """Token ids of a text that is to be continued: without the end token that some tokenizers put after all."""
        ids = self.encode(prompt, special)
        return ids[:-1] if ids and ids[-1] in end_ids else ids

    def encode_after(self, prompt: str, text: str, special: bool = False, end_ids: Collection[int] = ()) -> list[int]:
        """Token ids of ``text`` where it follows ``prompt``, whose own ids stay those of ``encode_prompt``.

        They are what follows the prompt when both are encoded together; where a token would reach over the border,
        those of ``text`` alone. ``special`` and ``end_ids`` are those the prompt is encoded with: raw text has special
        tokens added, a rendered chat brings its own.
        """
        before = self.encode_prompt(prompt, special, end_ids)
        together = self.encode_prompt(prompt + text, special, end_ids)
        if together[: len(before)] == before:
            return together[len(before) :]
        return self.encode(text, special=False)

    def encode_answer(self, messages: Messages, answer: str) -> list[int]:
        """Token ids of ``answer`` behind the rendered ``messages``, as training learns it and ``choices`` score it.

        The answer is encoded after the prompt. A template that writes white space before a finished answer has it in
        front, unless the tokens would then no longer decode to the answer.
        """
        prompt = self.render(messages)
        opening = self._find_opening(messages, prompt, answer)
        if opening:
            ids = self.encode_after(prompt, opening + answer)
            if self.is_decoded(self.encode_prompt(prompt, special=False), ids, answer):
                return ids
        return self.encode_after(prompt, answer)

    def is_decoded(self, prompt_ids: Sequence[int], ids: Sequence[int], text: str) -> bool:
        """Whether ``ids`` decode to exactly ``text``, alone or behind the prompt.

        Alone is how an answer is shown, where some decoders drop a blank in front that the tokens do hold.
        """
        if self.decode(ids) == text:
            return True
        before, together = self.decode(prompt_ids), self.decode([*prompt_ids, *ids])
        return together.startswith(before) and together[len(before) :] == text

    def _find_opening(self, messages: Messages, prompt: str, answer: str) -> str:
        """The white space that the template writes between the prompt and a finished answer."""
        try:
            finished = self.render([*messages, {"role": "assistant", "content": answer}], add_generation_prompt=False)
        except InputError:
            return ""
        rest = finished[len(prompt) :] if finished.startswith(prompt) else ""
        opening = rest[: max(0, rest.find(answer))]
        return "" if opening.strip() else opening


def read_tokenizer(
    folder: Path,
    file: str,
    chat_template: str | None,
    special_tokens: Mapping[str, str | None],
    vocab_size: int | None = None,
) -> Tokenizer:
    """The tokenizer of an artifact; ``chat_template`` is a file name or None."""
    try:
        template = None if chat_template is None else (folder / chat_template).read_text(encoding="utf-8")
        content = (folder / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{folder}: the tokenizer cannot be read ({error}); export the artifact again") from error
    return Tokenizer(content, template, special_tokens, str(folder / file), vocab_size)


def _check_tokenizer(content: str, where: str) -> None:
    """Catch what is no tokenizer file at all; the library's own words about it help nobody."""
    data = parse_json(content, where, ArtifactError, "export the artifact again")
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict) or "vocab" not in data["model"]:
        raise ArtifactError(f"{where} has no model with a vocab; expected a file of the tokenizers library")


@contextlib.contextmanager
def _guarded(kind: type[EdgeLoraError], what: str, advice: str) -> Iterator[None]:
    """Turn whatever the tokenizers library raises into one line: bare exceptions, and panics, which are none."""
    try:
        yield
    except (EdgeLoraError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise kind(f"{what} ({one_line(error)}); {advice}") from error


class StreamDecoder:
    """Turns one token at a time into text; what is not yet a whole UTF-8 character waits for the next token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = 0  # decoding from here on keeps the cost of a step independent of the length so far
        self._shown = 0  # ids whose text was handed out

    def push(self, token: int) -> str:
        """The text that ``token`` completes, possibly empty."""
        self._ids.append(token)
        return self._take(is_last=False)

    def flush(self) -> str:
        """What waits at the end; an incomplete character becomes U+FFFD."""
        return self._take(is_last=True)

    def _take(self, is_last: bool) -> str:
        # Decoders may drop a leading blank, so the tokens shown last are decoded again in front of the new ones.
        before = self._tokenizer.decode(self._ids[self._start : self._shown])
        after = self._tokenizer.decode(self._ids[self._start :])
        if len(after) <= len(before) or (after.endswith(_REPLACEMENT) and not is_last):
            return ""
        self._start, self._shown = self._shown, len(self._ids)
        return after[len(before) :]


class StopFilter:
    """Passes text through until a stop string appears; no character of one is ever let out."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.is_stopped = False

    def push(self, text: str) -> str:
        """What can be shown now. After a stop string ``is_stopped`` is set and nothing more comes."""
        if self.is_stopped:
            return ""
        self._held += text
        found = [position for stop in self._stops if (position := self._held.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        n_held = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - n_held], self._held[len(self._held) - n_held :]
        return shown

    def flush(self) -> str:
        """What was held back and turned out to be no stop string."""
        shown, self._held = self._held, ""
        return shown


def text_pieces(tokens: Iterator[int], decoder: StreamDecoder, stop_filter: StopFilter) -> Iterator[str]:
    """Text of a stream of tokens, piece by piece, ending early at a stop string."""
    for token in tokens:
        if piece := stop_filter.push(decoder.push(token)):
            yield piece
        if stop_filter.is_stopped:
            return
    if piece := stop_filter.push(decoder.flush()) + stop_filter.flush():
        yield piece


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
