"""The options and token ids of one call, checked together.

TextOptions, token ids -> Request
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from edgelora_runtime.errors import InputError
from edgelora_runtime.form_mask import Form, read_forms
from edgelora_runtime.manifest import ModelInfo
from edgelora_runtime.parse_json import show
from edgelora_runtime.sampling import SamplingOptions

ProcessLogits = Callable[[Sequence[int], npt.NDArray[np.float32]], bool | None]
Schema = str | bool | Mapping[str, Any]  # a JSON Schema as it is, or its JSON text


class Sampling(TypedDict, total=False):
    """The fields of ``SamplingOptions``, which holds their defaults, as keyword arguments."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    seed: int | None


class IdOptions(Sampling, total=False):
    """Keyword arguments of ``Model.generate_ids`` beside the adapter."""

    max_new_tokens: int
    lookup: bool
    process_logits: ProcessLogits | Sequence[ProcessLogits | None] | None


class TextOptions(IdOptions, total=False):
    """Keyword arguments of ``Model.generate`` and ``Model.chat`` beside adapter, raw and stream."""

    stop: str | Sequence[str]
    choices: Sequence[str] | None
    schema: Schema | Sequence[Schema | None] | None
    regex: str | Sequence[str | None] | None
    template: Mapping[str, Any] | None
    date: str | datetime.date | None


@dataclass(frozen=True)
class Request:
    """Options that passed the check."""

    sampling: SamplingOptions
    max_new_tokens: int
    stops: tuple[str, ...] = ()
    choices: tuple[str, ...] | None = None
    lookup: bool = False
    template: Mapping[str, Any] | None = None
    date: str | datetime.date | None = None
    process_logits: tuple[ProcessLogits | None, ...] = ()  # none, one for all rows, or one for each
    forms: tuple[Form | None, ...] = ()  # the same

    def check_rows(self, n_rows: int) -> None:
        """Raise InputError where what is given for each row is not as many as there are."""
        for name, items in (("process_logits", self.process_logits), ("schema and regex", self.forms)):
            if len(items) > 1 and len(items) != n_rows:
                raise InputError(f"{name}: {len(items)} for {n_rows} prompts; give one, or one for each prompt")

    def of_row(self, index: int) -> tuple[ProcessLogits | None, Form | None]:
        """What is to be done with the logits of a row, and the form that it keeps."""
        process, form = (
            items[index if len(items) > 1 else 0] if items else None for items in (self.process_logits, self.forms)
        )
        return process, form  # type: ignore[return-value]


def check_names(options: Mapping[str, Any], kind: type) -> None:
    """Raise TypeError for names that are none of ``kind``'s, as Python does where a signature spells them out."""
    known = kind.__annotations__
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(f"unexpected options {', '.join(unknown)}; known are {', '.join(known)}")


def make_request(
    *,
    max_new_tokens: int = 128,
    stop: str | Sequence[str] = (),
    choices: Sequence[str] | None = None,
    lookup: bool = False,
    process_logits: ProcessLogits | Sequence[ProcessLogits | None] | None = None,
    schema: Schema | Sequence[Schema | None] | None = None,
    regex: str | Sequence[str | None] | None = None,
    template: Mapping[str, Any] | None = None,
    date: str | datetime.date | None = None,
    **sampling: Unpack[Sampling],
) -> Request:
    """The options of a call, checked; here and in ``SamplingOptions`` are their defaults.

    Raises an InputError that names what is wrong.
    """
    check_names(sampling, Sampling)
    chosen = SamplingOptions(**sampling)
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    wrong = []
    if not isinstance(max_new_tokens, (int, np.integer)) or isinstance(max_new_tokens, bool) or max_new_tokens < 1:
        wrong.append(f"max_new_tokens is {max_new_tokens!r}, expected a whole number from 1")
    if not all(isinstance(item, str) and item for item in stops):
        wrong.append(f"stop is {show(stop)}, expected strings that are not empty")
    if choices is not None:
        if isinstance(choices, str) or not all(isinstance(item, str) for item in choices):
            wrong.append(f"choices is {show(choices)}, expected a list of strings")
        elif not choices or len(set(choices)) != len(choices):
            wrong.append(f"choices is {list(choices)!r}, expected at least one string, all different")
        if stops:
            wrong.append("choices and stop exclude each other")
    is_formed = schema is not None or regex is not None
    if is_formed and (choices is not None or stops):
        wrong.append(f"schema and regex exclude {'choices' if choices is not None else 'stop'}; leave one out")
    processes = tuple(process_logits) if isinstance(process_logits, (list, tuple)) else (process_logits,)
    if not all(process is None or callable(process) for process in processes):
        wrong.append(
            f"process_logits is {process_logits!r}, expected a function (token ids, logits), or one for each prompt"
        )
    if choices is not None and process_logits is not None:
        wrong.append("choices and process_logits exclude each other: choices are weighed whole; leave one out")
    for name, given in (("schema", schema), ("regex", regex), ("process_logits", process_logits)):
        if isinstance(given, (list, tuple)) and not given:
            wrong.append(f"{name} is an empty list; give one, or one for each prompt, or leave it out")
    if not isinstance(lookup, bool):
        wrong.append(f"lookup is {lookup!r}, expected True or False")
    if wrong:
        raise InputError("; ".join(wrong))
    return Request(
        chosen,
        int(max_new_tokens),
        stops,
        None if choices is None else tuple(choices),
        lookup,
        template,
        date,
        () if process_logits is None else processes,
        read_forms(schema, regex),
    )


def check_ids(ids: Sequence[int], info: ModelInfo) -> list[int]:
    """``ids`` as a list of ints that the model can take; raises InputError for what it cannot."""
    if len(ids) == 0:
        raise InputError("the prompt has no tokens; give some text (an empty raw prompt has nothing to go on)")
    if len(ids) > info.context_length:
        raise InputError(
            f"the prompt is {len(ids)} tokens, the context length of {info.name} is {info.context_length}; shorten it"
        )
    array = np.asarray(ids)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"token ids are {array.ndim}-dimensional {array.dtype}, expected a list of whole numbers")
    if array.min() < 0 or array.max() >= info.vocab_size:
        raise InputError(
            f"token ids go from {array.min()} to {array.max()}, expected 0 to {info.vocab_size - 1}; "
            "was another tokenizer used?"
        )
    checked: list[int] = array.tolist()
    return checked
