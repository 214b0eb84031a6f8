"""``python -m benchmarks.lookup ARTIFACT ROWS.jsonl``: decoding with and without prompt lookup, in turns, on real rows.

Knows nothing about how good the answers are; it says how often they are the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edgelora.evaluation.timing import Spread, Subject, bind, open_session, spread
from edgelora_runtime.generate import Decoding
from edgelora_runtime.lookup import MOST_DRAFTED, LookupDecoding
from edgelora_runtime.manifest import Manifest
from edgelora_runtime.sampling import Sampler, SamplingOptions
from edgelora_runtime.text import Tokenizer, read_tokenizer


@dataclasses.dataclass(frozen=True)
class Pair:
    """One row answered both ways."""

    ratio: float  # milliseconds per token after the first, with lookup over without
    tokens: int  # with lookup, without the first
    steps: int
    drafted: int
    right: int
    is_same: bool
    same_tokens: int  # of both answers, up to the first that differs
    plain_tokens: int


def main() -> None:
    """Print one JSON object: what a step of several tokens costs, and both ways on the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lookup", description=main.__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("rows", type=Path, help="JSONL with a prompt in each line")
    parser.add_argument("--adapter", default="none", help="a SPEC")
    parser.add_argument("--instruction", default="", help="text put before every prompt")
    parser.add_argument("--limit", type=int, default=40, help="rows")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    session, manifest = open_session(options.artifact, options.threads)
    subject = bind(session, manifest, options.artifact, options.adapter)
    tokenizer = open_tokenizer(options.artifact, manifest)
    lines = options.rows.read_text(encoding="utf-8").splitlines()[: options.limit]
    texts = [options.instruction + json.loads(line)["prompt"] for line in lines]
    prompts = [tokenizer.encode_chat([{"role": "user", "content": text}]) for text in texts]
    costs = step_costs(subject, prompts[0])
    bar = tqdm(prompts, desc="rows", file=sys.stderr)
    pairs = [
        pair
        for number, prompt in enumerate(bar)
        if (pair := time_row(subject, manifest, prompt, number, options.max_new_tokens))
    ]
    print(json.dumps({"adapter": options.adapter, "threads": options.threads, "step_cost": costs, **summarize(pairs)}))


def time_row(
    subject: Subject, manifest: Manifest, prompt: Sequence[int], number: int, max_new_tokens: int
) -> Pair | None:
    """Answer one prompt both ways, each first in every other row; None for answers of one token."""
    kinds: tuple[type[Decoding], ...] = (Decoding, LookupDecoding)
    found = {}
    for kind in kinds if number % 2 else reversed(kinds):
        sampler = Sampler(SamplingOptions(), prompt)
        ends = manifest.model.eos_token_ids
        decoding = kind(subject.session, subject.adapter, [prompt], [sampler], max_new_tokens, ends)
        tokens, times = [], []
        for _, token in decoding:
            tokens.append(token)
            times.append(time.perf_counter())
        found[kind] = (decoding, tokens, (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0)
    (_, plain, plain_time), (decoding, tokens, seconds) = (found[kind] for kind in kinds)
    assert isinstance(decoding, LookupDecoding)
    if len(plain) < 2 or len(tokens) < 2:
        return None
    n_same = next(
        (index for index, pair in enumerate(zip(plain, tokens, strict=False)) if pair[0] != pair[1]), len(plain)
    )
    steps, drafted, right = decoding.n_steps, decoding.n_drafted, decoding.n_right
    return Pair(seconds / plain_time, len(tokens) - 1, steps, drafted, right, plain == tokens, n_same, len(plain))


def step_costs(subject: Subject, prompt: Sequence[int], rounds: int = 30) -> dict[int, float]:
    """The time of a step of 2, 3, 5 and 9 tokens over that of one, at the lower quartile of turns."""
    session = subject.session
    session.begin(1, subject.adapter)
    session.prefill(prompt, [0])
    times: dict[int, list[float]] = {count: [] for count in (1, 2, 3, 5, 1 + MOST_DRAFTED)}
    for _ in range(rounds):
        for count, found in times.items():
            ids = list(prompt[:count])
            started = time.perf_counter()
            if count == 1:
                session.decode(np.array(ids), np.ones(1, np.bool_))
            else:
                session.prefill(ids, range(count))
            found.append(time.perf_counter() - started)
            session.rewind(len(prompt))
    low = {count: float(np.percentile(found, 25)) for count, found in times.items()}
    return {count: round(found / low[1], 3) for count, found in low.items()}


def summarize(pairs: Sequence[Pair]) -> dict[str, object]:
    """The rows together."""
    ratio: Spread = spread([pair.ratio for pair in pairs])
    return {
        "rows": len(pairs),
        "time_ratio": dataclasses.asdict(ratio),
        "tokens_per_step": round(sum(pair.tokens for pair in pairs) / sum(pair.steps for pair in pairs), 3),
        "right_drafts": round(sum(pair.right for pair in pairs) / max(1, sum(pair.drafted for pair in pairs)), 3),
        "same_answers": sum(pair.is_same for pair in pairs),
        "first_differences": sum(not pair.is_same for pair in pairs),
        "tokens_before_them": sum(pair.same_tokens for pair in pairs),
    }


def open_tokenizer(artifact: Path, manifest: Manifest) -> Tokenizer:
    """The tokenizer of an artifact that has one."""
    info = manifest.tokenizer
    assert info is not None, f"{artifact} was exported without a tokenizer"
    return read_tokenizer(
        artifact, info.file, info.chat_template, {"bos_token": info.bos_token, "eos_token": info.eos_token}
    )


if __name__ == "__main__":
    main()
