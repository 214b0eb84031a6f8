"""A loaded artifact that speaks token ids: adapters by name, generation, logits, prefixes.

an artifact's folder, token ids -> token ids, logits

It joins adapters, sampling and session.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
import numpy.typing as npt

from edgelora_runtime.adapter_set import AdapterSet
from edgelora_runtime.bound_adapter import BoundAdapter
from edgelora_runtime.errors import InputError
from edgelora_runtime.form_mask import Vocabulary
from edgelora_runtime.generate import Decoding, Process, logits_at, score_tokens
from edgelora_runtime.groups import group_rows
from edgelora_runtime.invocation import find_last, no_invocation
from edgelora_runtime.loaded_model import LoadedModel
from edgelora_runtime.lookup import LookupDecoding
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.prefix import read_prefix, write_prefix
from edgelora_runtime.probe import ProbeResult, check_adapter
from edgelora_runtime.request import IdOptions, Request, check_ids, check_names, make_request
from edgelora_runtime.sampling import Sampler
from edgelora_runtime.session import Session


class TokenModel(LoadedModel):
    """Answers one call at a time: calls of other threads wait until it has returned, or its stream is over."""

    def __init__(self, folder: Path, manifest: Manifest, session: Session, adapters: AdapterSet) -> None:
        super().__init__(folder, manifest, adapters, lambda: session.turn, session.close)
        self._session = session

    def set_adapter(self, spec: str) -> None:
        """Use ``spec`` from now on where a call gives none, and bind it.

        A change drops the KV cache, but for what the base computed before an activated adapter.
        """
        with self._callers.call():
            self._session.change(self._adapters.find(spec))
            self._spec = spec

    def load_adapter(self, name: str, folder: str | Path, *, trust: bool = False) -> None:
        """Make the PEFT folder known as ``name`` (replacing that name); raises AdapterError when it does not fit.

        That includes a receipt that names another base, grid, tokenizer or template, or other factors; ``trust`` leaves
        the receipt unread.
        """
        with self._callers.call():
            self._adapters.load(name, Path(folder), trust)

    def unload_adapter(self, name: str) -> None:
        """Forget ``name`` and give its memory back; raises AdapterError for an unknown name and the one that is set."""
        with self._callers.call():
            self._check_unused(name)
            self._adapters.unload(name)
            if self._session.adapter is not None and not self._adapters.holds(self._session.adapter):
                self._session.change(self._adapters.find("none"))

    def probe(self, name: str) -> ProbeResult | None:
        """Hold an adapter to its receipt and replay a probe of it; None where the receipt has none, or there is none.

        Raises AdapterError when it does nothing, or not what its receipt says.
        """
        with self._callers.call():
            self._adapters.find(name)
            return check_adapter(self, name, self._adapters.folder(name))

    def invocation(self, spec: str) -> tuple[int, ...]:
        """Token ids from whose last place in a prompt on ``spec`` acts; none where it acts on every token."""
        return self._adapters.invocation(spec)

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
        **options: Unpack[IdOptions],
    ) -> list[int] | list[list[int]]:
        """Continue token ids, or each list of a batch; what comes back leaves out the end token."""
        check_names(options, IdOptions)
        request = make_request(**options)
        is_batch = bool(ids) and all(isinstance(row, (list, tuple)) for row in ids)
        rows: Any = ids if is_batch else [ids]
        answers: list[list[int]] = [[] for _ in rows]
        with self._callers.call():
            for group, decoding in self._decode_groups([self._check(row) for row in rows], adapter, request):
                for row, token in decoding:
                    answers[group[row]].append(token)
        return answers if is_batch else answers[0]

    def keep_prefix(self, ids: Sequence[int], path: str | Path | None = None, *, adapter: str | None = None) -> int:
        """Compute ``ids`` now; calls with this adapter whose ids begin alike go on from there. Returns how many.

        That lasts as long as the adapter stays loaded. With ``path`` it is written to a file for ``load_prefix``: the
        numbers of the KV cache. Of an activated adapter it is what comes before the invocation, which the base and all
        other activated adapters go on from as well. Raises InputError when the ids do not fit the model, or when
        nothing comes before the invocation.
        """
        row = self._check(ids)
        with self._callers.call():
            row, bound = self._before(row, adapter)
            logits_at(self._session, bound, row, [len(row) - 1])
            prefix = self._session.keep_prefix()
            made_with = None if path is None else self._made_with(bound)
        if path is not None and made_with is not None:
            write_prefix(Path(path), prefix, made_with)
        return len(row)

    def load_prefix(self, path: str | Path, *, adapter: str | None = None) -> int:
        """Go on from the prefix that a file holds, in calls with this adapter. Returns its number of tokens.

        Raises ArtifactError when the file is damaged or was kept with another artifact or adapter.
        """
        info = self.manifest.model
        shape = (2 * info.num_layers, info.num_kv_heads, info.head_dim)
        with self._callers.call():
            found = self._one(adapter)
            bound = found.before or found
            prefix = read_prefix(Path(path), self._made_with(bound), shape, self.manifest.graph.kv_cache)
            self._session.prefixes.add(bound, prefix)
        return len(prefix.tokens)

    def logits(
        self, ids: Sequence[int], *, adapter: str | None = None, positions: Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """Logits (n_positions, vocab_size) after the tokens at ``positions`` of ``ids``, by default after every one."""
        row = self._check(ids)
        wanted = range(len(row)) if positions is None else [int(position) for position in positions]
        if not wanted or not all(0 <= position < len(row) for position in wanted):
            raise InputError(f"positions {list(wanted)!r}: expected indices from 0 to {len(row) - 1}, at least one")
        with self._callers.call():
            spec = self._specs(adapter, 1)[0]
            return logits_at(self._session, self._adapters.find(spec), row, wanted, self._start(spec, row))

    def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
    ) -> npt.NDArray[np.float64]:
        """Log-probability (len(completion_ids),) of each completion token after the prompt and those before it."""
        row = self._check([*prompt_ids, *completion_ids])
        if len(prompt_ids) == 0:
            raise InputError("prompt_ids is empty; the first token of a text has no probability, give at least one")
        prompt, completion = row[: len(prompt_ids)], row[len(prompt_ids) :]
        with self._callers.call():
            spec = self._specs(adapter, 1)[0]
            start = self._start(spec, prompt)
            return score_tokens(self._session, self._adapters.find(spec), prompt, completion, start)

    def _decode_groups(
        self, prompts: list[list[int]], adapter: str | list[str] | None, request: Request
    ) -> Iterator[tuple[list[int], Decoding]]:
        """Indices of rows that are decoded together; each group must be worked off before the next is asked for."""
        specs = self._specs(adapter, len(prompts))
        request.check_rows(len(prompts))
        starts = [self._start(spec, ids) for spec, ids in zip(specs, prompts, strict=True)]
        is_activated = [bool(self.invocation(spec)) for spec in specs]
        context = self._session.context_length
        # Each acts from another place on: alone, they share what the single row holds from before it.
        for index in (index for index, is_alone in enumerate(is_activated) if is_alone):
            found = self._adapters.find(specs[index])
            yield [index], self._decoding({index: prompts[index]}, found, request, starts[index])
        together = [index for index, is_alone in enumerate(is_activated) if not is_alone]
        lengths = [min(len(prompts[index]) + request.max_new_tokens, context) for index in together]
        for places in group_rows(lengths, self._session.bytes_per_token):
            group = [together[place] for place in places]
            found = self._adapters.find_rows([specs[index] for index in group])
            yield group, self._decoding({index: prompts[index] for index in group}, found, request)

    def _decoding(
        self, prompts: Mapping[int, list[int]], adapter: BoundAdapter, request: Request, start: int = 0
    ) -> Decoding:
        """Rows by their index in the list that was given, which their samplers draw by."""
        samplers = [Sampler(request.sampling, ids, index) for index, ids in prompts.items()]
        ends = self.manifest.model.eos_token_ids
        kind = LookupDecoding if request.lookup else Decoding
        rows, most = list(prompts.values()), request.max_new_tokens
        processes = [self._process(request, index) for index in prompts]
        return kind(self._session, adapter, rows, samplers, most, ends, processes, start)

    def _process(self, request: Request, index: int) -> Process | None:
        """What is done with the logits of a row: first what the user does, then the form."""
        process, form = request.of_row(index)
        largest = request.sampling.takes_largest
        mask = None if form is None else self._vocabulary.start(form, takes_largest=largest)
        if process is None or mask is None:
            return process or mask
        return lambda token_ids, logits: process(token_ids, logits) is True or mask(token_ids, logits)

    @functools.cached_property
    def _vocabulary(self) -> Vocabulary:
        """For forms; raises InputError where the tokenizer or the library is missing."""
        tokens, drops_blank = self._text("generate_ids").token_bytes()
        info = self.manifest.model
        return Vocabulary(tokens, info.vocab_size, info.eos_token_ids, drops_blank)

    def _made_with(self, adapter: BoundAdapter) -> str:
        """Names all that the numbers of a KV cache come from; the adapter by what is bound, whatever its files hold."""
        files = (self.manifest.graph.file, self.manifest.graph.weights)
        return " ".join([*(self.manifest.files[name].sha256 for name in files), adapter.digest()])

    def _start(self, spec: str, ids: Sequence[int]) -> int:
        """Index in a prompt from which a SPEC acts; raises InputError where an activated adapter would do nothing."""
        invocation = self.invocation(spec)
        start = find_last(ids, invocation) if invocation else 0
        if start is None:
            text = None
            with contextlib.suppress(InputError):  # without the packages for text it is told by its ids
                text = None if self.tokenizer is None else self.tokenizer.decode(invocation, special=True)
            raise no_invocation(spec, invocation, text)
        return start

    def _before(self, ids: list[int], adapter: str | None) -> tuple[list[int], BoundAdapter]:
        """What of ``ids`` a prefix can keep, and of which adapter."""
        spec = self._specs(adapter, 1)[0]
        found, invocation = self._adapters.find(spec), self.invocation(spec)
        if found.before is None:
            return ids, found
        start = find_last(ids, invocation)  # None where all of them come before it
        if start == 0:
            raise InputError(f"adapter {spec!r} acts on all {len(ids)} tokens; give some before its invocation to keep")
        return ids[:start], found.before

    def _one(self, adapter: str | list[str] | None) -> BoundAdapter:
        return self._adapters.find(self._specs(adapter, 1)[0])

    def _check(self, ids: Sequence[int]) -> list[int]:
        return check_ids(ids, self.manifest.model)
