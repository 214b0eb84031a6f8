"""The results of ``python -m benchmarks.web`` as figures and as a page of Markdown.

Knows nothing about how anything was measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgelora.evaluation import timing as measure

OURS, ADAPTED, THEIRS = "edgelora, no adapter", "edgelora, rank 8", "transformers.js q8"
WLLAMA, WLLAMA_ADAPTED = "wllama, no adapter", "wllama, rank 8"
_SUBJECTS = (OURS, ADAPTED, THEIRS, WLLAMA, WLLAMA_ADAPTED)
_COMPARED = tuple(name for name in _SUBJECTS if name != THEIRS)
_LIBRARIES = ("edgelora", "transformers", "wllama")
_WEBLLM = """\
**WebLLM** 0.2.86 was tried and could not run here: its SmolLM2-135M is a library of shaders and weights that it
  fetches from GitHub and Hugging Face, out of reach of this machine (`TypeError: Failed to fetch`), and this Chromium
  has no GPU (`navigator.gpu.requestAdapter()` gives null; SwiftShader's adapter has no `shader-f16`)."""
_NOTES = """\
# The web target, transformers.js and wllama

`python -m benchmarks.web` writes this page. {model}, {date}. {machine[cpu]}, {machine[cores]} cores;
{browser} without a window, wasm.

- **edgelora**: `--target web-wasm` ({quantization}, stored as 8 bits a row, {megabytes[edgelora]} MB),
  onnxruntime-web {versions[onnxruntime-web]}, a random adapter of rank 8 on every linear.
- **transformers.js** {versions[@huggingface/transformers]} with the onnxruntime-web that it brings, and the same base
  as its own `q8`: exported by optimum, quantized as its conversion script does, one scale for each tensor
  ({megabytes[transformers.js]} MB). It has no adapters.
- **wllama** {versions[@wllama/wllama]}, llama.cpp in wasm, and the file that the base comes from as it is (Q4_1,
  {megabytes[wllama]} MB). It takes LoRA adapters, as GGUF files, when it opens the base, as further files of it under
  the names that it gives those; none can come later, and a request says with what weight each acts. Both random
  adapters were there in all turns, none while loading was timed.
- {rounds} rounds in turns in one browser; ratios are made round by round: median (10th to 90th percentile).
- Prefill is {prompt_tokens} tokens to the first new one; decode is {steps} tokens after a prompt of {short_tokens}.
- Activations: in calls of 16 tokens and more edgelora keeps 8 bits for each token, of inputs that were made more alike
  before, in shorter ones, such as a step, 16 bits. transformers.js keeps 8 bits for all tokens of a call together,
  which is why its answers are further from the float model (last table). wllama keeps 8 bits for 32 inputs.
- The memory of wllama is that of workers, which do not tell it.
- {webllm}
"""


def summarize(threads: Mapping[str, Any], prompt_tokens: int) -> dict[str, Any]:
    """Medians and spreads of what each number of threads gave; ratios are made round by round."""
    return {count: _summary(found, prompt_tokens) for count, found in threads.items()}


def _summary(found: Mapping[str, Any], prompt_tokens: int) -> dict[str, Any]:
    rounds = found["rounds"]
    decode = {name: np.array([turn[name]["decode_ms"] for turn in rounds]) for name in _SUBJECTS}
    prefill = {
        name: prompt_tokens * 1e3 / np.array([turn[name]["prefill_ms"] for turn in rounds]) for name in _SUBJECTS
    }
    return {
        "backends": found["backends"],
        "decode_ms": {name: spread(values) for name, values in decode.items()},
        "decode_over_transformers": {name: spread(decode[name] / decode[THEIRS]) for name in _COMPARED},
        "prefill_tokens_per_s": {name: spread(values) for name, values in prefill.items()},
        "prefill_over_transformers": {name: spread(prefill[name] / prefill[THEIRS]) for name in _COMPARED},
        "load_ms": {
            library: {key: spread([turn[key] for turn in loads]) for key in ("first_ms", "again_ms")}
            for library, loads in found["loads"].items()
        },
        "memory_mb": {
            library: {
                "loaded": round(memory["loaded"] / 1e6, 1),
                "after": round(memory["after"] / 1e6, 1),
            }
            for library, memory in found["memory"].items()
        },
        "swap_ms": spread(found["swaps"]),
        "wllama_swap_ms": spread(found["switches"]),
        "first_swap_ms": round(found["first_swap_ms"], 2),
    }


def spread(values: Sequence[float] | np.ndarray[Any, Any]) -> dict[str, float]:
    """Median, 10th and 90th percentile."""
    return dataclasses.asdict(measure.spread(np.asarray(values, np.float64).tolist()))


def write_report(result: Mapping[str, Any]) -> str:
    """One table for each number of threads."""
    lines = _NOTES.format(**result, webllm=_WEBLLM).splitlines()
    for count, found in result["threads"].items():
        lines += ["", f"## {count} thread{'s' if count != '1' else ''}", "", *_table(found)]
    lines += ["", *_distance(result["distance"]), ""]
    return "\n".join(lines)


def _table(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "| | decode ms a token | over transformers.js | prefill tokens/s | over transformers.js |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in _SUBJECTS:
        ratios = [
            "1" if name == THEIRS else _told(found[f"{kind}_over_transformers"][name]) for kind in ("decode", "prefill")
        ]
        decode, prefill = _told(found["decode_ms"][name], 1), _told(found["prefill_tokens_per_s"][name], 0)
        lines.append(f"| {name} | {decode} | {ratios[0]} | {prefill} | {ratios[1]} |")
    lines += ["", "| | edgelora | transformers.js | wllama |", "|---|---:|---:|---:|"]
    for label, key in (("first load, ms", "first_ms"), ("load from the browser's cache, ms", "again_ms")):
        cells = [_told(found["load_ms"][library][key], 0) for library in _LIBRARIES]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    for label, key in (
        ("memory of WebAssembly when loaded, MB", "loaded"),
        ("the same after all turns, MB", "after"),
    ):
        cells = [_megabytes(found["memory_mb"][library][key]) for library in _LIBRARIES]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    switches = _told(found["wllama_swap_ms"], 0)
    label = "switch to a loaded adapter, ms; wllama: what the request takes longer"
    lines.append(f"| {label} | {_told(found['swap_ms'])} | | {switches} |")
    lines.append(f"| fetch, pack and switch to an adapter, ms | {found['first_swap_ms']:.0f} | | loads anew |")
    return lines


def _distance(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "## How far the answers are from the float model",
        "",
        "One text, all tokens in one call, on native onnxruntime with the same operators: mean over the positions.",
        "int8 has the same form, size and speed; an adapter trained on the int4 grid mends what that grid lost.",
        "",
        "| | KL to the float model, nats | same top token |",
        "|---|---:|---:|",
    ]
    for label, item in found.items():
        lines.append(f"| {label} | {item['kl']:.4f} | {100 * item['same_top']:.0f} % |")
    return lines


def _megabytes(value: float) -> str:
    """Empty where a library keeps its memory in workers that do not tell it."""
    return f"{value:.0f}" if value else ""


def _told(value: Mapping[str, float], digits: int = 2) -> str:
    return f"{value['median']:.{digits}f} ({value['p10']:.{digits}f} to {value['p90']:.{digits}f})"
