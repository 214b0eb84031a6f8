"""A loaded artifact of a classifier, tagger or embedder: text in, labels, spans or vectors out.

an artifact's folder, text -> Classification, Tagging, vectors
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from edgelora_runtime.adapter_set import AdapterSet
from edgelora_runtime.encoder_session import EncoderSession
from edgelora_runtime.errors import InputError
from edgelora_runtime.groups import plan_calls
from edgelora_runtime.loaded_model import LoadedModel
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    EncoderInfo,
    HeadInfo,
    Manifest,
)
from edgelora_runtime.replay_answers import AnswerResult, check_answers
from edgelora_runtime.request import check_ids
from edgelora_runtime.scores import Classification, classify_logits, score_labels
from edgelora_runtime.spans import Tagging, find_spans, find_words
from edgelora_runtime.text import EncodedText
from edgelora_runtime.windows import plan_windows

FloatArray = npt.NDArray[np.float32]
Adapters = str | list[str] | None

# Tokens of the rows of a call, padding included: more gain little, and every call of more keeps its memory. A fused
# graph keeps less of it.
MOST_TOKENS, MOST_TOKENS_FUSED = 128, 256
MOST_IMAGES = 16

_METHODS = {
    TEXT_CLASSIFICATION: "classify",
    IMAGE_CLASSIFICATION: "classify",
    TOKEN_CLASSIFICATION: "tag",
    FEATURE_EXTRACTION: "embed",
}

_log = logging.getLogger(__name__)


class EncoderModel(LoadedModel):
    """A loaded artifact without a KV cache, for any number of threads: it answers one call at a time.

    ``adapter`` is a SPEC, or one for each text, and what is set where it is left out. Texts are computed in groups that
    are about as long, and answered in the order given.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, encoder: EncoderInfo, session: EncoderSession, adapters: AdapterSet
    ) -> None:
        super().__init__(folder, manifest, adapters, lambda: None, session.close)
        self._encoder = encoder
        self._session = session

    @property
    def is_fused(self) -> bool:
        """Whether adapters are multiplied by the operators of edgelora-ops."""
        return self._session.packer.form.startswith("fused")

    def set_adapter(self, spec: str) -> None:
        """Use ``spec`` from now on where a call gives none, and make it ready."""
        with self._callers.call():
            if self._adapters.parse(spec):
                self._adapters.head(spec)  # refuses a blend of unlike heads
            self._session.select(self._adapters.find(spec))
            self._spec = spec

    def load_adapter(
        self, name: str, folder: str | Path, *, labels: Sequence[str] | None = None, trust: bool = False
    ) -> None:
        """Make the PEFT folder known as ``name`` (replacing that name); raises AdapterError when it does not fit.

        ``labels`` name the rows of its head where no receipt does. ``trust`` leaves the receipt unread, and takes a
        head that was never trained.
        """
        with self._callers.call():
            self._adapters.load(name, Path(folder), trust, labels)

    def unload_adapter(self, name: str) -> None:
        """Forget ``name`` and give its memory back; raises AdapterError for an unknown name and the one that is set."""
        with self._callers.call():
            self._check_unused(name)
            self._adapters.unload(name)

    def probe(self, name: str) -> AnswerResult | None:
        """Hold an adapter to its receipt and replay its answers; None where the receipt has none, or there is none.

        Raises AdapterError when it does nothing, or not what its receipt says.
        """
        with self._callers.call():
            self._adapters.find(name)
            return check_answers(self, name, self._adapters.folder(name))

    def labels(self, adapter: str | None = None) -> HeadInfo | None:
        """Labels, problem and temperature of a SPEC's head; None where the model has no head."""
        with self._callers.call():
            return self._adapters.head(self._specs(adapter, 1)[0])

    @overload
    def classify(self, texts: str, *, adapter: str | None = ...) -> Classification: ...
    @overload
    def classify(self, texts: list[str], *, adapter: Adapters = ...) -> list[Classification]: ...
    @overload
    def classify(
        self, texts: npt.NDArray[Any], *, adapter: Adapters = ...
    ) -> Classification | list[Classification]: ...

    def classify(
        self, texts: str | list[str] | npt.NDArray[Any], *, adapter: Adapters = None
    ) -> Classification | list[Classification]:
        """The label of a text, or of each of a list, with the scores of all labels.

        Of images it takes pixels as the model's own processor makes them: (channels, height, width), or several of
        them as the first dimension.
        """
        self._check_task("classify", TEXT_CLASSIFICATION, IMAGE_CLASSIFICATION)
        rows, cut, is_list = self._rows(texts)
        specs = self._specs(adapter, len(rows), "text")
        with self._callers.call():
            heads = self._heads(specs)
            outputs = self._compute(rows, specs, heads)
        answers = [classify_logits(*item) for item in zip(outputs, heads, cut, strict=True)]
        return answers if is_list else answers[0]

    def classify_each(
        self, text: str | npt.NDArray[Any], adapters: Sequence[str] | None = None
    ) -> dict[str, Classification]:
        """What each adapter says of one text, or image, by its SPEC: all of those that are loaded where none are given.

        A short text goes through the graph once for all of them, unless its rows must share an adapter.
        """
        self._check_task("classify_each", TEXT_CLASSIFICATION, IMAGE_CLASSIFICATION)
        rows, cut, _ = self._rows(text)
        if len(rows) != 1:
            raise InputError(f"classify_each got {len(rows)} texts, expected one")
        specs = list(dict.fromkeys(self.adapters if adapters is None else adapters))
        if not specs:
            raise InputError("there are no adapters to classify with; load some, or give SPECs")
        with self._callers.call():
            heads = self._heads(specs)
            outputs = self._compute(rows * len(specs), specs, heads)
        return {
            spec: classify_logits(output, head, cut[0])
            for spec, output, head in zip(specs, outputs, heads, strict=True)
        }

    @overload
    def tag(self, texts: str, *, adapter: str | None = ...) -> Tagging: ...
    @overload
    def tag(self, texts: list[str], *, adapter: Adapters = ...) -> list[Tagging]: ...

    def tag(self, texts: str | list[str], *, adapter: Adapters = None) -> Tagging | list[Tagging]:
        """Spans of a text, or of each of a list, in characters; a long text is read in windows that overlap."""
        self._check_task("tag", TOKEN_CLASSIFICATION)
        encoded, is_list = self._encode(texts)
        given = [texts] if isinstance(texts, str) else texts
        specs = self._specs(adapter, len(encoded), "text")
        plans = [plan_windows(len(item.ids), self._room(item)) if item.ids else () for item in encoded]
        places = [(index, window) for index, plan in enumerate(plans) for window in plan]
        rows = [encoded[index].cut(window.start, window.end) for index, window in places]
        owners = [index for index, _ in places]
        with self._callers.call():
            heads = self._heads(specs)
            outputs = iter(self._compute(rows, [specs[index] for index in owners], [heads[index] for index in owners]))
        answers = []
        for text, item, plan, head in zip(given, encoded, plans, heads, strict=True):
            counted = []
            for window in plan:
                own = next(outputs)[len(item.before) :]
                counted.append(own[window.first - window.start : window.last - window.start])
            words = find_words(text, item.offsets)
            labels: list[str] = []
            scores: list[float] = []
            if words:
                logits = np.concatenate(counted)[[word.token for word in words]]
                best = logits.argmax(axis=1)
                labels = [head.labels[index] for index in best]
                scores = score_labels(logits, head)[np.arange(len(best)), best].tolist()
            answers.append(Tagging(find_spans(text, words, labels, scores), len(plan)))
        return answers if is_list else answers[0]

    def embed(self, texts: str | list[str], *, adapter: Adapters = None) -> FloatArray:
        """The vector (hidden_size,) of a text, or those (n, hidden_size) of a list.

        A text that is longer than the model reads is cut at its end, which ``is_truncated`` tells and the log says.
        """
        self._check_task("embed", FEATURE_EXTRACTION)
        encoded, is_list = self._encode(texts)
        rows, cut = self._cut(encoded)
        if any(cut):
            _log.warning("%d of %d texts are longer than %d tokens and were cut", sum(cut), len(cut), self._limit)
        specs = self._specs(adapter, len(rows), "text")
        with self._callers.call():
            vectors = np.stack(self._compute(rows, specs, ()))
        return vectors if is_list else vectors[0]

    def is_truncated(self, texts: list[str]) -> list[bool]:
        """Which texts are longer than the model reads at once."""
        return [len(item.cut(0, len(item.ids))) > self._limit for item in self._encode(texts)[0]]

    def outputs(
        self, rows: Sequence[Sequence[int]] | npt.NDArray[Any], *, adapter: Adapters = None
    ) -> list[FloatArray]:
        """The graph's output for each row of token ids, special tokens included, or of pixels.

        Logits (labels,), for tags (tokens, labels), or a vector (hidden_size,).
        """
        checked: list[Any]
        if self._encoder.image_size:
            checked = self._images(rows)[0]
        else:
            checked = [check_ids(row, self.manifest.model) for row in rows]
        specs = self._specs(adapter, len(checked), "row")
        with self._callers.call():
            return self._compute(checked, specs, self._heads(specs))

    def _compute(self, rows: Sequence[Any], specs: Sequence[str], heads: Sequence[HeadInfo]) -> list[FloatArray]:
        """Outputs in the order of ``rows``, each without the padding of tokens and labels."""
        if not rows:
            return []
        found: list[FloatArray] = [np.zeros(0, np.float32)] * len(rows)
        images, shares = bool(self._encoder.image_size), self._encoder.one_adapter
        lengths = [1 if images else len(row) for row in rows]
        most = MOST_IMAGES if images else MOST_TOKENS_FUSED if self.is_fused else MOST_TOKENS
        for call in plan_calls(lengths, specs, most, shares_adapter=shares):
            adapter = self._adapters.find_rows([specs[index] for index in call])
            output = self._session.run(self._inputs([rows[index] for index in call]), adapter)
            for place, index in enumerate(call):
                row = output[place, : lengths[index]] if output.ndim == 3 else output[place]
                found[index] = np.array(row[..., : len(heads[index].labels)] if heads else row)
        return found

    def _inputs(self, rows: Sequence[Any]) -> Mapping[str, npt.NDArray[Any]]:
        if self._encoder.image_size:
            return {self._encoder.inputs[0]: np.stack(rows)}
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return dict(zip(self._encoder.inputs, (ids, mask), strict=True))

    def _heads(self, specs: Sequence[str]) -> list[HeadInfo]:
        """The head of each SPEC; raises AdapterError, before anything is computed, where one cannot answer."""
        known = {spec: self._adapters.head(spec) for spec in dict.fromkeys(specs)}
        return [head for spec in specs if (head := known[spec]) is not None]

    def _rows(self, given: Any) -> tuple[list[Any], list[bool], bool]:
        """Token ids or pixels of what is to be classified, what of it was cut, and whether it is a list."""
        if self._encoder.image_size:
            images, is_list = self._images(given)
            return images, [False] * len(images), is_list
        encoded, is_list = self._encode(given)
        return *self._cut(encoded), is_list

    def _encode(self, texts: Any) -> tuple[list[EncodedText], bool]:
        """Token ids of one text or of a list, and which of both it was."""
        is_list = isinstance(texts, list)
        given = texts if is_list else [texts]
        for text in given:
            if not isinstance(text, str):
                raise InputError(f"text is {type(text).__name__}, expected a text or a list of texts")
        return self._text("outputs").encode_texts(given), is_list

    def _cut(self, encoded: Sequence[EncodedText]) -> tuple[list[list[int]], list[bool]]:
        """Rows of at most as many tokens as the model reads, and which of them lost their end."""
        rows, cut = [], []
        for number, item in enumerate(encoded):
            room = self._room(item)
            rows.append(item.cut(0, room))
            cut.append(len(item.ids) > room)
            if not rows[-1]:
                raise InputError(f"text {number + 1} has no tokens, and this model reads at least one; leave it out")
        return rows, cut

    def _room(self, item: EncodedText) -> int:
        """Tokens of a text that are read at once."""
        room = self._limit - len(item.before) - len(item.after)
        if room < 1:
            raise InputError(f"{self.manifest.model.name} reads {self._limit} tokens, fewer than its special ones")
        return room

    @property
    def _limit(self) -> int:
        return self.manifest.model.context_length

    def _images(self, pixels: Any) -> tuple[list[FloatArray], bool]:
        size = self._encoder.image_size
        array = np.asarray(pixels)
        if array.shape[-3:] != size or array.ndim not in (3, 4) or array.dtype.kind not in "fiu":
            raise InputError(
                f"pixels are {array.dtype} {list(array.shape)}, expected {list(size)}, or several of them; prepare "
                "images as the model's processor does"
            )
        if not np.isfinite(array).all():
            raise InputError("pixels are not finite; prepare images as the model's processor does")
        rows = array.astype(np.float32).reshape(-1, *size)
        return list(rows), array.ndim == 4

    def _check_task(self, method: str, *tasks: str) -> None:
        task = self.manifest.task
        if task not in tasks:
            raise InputError(f"{method}() is not for {task}; use {_METHODS[task]}()")
