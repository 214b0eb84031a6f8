"""The token ids of an activated adapter's invocation: those of a text, or what the chat template opens an answer with.

Tokenizer -> token ids
"""

from __future__ import annotations

from edgelora.errors import ConfigError
from edgelora_runtime.text import Tokenizer

_EXAMPLE = [{"role": "user", "content": "Hello"}]


def read_invocation(tokenizer: Tokenizer, text: str | None, raw: bool = False) -> tuple[int, ...]:
    """Token ids of ``text``, of the generation prompt where it is None; raises ConfigError where there are none.

    ``raw`` is whether prompts go without the chat template.
    """
    if text is not None:
        if ids := tuple(tokenizer.encode(text, special=False)):
            return ids
        raise ConfigError(f"--invocation {text!r} has no tokens; give words that every prompt has")
    if raw or tokenizer.chat_template is None:
        why = "--raw leaves it out" if raw else "the model has none"
        raise ConfigError(
            f"--activated acts from what the chat template opens an answer with, and {why}; give --invocation TEXT"
        )
    prompt, before = tokenizer.encode_chat(_EXAMPLE), tokenizer.encode_chat(_EXAMPLE, False)
    if len(prompt) > len(before) and prompt[: len(before)] == before:
        return tuple(prompt[len(before) :])
    raise ConfigError(
        "--activated acts from what the chat template opens an answer with, and this one opens none; "
        "give --invocation TEXT"
    )
