"""The receipt as a page for people: what the adapter was trained on, what is there of it, what it does.

Receipt -> lines of Markdown, a page in the adapter's folder

Nothing is measured here; every figure is taken from the receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from edgelora_runtime.files import write_atomically
from edgelora_runtime.receipt import LayerRecord, Receipt

PAGE_FILE = "receipt.md"
Decode = Callable[[Sequence[int]], str]

_SHOWN_TRAINING = (
    "data",
    "rows",
    "steps",
    "loss",
    "eval_loss",
    "rank",
    "alpha",
    "learning_rate",
    "seed",
    "data_sha256",
)


def write_page(folder: Path, receipt: Receipt, decode: Decode | None = None) -> None:
    """Write ``receipt.md`` into an adapter folder; without ``decode`` answers are shown as token ids."""
    write_atomically(folder / PAGE_FILE, "\n".join(page_lines(receipt, decode)) + "\n")


def page_lines(receipt: Receipt, decode: Decode | None = None) -> list[str]:
    """The page in Markdown, line by line."""
    grid = f"grid `{receipt.grid[:12]}` ({_spec(receipt.quantization)})" if receipt.grid else "its float weights"
    lines = [
        f"# Adapter for {receipt.name}",
        "",
        f"Trained on `{receipt.fingerprint[:12]}`, {grid}.",
        "",
    ]
    lines += headline(receipt)
    lines += _training(receipt.training)
    if receipt.truncation:
        lines += ["", "## Truncated", "", *_truncation(receipt.truncation)]
    if receipt.conversion:
        lines += ["", "## Converted", "", *_conversion(receipt.conversion)]
    if receipt.parents:
        lines += ["", "## Merged", "", *parent_lines(receipt.parents)]
    if receipt.layers:
        lines += ["", "## Layers, by kind", "", *_layers(receipt)]
    if receipt.probes:
        lines += [
            "",
            "## Probes",
            "",
            "Built-in prompts, the same for every adapter; no training row is among them.",
            "",
        ]
        lines += _probes(receipt, decode)
    return lines


def headline(receipt: Receipt) -> list[str]:
    """The few sentences that matter: what is there, what it changes, and what a merge would leave of it."""
    lines = []
    if receipt.modules is not None:
        lack = f"; missing: {', '.join(receipt.modules.missing)}" if receipt.modules.missing else ""
        lines.append(f"- {receipt.modules.matched} of {receipt.modules.expected} modules have factors{lack}")
    if receipt.layers:
        ranks = [layer.rank for layer in receipt.layers.values()]
        effective = fmean(layer.effective_rank for layer in receipt.layers.values())
        span = f"{min(ranks)}" if min(ranks) == max(ranks) else f"{min(ranks)} to {max(ranks)}"
        lines.append(f"- rank {span}, effective rank {effective:.1f} on average")
    if receipt.probes:
        told = ", ".join(f"{probe.kl:.3g}" for probe in receipt.probes)
        lines.append(f"- KL between base and adapted on {len(receipt.probes)} probes: {told} nats")
    if receipt.head is not None:
        head = receipt.head
        lines.append(f"- a head of {len(head.labels)} labels ({head.problem_type}), temperature {head.temperature:g}")
    if receipt.answers:
        deltas = [a - b for answer in receipt.answers for a, b in zip(answer.output, answer.base, strict=False)]
        size = [b for answer in receipt.answers for b in answer.base]
        lines.append(
            f"- factors change the answers to {len(receipt.answers)} built-in texts by {_rms(deltas):.3g} (root mean "
            f"square; without them they are {_rms(size):.3g})"
        )
    correlation = _mean(receipt.layers.values(), "correlation")
    if correlation is not None:
        changed, step = (_mean(receipt.layers.values(), key) for key in ("codes_changed", "step_to_delta"))
        lines.append(
            f"- merged into {_spec(receipt.merge)}, {100 * (changed or 0):.1f} % of the codes would change and the "
            f"change would correlate {correlation:.2f} with the delta (a step is {step:.3g} times the delta)"
        )
    return lines


def _rms(values: Sequence[float]) -> float:
    return (fmean(value * value for value in values)) ** 0.5 if values else 0.0


def layer_rows(receipt: Receipt) -> list[tuple[str, ...]]:
    """Means over each kind of module, the header first."""
    rows: list[tuple[str, ...]] = [
        (
            "kind",
            "modules",
            "rank",
            "effective rank",
            "energy at half rank",
            "step/delta",
            "codes changed",
            "correlation",
        )
    ]
    kinds: dict[str, list[LayerRecord]] = {}
    for module, layer in receipt.layers.items():
        kinds.setdefault(module.rsplit(".", 1)[-1], []).append(layer)
    for kind, layers in kinds.items():
        ranks = sorted({layer.rank for layer in layers})
        figures = [_mean(layers, key) for key in ("step_to_delta", "codes_changed", "correlation")]
        rows.append(
            (
                kind,
                str(len(layers)),
                str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]}-{ranks[-1]}",
                f"{fmean(layer.effective_rank for layer in layers):.1f}",
                f"{fmean(_at_half(layer) for layer in layers):.3f}",
                *("-" if figure is None else f"{figure:.3g}" for figure in figures),
            )
        )
    return rows


def _layers(receipt: Receipt) -> list[str]:
    head, *rows = layer_rows(receipt)
    return [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]


def _probes(receipt: Receipt, decode: Decode | None) -> list[str]:
    lines = [_row(("prompt", "KL (nats)", "base", "adapted")), _row(["---"] * 4)]
    for probe in receipt.probes:
        prompt = probe.text or f"{len(probe.input_ids)} fixed token ids"
        answers = [_answer(ids, decode) for ids in (probe.base_greedy, probe.greedy)]
        lines.append(_row((prompt, f"{probe.kl:.4g}", *answers)))
    return lines


def _answer(ids: Sequence[int], decode: Decode | None) -> str:
    return repr(decode(ids)) if decode is not None else " ".join(map(str, ids))


def _training(training: Mapping[str, Any]) -> list[str]:
    known = [(key, training[key]) for key in _SHOWN_TRAINING if training.get(key) is not None]
    return ["", "## Training", "", *(f"- {key}: {_plain(item)}" for key, item in known)] if known else []


def _truncation(truncation: Mapping[str, Any]) -> list[str]:
    told = [(key, item) for key, item in truncation.items() if key != "modules"]
    return [
        *(f"- {key}: {_plain(item)}" for key, item in told),
        "",
        "The probes below are those of the whole adapter.",
    ]


def _conversion(conversion: Mapping[str, Any]) -> list[str]:
    steps, told = conversion.get("steps"), ("rank", "relative_error")
    return [
        *(f"- {step}" for step in (steps if isinstance(steps, list) else ())),
        *(f"- {key}: {_plain(conversion[key])}" for key in told if key in conversion),
    ]


def parent_lines(parents: Mapping[str, Any]) -> list[str]:
    """What a merged adapter was made of, as a receipt's ``parents`` say it."""
    chosen = [
        f"{key.replace('_', ' ')} {_plain(item)}"
        for key, item in parents.items()
        if key not in ("method", "adapters", "relative_error", "fit") and item is not None
    ]
    lines = [f"- merged by {', '.join([str(parents.get('method')), *chosen])}"]
    if isinstance(error := parents.get("relative_error"), float):
        lines.append(f"- its delta is {100 * error:.2f} % off the weighted sum")
    if fit := parents.get("fit"):
        lines.append(
            f"- weights found in {fit['steps']} steps on {fit['rows']} rows: loss {fit['loss_before']:.4f} to "
            f"{fit['loss_after']:.4f}"
        )
    for item in parents.get("adapters") or ():
        weight = "weights by layer" if item.get("layers") else f"weight {item['weight']:g}"
        lines.append(f"- {item['name']}, {weight}, factors `{item['weights'][:12]}`")
    return lines


def _at_half(layer: LayerRecord) -> float:
    """Energy up to the largest recorded rank of at most half the rank."""
    fitting = [int(rank) for rank in layer.energy if int(rank) <= max(1, layer.rank // 2)]
    return layer.energy[str(max(fitting))] if fitting else 0.0


def _mean(layers: Iterable[LayerRecord], key: str) -> float | None:
    known = [value for layer in layers if (value := getattr(layer, key)) is not None]
    return fmean(known) if known else None


def _spec(data: Mapping[str, Any] | None) -> str:
    if not data or "bits" not in data:
        return str((data or {}).get("label", "float"))
    kind = "symmetric" if data.get("symmetric") else "asymmetric"
    method = f" by {data['method']}" if data.get("method", "rtn") != "rtn" else ""
    wider = f", {len(data['overrides'])} tensors with bits of their own" if data.get("overrides") else ""
    return f"int{data['bits']}{method} in blocks of {data.get('block_size')}, {kind}{wider}"


def _plain(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"
