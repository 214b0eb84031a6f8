"""Keeps an answer in its form: takes away the logits of all tokens that the form has no place for.

Form, tokens so far -> logits, in place

The only file that needs the package ``llguidance``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora_runtime.errors import InputError
from edgelora_runtime.form_nodes import Chain, Node, Word, optional, text, write_rules
from edgelora_runtime.form_regex import RegexError, whole_text
from edgelora_runtime.form_schema import read_schema

FloatArray = npt.NDArray[np.float32]

_KEPT_FORMS = 16

ADVICE = "pip install 'edgelora-runtime[grammar]'"


Form = Mapping[str, Node]  # rules by name, the first of them the whole form


def read_forms(schema: Any, regex: Any) -> tuple[Form | None, ...]:
    """The form of every answer, or one for each of a list; none at all where nothing is asked for.

    Raises InputError naming what is not read.
    """
    if schema is None and regex is None:
        return ()
    if not isinstance(schema, (list, tuple)) and not isinstance(regex, (list, tuple)):
        return (read_form(schema, regex),)
    lists = [item for item in (schema, regex) if isinstance(item, (list, tuple))]
    if len({len(item) for item in lists}) > 1 or any(
        not isinstance(item, (list, tuple, type(None))) for item in (schema, regex)
    ):
        raise InputError("schema and regex differ in length; give lists with one entry for each prompt, or one alone")
    n_rows = len(lists[0])
    rows = zip(schema or [None] * n_rows, regex or [None] * n_rows, strict=True)
    return tuple(read_form(of_schema, of_regex) for of_schema, of_regex in rows)


def read_form(schema: Any, regex: Any) -> Form | None:
    """The form of one answer; None where it has none."""
    if schema is not None and regex is not None:
        raise InputError("schema and regex exclude each other; leave one out")
    if schema is not None:
        return read_schema(schema)
    if regex is None:
        return None
    if not isinstance(regex, str) or not regex:
        raise InputError(f"regex is {regex!r}, expected a regular expression that is not empty")
    try:
        return {"start": Word(whole_text(regex))}
    except RegexError as error:
        raise InputError(f"regex {regex!r} {error}") from error


class Vocabulary:
    """The tokens of a model as the library reads them; made once, used by every form."""

    def __init__(self, tokens: Mapping[int, bytes], vocab_size: int, end_ids: Sequence[int], drops_blank: bool) -> None:
        try:
            import llguidance
        except ImportError as error:
            raise InputError(
                f"schema and regex need the package llguidance, which is not installed; {ADVICE}"
            ) from error
        self._library = llguidance
        self._drops_blank = drops_blank
        self.vocab_size = vocab_size
        self.end_ids = np.array(sorted(end_ids), np.int64)
        self._started: dict[str, Any] = {}
        contents = [b"" if index in end_ids else tokens.get(index, b"") for index in range(vocab_size)]
        self.has_text = np.array([bool(content) for content in contents])
        # One token more stands for the end, whatever end tokens the model has.
        self._tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Tokens([*contents, b""], vocab_size)))

    def start(self, rules: Form, *, takes_largest: bool = False) -> FormMask:
        """The mask of one answer; raises InputError for a form that the library cannot hold.

        ``takes_largest`` is whether the largest logit is always the one that is chosen: where it has its place in the
        form, the others are left as they are.
        """
        first, *others = rules.items()
        if self._drops_blank and isinstance(first[1], Word):
            first = (first[0], Word(Chain((optional(text(" ")), first[1].item))))
        written = write_rules(dict([first, *others]))
        started = self._started.get(written)
        if started is None:
            grammar = self._library.LLMatcher.grammar_from_lark(written)
            started = self._library.LLMatcher(self._tokenizer, grammar, log_level=0)
            if started.is_error():
                reason = started.get_error().splitlines()[0]
                raise InputError(f"this form cannot be held ({reason}); give a simpler one")
            if len(self._started) == _KEPT_FORMS:
                del self._started[next(iter(self._started))]
            self._started[written] = started
        return FormMask(started.deep_copy(), self, takes_largest)


class FormMask:
    """The form of one answer and how far it came; a ``process_logits`` that also says when nothing may follow."""

    def __init__(self, matcher: Any, vocabulary: Vocabulary, takes_largest: bool) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._takes_largest = takes_largest
        self._n_seen = -1  # tokens that the matcher knows of, those of the prompt among them

    def __call__(self, token_ids: Sequence[int], logits: FloatArray) -> bool:
        """Take away what the form has no place for. True where the answer is whole and nothing may follow."""
        if self._n_seen >= 0:
            for token in token_ids[self._n_seen :]:
                self._matcher.consume_token(int(token))
        self._n_seen = len(token_ids)
        vocab_size, ends = self._vocabulary.vocab_size, self._vocabulary.end_ids
        if self._matcher.is_stopped() and not self._matcher.is_error():
            return True
        if self._takes_largest and self._take(int(logits.argmax())):
            return False
        packed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            reason = self._matcher.get_error().splitlines()[0]
            raise InputError(f"the form cannot be held any further ({reason}); give a simpler one")
        is_allowed = np.unpackbits(packed, count=vocab_size + 1, bitorder="little").view(np.bool_)
        may_end = bool(is_allowed[vocab_size])
        is_allowed = is_allowed[:vocab_size]
        if not is_allowed.any():
            if not may_end:
                raise InputError("no token of this vocabulary goes on in the form; give another form")
            return True
        is_allowed[ends] = may_end
        np.copyto(logits, -np.inf, where=~is_allowed)
        return False

    def _take(self, token: int) -> bool:
        """Go on with the token that will be chosen, where the form has a place for it.

        A model that was trained for its task nearly always has one, and a mask of the whole vocabulary takes longer.
        """
        if not self._vocabulary.has_text[token] or self._matcher.try_consume_tokens([token]) != 1:
            return False
        self._n_seen += 1
        return True


class _Tokens:
    """What the library asks of a tokenizer; it never has to encode text here."""

    def __init__(self, tokens: list[bytes], end_id: int) -> None:
        self.tokens = tokens
        self.eos_token_id = end_id
        self.bos_token_id = None
        self.special_token_ids = [index for index, content in enumerate(tokens) if not content]

    def __call__(self, content: bytes) -> list[int]:
        return []
