"""Holds an artifact to what its manifest and its stored reference promise: the graph exactly, its rounding in figures.

artifact -> VerifyReport

PyTorch is not asked; its answers lie in the artifact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgelora.artifact.check import TOLERANCE, Check
from edgelora.artifact.exact import ExactGraph
from edgelora.artifact.exporter import find_exporter
from edgelora.artifact.rounding import Figures, Spread, Tally
from edgelora.artifact.verify_encoder import Closeness, verify_encoder
from edgelora.data.varied_text import measured_ids
from edgelora.errors import ArtifactError, EdgeLoraError
from edgelora.values import FloatArray
from edgelora_runtime import Model, load
from edgelora_runtime.bound_adapter import bind
from edgelora_runtime.check_files import check_files
from edgelora_runtime.find_operators import find_operators
from edgelora_runtime.generate import feed
from edgelora_runtime.invocation import find_last
from edgelora_runtime.manifest import INT8_CACHE, Manifest, read_manifest
from edgelora_runtime.packing import blend_packed
from edgelora_runtime.safetensors import read_safetensors
from edgelora_runtime.sampling import log_softmax
from edgelora_runtime.session import Session

NEAR_TIE = 2e-3  # of the largest logit: two tokens that lie closer may come in either order
_FUSED_KL = 1e-3  # nats: what another order of adding up, and activations on the edge of a step, leave
_PROBE = 12  # tokens of the prompt where no reference was stored


@dataclass(frozen=True)
class Rounding:
    """What the device's arithmetic changes; an answer that has not read the text is ``unread_kl`` nats away."""

    figures: Figures
    unread_kl: float

    @property
    def is_of_use(self) -> bool:
        """Whether what is left is nearer to the exact answers than one that knows nothing of the text."""
        return self.figures.kl_mean < max(self.unread_kl, 1e-6)


@dataclass(frozen=True)
class VerifyReport:
    """Every check in the order in which it was made; later ones are left out where an earlier one makes them moot."""

    checks: tuple[Check, ...]
    rounding: Rounding | None = None  # None where an earlier check failed, and of tasks without a KV cache
    closeness: Closeness | None = None  # of these

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
    """Check an artifact; raises ArtifactError when there is none or it is of a newer format.

    The graph is held to PyTorch's stored answers with nothing left that rounds while it runs; what the device rounds
    for speed is told as figures and refused only where it leaves nothing of the model.
    """
    manifest = read_manifest(path)
    checks: list[Check] = []
    try:
        check_files(path, manifest)
        count = len(manifest.files)
        checks.append(Check("files", True, f"{count} files have the size and SHA-256 that the manifest names"))
        if manifest.encoder is not None:
            found, closeness = verify_encoder(path, manifest, manifest.encoder, threads)
            return VerifyReport((*checks, *found), closeness=closeness)
        model = load(path, threads=threads, operator=False)
        exact = open_exact(path, manifest, threads)
        checks.append(Check("graph", True, f"loads; {len(manifest.slots)} slots, adapters: {_names(manifest)}"))
    except EdgeLoraError as error:
        # A damaged file or a graph that does not load leaves nothing to compare.
        checks.append(Check("graph" if checks else "files", False, str(error)))
        return VerifyReport(tuple(checks))
    answers = read_answers(path, manifest)
    for index, answer in enumerate(answers):
        checks.append(check_logits(exact, answer, index))
        checks.append(check_greedy(exact, answer, index, manifest))
    if not answers:
        checks.append(Check("reference", True, "none was stored; nothing to compare with PyTorch"))
    prompt = answers[0].prompt if answers else tuple(7 * i % manifest.model.vocab_size for i in range(_PROBE))
    rounding = find_rounding(model, exact, [answer.prompt for answer in answers])
    checks.append(check_rounding(rounding, rounds(manifest)))
    if manifest.graph.without_slots is not None:
        checks.append(check_twin(path, manifest, prompt, threads))
    checks += check_adapters(model, prompt)
    library = find_operators(None, manifest)
    if library is not None:
        checks.append(check_fused(path, model, prompt, library, threads))
    return VerifyReport(tuple(checks), rounding)


def open_exact(path: Path, manifest: Manifest, threads: int | None = None) -> ExactGraph:
    """The artifact's graph without what rounds while it runs."""
    return ExactGraph(find_exporter().exact(path / manifest.graph.file), path, manifest, threads)


def rounds(manifest: Manifest) -> bool:
    """Whether the device rounds activations, or keys and values in the cache."""
    return manifest.quantization.get("accuracy_level") == 4 or manifest.graph.kv_cache == INT8_CACHE


def read_answers(path: Path, manifest: Manifest) -> tuple[Answer, ...]:
    """The stored reference; raises ArtifactError when it is not what ``docs/format.md`` says."""
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


def check_logits(exact: ExactGraph, answer: Answer, index: int) -> Check:
    """Logits after the whole prompt against PyTorch's: their distance, and the same most likely token."""
    found = exact.logits(answer.prompt, [len(answer.prompt) - 1])[0]
    scale = float(np.abs(answer.logits).max()) or 1.0
    worst = float(np.abs(found - answer.logits).max()) / scale
    gap = float(answer.logits.max() - answer.logits[found.argmax()]) / scale
    same = bool(answer.logits.argmax() == found.argmax())
    top = "same top token" if same else f"another top token, {gap:.1e} below the best"
    detail = f"exact arithmetic: largest difference {worst:.1e} of the largest logit (at most {TOLERANCE:.0e}), {top}"
    return Check(f"logits {index}", worst <= TOLERANCE and (same or gap <= NEAR_TIE), detail)


def check_greedy(exact: ExactGraph, answer: Answer, index: int, manifest: Manifest) -> Check:
    """PyTorch's greedy tokens, each fed in turn over the cache: every one must be the likeliest, up to a near tie."""
    room = manifest.model.context_length - len(answer.prompt)  # for tokens before the context is full
    tokens = answer.greedy[: max(room, 0)]
    logits = exact.logits(answer.prompt, [len(answer.prompt) - 1])[0]
    ties, agreed = 0, 0
    for count, token in enumerate(tokens):
        scale = float(np.abs(logits).max()) or 1.0
        gap = float(logits.max() - logits[token]) / scale
        if gap > NEAR_TIE:
            detail = f"{agreed} of {len(tokens)} tokens agree, then {gap:.1e} of the largest logit apart"
            return Check(f"greedy {index}", False, detail)
        agreed, ties = agreed + 1, ties + (gap > 0)
        if count + 1 < len(tokens):
            logits = exact.append(token)
    detail = f"exact arithmetic: {agreed} of {len(tokens)} tokens agree" + (f", {ties} of them near ties" * bool(ties))
    return Check(f"greedy {index}", True, detail)


def find_rounding(model: Model, exact: ExactGraph, prompts: Sequence[Sequence[int]]) -> Rounding:
    """The answers that ship against exact ones, on ``prompts`` and built-in text, each position with those before."""
    info = model.manifest.model
    tally, spread = Tally(), Spread()
    for ids in (*prompts, *measured_ids(model.tokenizer, info.vocab_size, info.context_length)):
        expected = exact.logits(ids)
        tally.add(expected, model.logits(list(ids), adapter="none"))
        spread.add(expected)
    return Rounding(tally.figures(), spread.mean_kl())


def check_rounding(rounding: Rounding, is_rounded: bool) -> Check:
    """Figures where something is rounded, equality where nothing is."""
    found = rounding.figures
    where = f"over {found.positions} positions"
    apart = f"largest difference {found.largest_difference:.1e} of the largest logit"
    if not is_rounded:
        return Check("rounding", found.largest_difference <= TOLERANCE, f"none while it runs: {apart} {where}")
    detail = (
        f"KL {found.kl_mean:.2g} nats on average, {found.kl_max:.2g} at most, {100 * found.top1_agreement:.1f} % of "
        f"top tokens stay, {apart} {where}"
    )
    if not rounding.is_of_use:
        detail += (
            f"; an answer that has not read the text is {rounding.unread_kl:.2g} nats away, so nothing is left of the "
            "model: export with --accuracy-level 0 or more bits"
        )
    return Check("rounding", rounding.is_of_use, detail)


def check_adapters(model: Model, prompt: Sequence[int]) -> Iterator[Check]:
    """Every adapter moves the logits where it acts, and afterwards "none" answers bit for bit as before."""
    for name in model.adapters:
        ids, start = call(model, name, prompt)
        tail = range(start, len(ids))
        if start:  # what comes before an invocation is computed once: in other pieces the last bit may be another
            model.logits(ids[:start], adapter="none")
        base = model.logits(ids, adapter="none", positions=tail)
        moved = float(np.abs(model.logits(ids, adapter=name, positions=tail) - base).max())
        yield Check(f"adapter {name}", moved > 0, f"moves a logit by up to {moved:.3g}")
        for spec in ("none", f"{name}:0"):
            same = np.array_equal(model.logits(ids, adapter=spec, positions=tail), base)
            yield Check(f"{spec} after {name}", same, "is the base bit for bit" if same else "differs from the base")


def call(model: Model, spec: str, prompt: Sequence[int]) -> tuple[list[int], int]:
    """``prompt`` with the invocation of an activated adapter, and the index from which it acts."""
    invocation = model.invocation(spec)
    start = find_last(prompt, invocation) if invocation else 0
    return (list(prompt), start) if start is not None else ([*prompt, *invocation], len(prompt))


def check_twin(path: Path, manifest: Manifest, prompt: Sequence[int], threads: int | None) -> Check:
    """The graph without slots answers like the one with empty slots.

    Bit for bit, but where linears have biases: onnxruntime adds one within the product where no slot stands between.
    """
    try:
        session = Session(path, manifest, threads, twin=True)
    except ArtifactError as error:
        return Check("twin", False, str(error))
    none = bind(blend_packed([], manifest.slots))
    empty = dataclasses.replace(none, is_none=False)  # so that the graph with slots is chosen
    twin, slotted = (feed(session, adapter, prompt, 0) for adapter in (none, empty))
    name = manifest.graph.without_slots
    if np.array_equal(twin, slotted):
        return Check("twin", True, f"{name} is the base bit for bit")
    is_near = all(kl <= _FUSED_KL for kl in _divergences(slotted, twin))
    how = " by rounding, as where linears have biases" if is_near else ""
    apart = float(np.abs(twin - slotted).max())
    return Check("twin", is_near, f"{name} differs{how}, up to {apart:.3g} of a logit")


def check_fused(path: Path, model: Model, prompt: Sequence[int], library: Path, threads: int | None) -> Check:
    """The fused graph answers like ``model``, which has slots, with each adapter and with none."""
    try:
        fused = load(path, threads=threads, operator=library)
        found = {
            spec: _divergence(model, fused, call(model, spec, prompt)[0], spec) for spec in ("none", *model.adapters)
        }
    except EdgeLoraError as error:
        return Check("fused", False, str(error))
    worst = max(found, key=lambda spec: found[spec])
    told = f"answers {found[worst]:.2g} nats from the graph with slots ({worst})"
    return Check("fused", found[worst] <= _FUSED_KL, told)


def _divergence(model: Model, other: Model, prompt: Sequence[int], spec: str) -> float:
    """KL (nats) after the prompt."""
    last = [len(prompt) - 1]
    ours, theirs = (item.logits(list(prompt), adapter=spec, positions=last) for item in (model, other))
    return max(_divergences(ours, theirs))


def _divergences(ours: FloatArray, theirs: FloatArray) -> list[float]:
    """KL (nats) of the second from the first, for each row of logits."""
    n_logits = ours.shape[-1]
    rows = zip(ours.reshape(-1, n_logits), theirs.reshape(-1, n_logits), strict=True)
    pairs = ((log_softmax(one), log_softmax(other)) for one, other in rows)
    return [float(np.maximum(0, np.sum(np.exp(p.astype(np.float64)) * (p - q)))) for p, q in pairs]  # NaN stays


def _names(manifest: Manifest) -> str:
    return ", ".join(info.name for info in manifest.adapters) or "none"
