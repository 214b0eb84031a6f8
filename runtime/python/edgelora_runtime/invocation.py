"""Where an activated adapter (aLoRA) begins to act: at the last place of its invocation in a prompt.

token ids -> an index

What comes before goes through the base, so that one KV cache of it serves every such adapter.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelora_runtime.errors import AdapterError, InputError

_MOST_SHOWN = 8  # token ids


def find_last(ids: Sequence[int], part: Sequence[int]) -> int | None:
    """Index in ``ids`` where ``part``, which is not empty, stands for the last time; None where it stands nowhere."""
    wanted = list(part)
    starts = range(len(ids) - len(wanted), -1, -1)
    places = (start for start in starts if ids[start] == wanted[0])  # one look at most tokens
    return next((start for start in places if list(ids[start : start + len(wanted)]) == wanted), None)


def no_invocation(spec: str, invocation: Sequence[int], text: str | None) -> InputError:
    """What is said where a prompt lacks the invocation, written ``text``, of the adapter ``spec``."""
    shown = ", ".join(map(str, invocation[:_MOST_SHOWN])) + (", …" if len(invocation) > _MOST_SHOWN else "")
    words = f"token ids {shown}" if text is None else f"{text!r} (token ids {shown})"
    return InputError(
        f"adapter {spec!r} acts from its invocation on, {words}, which the prompt does not have: it would do nothing; "
        "put the invocation into the prompt, or use the adapter 'none'"
    )


def no_blend(spec: str, name: str) -> AdapterError:
    """What is said of a blend with the activated adapter ``name``."""
    return AdapterError(f"adapter SPEC {spec!r}: {name} acts from its invocation on and no blend can; use it alone")
