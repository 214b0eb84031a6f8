"""The model card of a trained adapter: a few lines for people of what it learned and how well.

Receipt -> a README.md in the adapter's folder

The receipt's page beside it has the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgelora.adapter.card import write_card
from edgelora.adapter.page import PAGE_FILE, headline
from edgelora_runtime.receipt import Receipt

_UNITS = {  # by lesson
    "classification": "nats per text",
    "tagging": "nats per word",
    "embedding": "nats per pair",
    "text-recovery": "squares over squares, of what stands behind the layers",
}
_DISTILLED = {
    "recovery": ("pieces of text", "KL to the float model"),
    "text-recovery": ("pieces of text", "distance from the float model"),
}
_SHOWN_LABELS = 20


def write_trained_card(folder: Path, receipt: Receipt, data: Sequence[tuple[str, int]], base_model: str) -> None:
    """Write ``README.md``; ``data`` has a file's name and how many of its rows were used, rows held out second.

    ``base_model`` is what a hub knows the base by, such as ``org/name``.
    """
    write_card(folder, base_model, _body(receipt, data))


def _head(receipt: Receipt) -> list[str]:
    if receipt.head is None:
        return []
    count = len(receipt.head.labels)
    shown = ", ".join(f"`{label}`" for label in receipt.head.labels[:_SHOWN_LABELS])
    return [f"- labels: {shown}{'' if count <= _SHOWN_LABELS else f' and {count - _SHOWN_LABELS} more'}"]


def _body(receipt: Receipt, data: Sequence[tuple[str, int]]) -> list[str]:
    training = receipt.training
    unit, loss = _DISTILLED.get(training["lesson"], ("rows", "loss"))
    said = f"- {training['steps']} steps, {loss} {training['loss']:.4f}"
    if training["eval_loss"] is not None:
        said += f", {training['eval_loss']:.4f} on what was held out"
    grid = f"its grid `{receipt.grid[:12]}`" if receipt.grid else "its float weights"
    return [
        f"# Adapter for {receipt.name}",
        "",
        f"A LoRA adapter that PEFT opens, trained on {grid}. [The receipt]({PAGE_FILE}) has its layers and probes.",
        "",
        *(
            f"- {what} on {count} {unit} of `{name}`"
            for what, (name, count) in zip(("trained", "evaluated"), data, strict=False)
        ),
        f"{said} ({_UNITS.get(training['lesson'], 'nats per token')})",
        *_head(receipt),
        *headline(receipt),
    ]
