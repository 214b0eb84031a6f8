"""Holds a finished artifact to its hashes, to PyTorch's answers, and its adapters to having an effect and leaving none.

Knows nothing about how the artifact was made; it runs it as a device would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgelora.errors import ArtifactError, EdgeLoraError
from edgelora.types import FloatArray
from edgelora_runtime import Model, load
from edgelora_runtime.generate import feed
from edgelora_runtime.manifest import INT8_CACHE, Manifest, check_files, read_manifest
from edgelora_runtime.packing import blend_packed
from edgelora_runtime.safetensors import read_safetensors
from edgelora_runtime.session import Session

# Largest difference of a logit, relative to the largest logit. At accuracy level 4 onnxruntime rounds every
# activation to 8 bits, which PyTorch on the same grid does not; a KV cache of 8 bits is judged alike.
TOLERANCE = {0: 1e-3, 4: 0.1}
# Two tokens whose logits lie closer than this, relative to the largest, are a near tie: either may come first.
NEAR_TIE = {0: 2e-3, 4: 0.05}
_PROBE = 12  # tokens of the prompt where no reference was stored


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class VerifyReport:
    """Every check in the order in which it was made; later ones are left out where an earlier one makes them moot."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Answer:
    """What PyTorch said to one prompt."""

    prompt: tuple[int, ...]
    logits: FloatArray  # (vocab_size,), after the whole prompt
    greedy: tuple[int, ...]


def verify_artifact(path: Path, *, threads: int | None = None) -> VerifyReport:
    """Check an artifact; raises ArtifactError when there is none or it is of a newer format."""
    manifest = read_manifest(path)
    checks: list[Check] = []
    try:
        check_files(path, manifest)
        count = len(manifest.files)
        checks.append(Check("files", True, f"{count} files have the size and SHA-256 that the manifest names"))
        model = load(path, threads=threads)
        checks.append(Check("graph", True, f"loads; {len(manifest.slots)} slots, adapters: {_names(manifest)}"))
    except EdgeLoraError as error:
        # A damaged file or a graph that does not load leaves nothing to compare.
        checks.append(Check("graph" if checks else "files", False, str(error)))
        return VerifyReport(tuple(checks))
    answers = read_answers(path, manifest)
    level = rounding_level(manifest)
    for index, answer in enumerate(answers):
        checks.append(check_logits(model, answer, level, index))
        checks.append(check_greedy(model, answer, level, index))
    if not answers:
        checks.append(Check("reference", True, "none was stored; nothing to compare with PyTorch"))
    prompt = answers[0].prompt if answers else tuple(7 * i % manifest.model.vocab_size for i in range(_PROBE))
    if manifest.graph.without_slots is not None:
        checks.append(check_twin(path, manifest, prompt, threads))
    checks += check_adapters(model, prompt)
    return VerifyReport(tuple(checks))


def rounding_level(manifest: Manifest) -> int:
    """0 for exact float arithmetic, 4 where activations, or keys and values in the cache, are rounded to 8 bits."""
    is_rounded = manifest.quantization.get("accuracy_level") == 4 or manifest.graph.kv_cache == INT8_CACHE
    return 4 if is_rounded else 0


def read_answers(path: Path, manifest: Manifest) -> tuple[Answer, ...]:
    """The stored reference; raises ArtifactError when it is not what ``docs/artifact.md`` says."""
    if manifest.reference is None:
        return ()
    tensors = read_safetensors(path / manifest.reference)
    answers: list[Answer] = []
    while f"prompt.{len(answers)}.input_ids" in tensors:
        prefix = f"prompt.{len(answers)}"
        try:
            ids, logits, greedy = (tensors[f"{prefix}.{part}"] for part in ("input_ids", "logits", "greedy"))
        except KeyError as error:
            raise ArtifactError(f"{path / manifest.reference} has no {error}; export the artifact again") from error
        answers.append(Answer(tuple(ids.tolist()), logits.astype(np.float32), tuple(greedy.tolist())))
    return tuple(answers)


def check_logits(model: Model, answer: Answer, level: int, index: int) -> Check:
    """Logits after the whole prompt against PyTorch's: their distance, and the same most likely token."""
    found = _last_logits(model, answer.prompt)
    scale = float(np.abs(answer.logits).max()) or 1.0
    worst = float(np.abs(found - answer.logits).max()) / scale
    gap = float(answer.logits.max() - answer.logits[found.argmax()]) / scale
    close, same = worst <= TOLERANCE[level], bool(answer.logits.argmax() == found.argmax())
    top = "same top token" if same else f"another top token, {gap:.1e} below the best"
    detail = f"largest difference {worst:.1e} of the largest logit (at most {TOLERANCE[level]:.0e}), {top}"
    passed = close and (same or gap <= NEAR_TIE[level])
    if not passed and level != 0:
        # A base that its grid has all but destroyed (plain int2) magnifies rounded activations beyond any bound.
        detail += "; export with --accuracy-level 0 tells whether the graph or the rounding of activations is to blame"
    return Check(f"logits {index}", passed, detail)


def check_greedy(model: Model, answer: Answer, level: int, index: int) -> Check:
    """Greedy tokens against PyTorch's.

    At level 0 all must agree up to a near tie, where both continuations are right. At level 4 the first token must,
    and the length of the common beginning is reported.
    """
    ends = set(model.manifest.model.eos_token_ids)
    room = model.manifest.model.context_length - len(answer.prompt)  # for tokens before the context is full
    expected = _until(answer.greedy[:room], ends)
    found = _until(
        model.generate_ids(list(answer.prompt), adapter="none", max_new_tokens=min(room, len(answer.greedy))), ends
    )
    agreed = _common(expected, found)
    name, count = f"greedy {index}", f"{agreed} of {len(expected)} tokens agree"
    if agreed == len(expected) == len(found):
        return Check(name, True, count)
    logits = _last_logits(model, (*answer.prompt, *expected[:agreed]))
    wanted = [expected[agreed]] if agreed < len(expected) else sorted(ends)
    scale = float(np.abs(logits).max()) or 1.0
    gap = (float(logits.max()) - max((float(logits[token]) for token in wanted), default=-np.inf)) / scale
    if gap <= NEAR_TIE[level]:
        return Check(name, True, f"{count}, then a near tie ({gap:.1e} of the largest logit)")
    return Check(name, level != 0 and agreed > 0, f"{count}, then {gap:.1e} of the largest logit apart")


def check_adapters(model: Model, prompt: Sequence[int]) -> Iterator[Check]:
    """Every adapter moves the logits, and afterwards "none" answers bit for bit as before."""
    base = model.logits(list(prompt), adapter="none")
    for name in model.adapters:
        moved = float(np.abs(model.logits(list(prompt), adapter=name) - base).max())
        yield Check(f"adapter {name}", moved > 0, f"moves a logit by up to {moved:.3g}")
        for spec in ("none", f"{name}:0"):
            same = np.array_equal(model.logits(list(prompt), adapter=spec), base)
            yield Check(f"{spec} after {name}", same, "is the base bit for bit" if same else "differs from the base")


def check_twin(path: Path, manifest: Manifest, prompt: Sequence[int], threads: int | None) -> Check:
    """The graph without slots answers bit for bit like the one with empty slots."""
    try:
        session = Session(path, manifest, threads, twin=True)
    except ArtifactError as error:
        return Check("twin", False, str(error))
    none = session.prepare(blend_packed([], manifest.slots))
    empty = dataclasses.replace(none, is_none=False)  # so that the graph with slots is chosen
    twin, slotted = (feed(session, adapter, prompt, 0) for adapter in (none, empty))
    same = np.array_equal(twin, slotted)
    apart = "" if same else f", up to {float(np.abs(twin - slotted).max()):.3g} of a logit"
    return Check("twin", same, f"{manifest.graph.without_slots} is the base bit for bit" if same else f"differs{apart}")


def _last_logits(model: Model, ids: Sequence[int]) -> FloatArray:
    """Logits (vocab_size,) after the last token."""
    last: FloatArray = model.logits(list(ids), adapter="none", positions=[len(ids) - 1])[0]
    return last


def _until(tokens: Sequence[int], ends: set[int]) -> list[int]:
    """Tokens before the one that ends the answer."""
    kept: list[int] = []
    for token in tokens:
        if token in ends:
            break
        kept.append(int(token))
    return kept


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common beginning."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _names(manifest: Manifest) -> str:
    return ", ".join(info.name for info in manifest.adapters) or "none"
