"""Text into token ids and back, and what stands where: prompts, and answers behind them.

text -> token ids, and back

The only file that needs the package ``tokenizers``.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelora_runtime.errors import ArtifactError, EdgeLoraError, InputError
from edgelora_runtime.messages import Messages, Tools
from edgelora_runtime.parse_json import one_line, parse_json
from edgelora_runtime.rendering import ADVICE, Renderer
from edgelora_runtime.token_bytes import drops_blank, token_bytes


@dataclass(frozen=True)
class EncodedText:
    """Tokens of a whole text: those that the tokenizer put before and behind it, and its own with their characters."""

    before: tuple[int, ...]
    ids: tuple[int, ...]
    after: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]  # of each of ``ids``, in code points of the text

    def cut(self, start: int, end: int) -> list[int]:
        """Some of the text's tokens between those that the tokenizer puts around."""
        return [*self.before, *self.ids[start:end], *self.after]


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
            raise InputError(f"text needs the package tokenizers, which is not installed; {ADVICE}") from error
        self._decoder = _check_tokenizer(tokenizer_json, where)
        with _guarded(ArtifactError, f"{where} is no tokenizer that the package can read", "copy or export it again"):
            self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json)
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            self._added = self._tokenizer.get_added_tokens_decoder()
        self.chat_template = chat_template
        self.vocab_size = vocab_size  # token ids that the model has; a tokenizer may know more. None: not known
        special = {name: token for name, token in (special_tokens or {}).items() if token is not None}
        self._renderer = None if chat_template is None else Renderer(chat_template, special)
        self._kept: dict[int, str] = {}  # special tokens that are text

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

    def encode_texts(self, texts: Sequence[str]) -> list[EncodedText]:
        """Each text with special tokens around it, taken apart; in parallel where there are many."""
        with _guarded(InputError, "the tokenizer cannot encode this text", "give text without halves of characters"):
            found = self._tokenizer.encode_batch(list(texts))
        return [_take_apart(item.ids, item.special_tokens_mask, item.offsets) for item in found]

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """Text of ``ids``, without special tokens unless ``special``."""
        place = next((place for place, token in enumerate(ids) if token in self._kept), None) if self._kept else None
        if place is not None:
            behind = self.decode(ids[place + 1 :], special)
            return self.decode(ids[:place], special) + self._kept[ids[place]] + behind
        with _guarded(InputError, "the tokenizer cannot decode these ids", "give token ids of this model"):
            text: str = self._tokenizer.decode(list(ids), skip_special_tokens=not special)
        return text

    def keeping(self, marks: Collection[str]) -> Tokenizer:
        """The same tokenizer that decodes those special tokens to text which are among ``marks``."""
        changed = copy.copy(self)
        changed._kept = {
            index: token.content for index, token in self._added.items() if token.special and token.content in marks
        }
        return changed

    def with_template(self, variables: Mapping[str, Any], date: datetime.date | None = None) -> Tokenizer:
        """The same tokenizer whose template gets these variables too, and ``date`` as today."""
        changed = copy.copy(self)
        if self._renderer is not None:
            changed._renderer = self._renderer.replace(variables, date)
        return changed

    def render(self, messages: Messages, add_generation_prompt: bool = True, tools: Tools | None = None) -> str:
        """The chat template over ``messages``; raises InputError when there is none or it refuses them."""
        if self._renderer is None:
            raise InputError("this artifact has no chat template; give raw text (raw=True, --raw)")
        return self._renderer.render(messages, add_generation_prompt, tools)

    def check_template(self) -> None:
        """Compile the chat template, if there is one, now; raises ArtifactError when it is malformed."""
        if self._renderer is not None:
            self._renderer.compile()

    def encode_chat(
        self, messages: Messages, add_generation_prompt: bool = True, tools: Tools | None = None
    ) -> list[int]:
        """Token ids of the rendered chat; the template writes its own special tokens."""
        return self.encode(self.render(messages, add_generation_prompt, tools), special=False)

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

    def encode_answer(self, messages: Messages, answer: str, tools: Tools | None = None) -> list[int]:
        """Token ids of ``answer`` behind the rendered ``messages``, as training learns it and ``choices`` score it.

        The answer is encoded after the prompt. A template that writes white space before a finished answer has it in
        front, unless the tokens would then no longer decode to the answer.
        """
        prompt = self.render(messages, tools=tools)
        opening = self._find_opening(messages, prompt, answer, tools)
        if opening:
            ids = self.encode_after(prompt, opening + answer)
            if self.is_decoded(self.encode_prompt(prompt, special=False), ids, answer):
                return ids
        return self.encode_after(prompt, answer)

    def find_stops(self, stops: Collection[str]) -> frozenset[int]:
        """The ids of those stop strings that are special tokens, which never come out as text.

        Raises InputError for one that holds more than a special token: nothing that is generated could match it.
        """
        special = {added.content: token for token, added in self._added.items() if added.special}
        found = set()
        for stop in stops:
            if stop in special:
                found.add(special[stop])
            elif inside := [token for token in self.encode(stop, special=False) if token in special.values()]:
                name = self._added[inside[0]].content
                raise InputError(
                    f"the stop string {stop!r} holds the special token {name!r}, which is no part of an answer's text; "
                    f"give {name!r} alone"
                )
        return frozenset(found)

    def token_bytes(self) -> tuple[dict[int, bytes], bool]:
        """The bytes of every token that writes some, by id, and whether a blank in front of a text is not shown.

        Raises InputError for a tokenizer whose tokens have no bytes of their own.
        """
        added = {token.content: index for index, token in self._added.items()}
        special = frozenset(index for index, token in self._added.items() if token.special)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        return token_bytes(vocabulary, self._decoder, added, special), drops_blank(self._decoder)

    def find_special(self, text: str) -> str | None:
        """The first special token whose text stands in ``text``."""
        for token in self.encode(text, special=False):
            if token in self._added and self._added[token].special and self._added[token].content in text:
                return str(self._added[token].content)
        return None

    def is_decoded(self, prompt_ids: Sequence[int], ids: Sequence[int], text: str) -> bool:
        """Whether ``ids`` decode to exactly ``text``, alone or behind the prompt.

        Alone is how an answer is shown, where some decoders drop a blank in front that the tokens do hold.
        """
        if self.decode(ids) == text:
            return True
        before, together = self.decode(prompt_ids), self.decode([*prompt_ids, *ids])
        return together.startswith(before) and together[len(before) :] == text

    def _find_opening(self, messages: Messages, prompt: str, answer: str, tools: Tools | None) -> str:
        """The white space that the template writes between the prompt and a finished answer."""
        try:
            finished = self.render([*messages, {"role": "assistant", "content": answer}], False, tools)
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


def _take_apart(ids: list[int], is_added: list[int], offsets: list[tuple[int, int]]) -> EncodedText:
    """The tokenizer marks what it added; a special token that stands in the text is one of the text."""
    start = next((index for index, added in enumerate(is_added) if not added), len(ids))
    end = next((index for index in range(len(ids), start, -1) if not is_added[index - 1]), start)
    return EncodedText(tuple(ids[:start]), tuple(ids[start:end]), tuple(ids[end:]), tuple(offsets[start:end]))


def _check_tokenizer(content: str, where: str) -> Mapping[str, Any] | None:
    """The decoder; catches what is no tokenizer file at all, where the library's own words help nobody."""
    data = parse_json(content, where, ArtifactError, "export the artifact again")
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict) or "vocab" not in data["model"]:
        raise ArtifactError(f"{where} has no model with a vocab; expected a file of the tokenizers library")
    decoder = data.get("decoder")
    return decoder if isinstance(decoder, dict) else None


@contextlib.contextmanager
def _guarded(kind: type[EdgeLoraError], what: str, advice: str) -> Iterator[None]:
    """Turn whatever the tokenizers library raises into one line: bare exceptions, and panics, which are none."""
    try:
        yield
    except (EdgeLoraError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise kind(f"{what} ({one_line(error)}); {advice}") from error
