"""Cases of the artifact in today's form of web-wasm, whose linears have inputs of 8 bits in long calls.

an artifact's folder -> its cases

Rounding to 8 bits falls to one side or the other: no input of a prompt in these cases lies near the edge between two
bytes, so every machine rounds alike. ``python -m tests.conformance_rows`` tells what one that did not would change.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from edgelora_onnx.passes.lower_to_integers import LONG
from edgelora_runtime import load
from edgelora_runtime.adapter import parse_spec
from tests.conformance_cases import NearTieError, first_clear, logits_case, random_ids
from tests.conformance_models import ROWS, TorchAnswer, write_artifact
from tests.rounding_inputs import round_inputs, rounding_linears

# In bytes. Of the prompts of ``main`` the input on which two kinds of arithmetic differ most is half as far apart.
EDGE = 2e-4
# Tokens survive this much on the logits, too, which is more than what every second rounding to the other side changes.
_NOISE = 0.05
# How far 8 bits may take logits, of up to 6, from those of exact inputs: the largest, and the root of the mean square.
_MOST, _USUAL = 0.5, 0.06
_ATTEMPTS = 20_000
_LOGITS = (
    (LONG - 1, ("none", "four", "one:0.7+eight:0.3")),
    (LONG, ("none", "one", "four+eight:-0.25")),
    (LONG + 1, ("none", "eight", "four:0.5")),
    (40, ("none", "four", "eight", "one:0.7+eight:0.3")),
)
_TOKENS = ((5, "eight"), (LONG - 1, "four"), (LONG, "none"), (LONG + 1, "one"), (30, "four"), (41, "four+eight:-0.25"))
_BATCHES = (
    ((9, "none"), (1, "four"), (LONG - 1, "one")),  # short: 16 bits in all rows
    ((23, "eight"), (3, "none"), (LONG, "four")),  # a short row in a long call has 8 bits as well
    ((2, "one:0.7+eight:0.3"), (40, "four"), (17, "one")),
)
_TURNS = (20, 5, LONG + 4)  # tokens that are new


class RowsAnswer(TorchAnswer):
    """PyTorch that rounds inputs where the artifact does; raises NearTieError where one is near an edge."""

    def __init__(self, work: Path, folder: Path) -> None:
        super().__init__(work, ROWS, folder)
        self._models: dict[str, torch.nn.Module] = {}
        self._ends = load(folder).manifest.model.eos_token_ids

    def rounding(self, spec: str) -> torch.nn.Module:
        """The model with the adapters of a SPEC."""
        if spec not in self._models:
            model = self.load()
            round_inputs(model, self.deltas(model, dict(parse_spec(spec))), self.grid.column_factors)
            self._models[spec] = model
        return self._models[spec]

    def logits(self, ids: list[int], blend: Mapping[str, float]) -> np.ndarray:
        """(len(ids), vocab_size) of one call."""
        spec = "+".join(f"{name}:{weight}" for name, weight in blend.items()) or "none"
        found: np.ndarray = self._feed(self.rounding(spec), DynamicCache(), ids).numpy()
        off = np.abs(found - super().logits(ids, blend))
        if off.max() > (_MOST if len(ids) >= LONG else self.noise) or np.sqrt(np.square(off).mean()) > _USUAL:
            raise NearTieError  # a prompt that 8 bits change more than others
        return found

    def answer(
        self, calls: Sequence[Sequence[int]], spec: str, count: int, longest: int = 0, edge: float = EDGE
    ) -> list[int]:
        """At most ``count`` tokens after what came in ``calls``, the first of which is padded to ``longest`` tokens.

        Raises NearTieError for tokens that do not survive noise, and where an input is nearer to an edge than ``edge``.
        """
        model, cache, tokens = self.rounding(spec), DynamicCache(), []
        for ids in calls:
            logits = self._feed(model, cache, ids, longest if ids is calls[0] else 0, edge)
        while True:
            best, second = logits[-1].topk(2).values.tolist()
            if best - second < 2 * _NOISE:
                raise NearTieError
            token = int(logits[-1].argmax())
            if token in self._ends:
                return tokens
            tokens.append(token)
            if len(tokens) == count:
                return tokens
            logits = self._feed(model, cache, [token])

    def _feed(
        self, model: torch.nn.Module, cache: DynamicCache, ids: Sequence[int], longest: int = 0, edge: float = EDGE
    ) -> torch.Tensor:
        """Logits (len(ids), vocab_size) of one call behind what the cache holds."""
        before, padded = cache.get_seq_length(), [*ids, *[0] * (longest - len(ids))]
        with torch.no_grad():
            logits: torch.Tensor = model(torch.tensor([padded]), past_key_values=cache).logits[0, : len(ids)]
        cache.crop(before + len(ids))
        for linear in rounding_linears(model) if len(padded) >= LONG else ():
            assert linear.codes is not None
            if ((linear.codes[0, : len(ids)].frac().abs() - 0.5).abs() < edge).any():
                raise NearTieError
        return logits


def rows_cases(folder: Path, work: Path) -> Iterator[dict[str, Any]]:
    """Every case of the artifact. But for those of a chat none begins as another does: nothing is in the cache."""
    model, torch_answer = load(folder), RowsAnswer(work, folder)
    firsts: set[int] = set()

    def new(seed: int, length: int) -> list[int]:
        ids = random_ids(seed, length)
        if ids[0] in firsts:
            raise NearTieError
        return ids

    def row(length: int, spec: str, count: int, longest: int = 0) -> dict[str, Any]:
        def ask(n: int) -> dict[str, Any]:
            ids = new(n, length)
            found = torch_answer.answer([ids], spec, count, longest)
            if 2 * len(set(found)) < count:
                raise NearTieError  # always the same token
            return _tokens_case(ids, spec, found, count)

        case = first_clear(ask, _ATTEMPTS)
        firsts.add(case["input_ids"][0])
        return case

    for length, specs in _LOGITS:
        for spec in specs:

            def ask(n: int, length: int = length, spec: str = spec) -> dict[str, Any]:
                return logits_case(model, torch_answer, new(n, length), spec)

            case = first_clear(ask, _ATTEMPTS)
            firsts.add(case["input_ids"][0])
            yield {**case, "name": f"logits of {length}, {spec}"}
    for length, spec in _TOKENS:
        case = row(length, spec, 8)
        assert model.generate_ids(case["input_ids"], adapter=spec, max_new_tokens=8) == case["expected_ids"]
        yield case
    for batch in _BATCHES:
        lengths = [length for length, _ in batch]
        rows = [row(length, spec, 6, max(lengths)) for length, spec in batch]
        ids, specs, found = ([one[key] for one in rows] for key in ("input_ids", "adapter", "expected_ids"))
        assert model.generate_ids(ids, adapter=specs, max_new_tokens=6) == found
        yield {
            "kind": "batch", "name": f"batch {specs} of {lengths} tokens", "adapters": specs, "input_ids": ids,
            "sampling": {}, "max_new_tokens": 6, "expected_ids": found,
        }  # fmt: skip
    calls: list[list[int]] = []
    for turn, length in enumerate(_TURNS):

        def ask_turn(n: int, length: int = length, calls: list[list[int]] = calls) -> dict[str, Any]:
            """The last token of an answer is fed with the turn behind it. Whoever reads all in one call agrees."""
            before = [token for call in calls for token in call]
            ids = [*before, *random_ids(n, length)] if calls else new(n, length)
            found = torch_answer.answer([*calls[:-1], ids[sum(map(len, calls[:-1])) :]], "four", 6)
            if len(set(found)) < 4 or len(found) < 6 or found != torch_answer.answer([ids], "four", 6, edge=0):
                raise NearTieError
            return _tokens_case(ids, "four", found, 6)

        case = first_clear(ask_turn, _ATTEMPTS)
        ids, found = case["input_ids"], case["expected_ids"]
        for one in (model, load(folder)):
            assert one.generate_ids(ids, adapter="four", max_new_tokens=6) == found
        calls = [*calls[:-1], ids[sum(map(len, calls[:-1])) :], *[[token] for token in found]]
        yield {**case, "name": f"turn {turn} of a chat, four"}


def _tokens_case(ids: list[int], spec: str, found: list[int], count: int) -> dict[str, Any]:
    return {
        "kind": "tokens", "name": f"greedy {spec} after {len(ids)}", "adapter": spec, "input_ids": ids,
        "sampling": {}, "max_new_tokens": count, "expected_ids": found,
    }  # fmt: skip


def main() -> None:
    """Print what float32 loses before a rounding, in bytes, and what one rounding to the other side changes."""
    with tempfile.TemporaryDirectory() as name:
        work, out = Path(name) / "work", Path(name) / "out"
        torch_answer = RowsAnswer(work, write_artifact(ROWS, work, out))
        rng, apart, changes = np.random.default_rng(0), [], []
        for spec in ("none", "four", "one:0.7+eight:0.3"):
            model = torch_answer.rounding(spec)
            linears = rounding_linears(model)
            for _ in range(10):
                ids = torch.from_numpy(rng.integers(6, 384, (1, 40)))
                with torch.no_grad():
                    found = model(ids).logits
                    single = [linear.codes for linear in linears]
                    model.double()(ids)
                    # Behind a rounding to the other side the rest differs by more than arithmetic.
                    for before, linear in zip(single, linears, strict=True):
                        if not torch.equal(before.round(), linear.codes.round().float()):
                            break
                        apart.append(float((before - linear.codes).abs().max()))
                    model.float()
                    for _ in range(20):
                        linear = linears[rng.integers(len(linears))]
                        linear.flipped = int(rng.integers(linear.codes.numel()))
                        changes.append(float((model(ids).logits - found).abs().max()))
                        linear.flipped = None
    print(f"float32 and float64 are {np.median(apart):.1e} bytes apart, at most {max(apart):.1e}")
    median, most = np.quantile(changes, [0.5, 0.9])
    print(
        f"one rounding to the other side: largest change {median:.3f}, 90 % under {most:.3f}, most {max(changes):.3f}"
    )


if __name__ == "__main__":
    main()
