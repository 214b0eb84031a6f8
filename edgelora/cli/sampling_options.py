"""The options of how an answer is made, the same words in ``run`` and ``chat``.

SamplingFlags -> TextOptions

Ranges are the runtime's matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgelora.data.template_options import Day, TemplateVariables
from edgelora.option import Option
from edgelora_runtime.request import TextOptions


@dataclass(frozen=True)
class SamplingFlags:
    """How tokens are chosen, when an answer ends, and what the chat template gets."""

    max_new_tokens: Annotated[int, Option("Longest answer, in tokens.")] = 128
    temperature: Annotated[float, Option("0 takes the likeliest token; larger values vary more.")] = 0.0
    top_p: Annotated[float, Option("Sample from the fewest tokens that are this likely together.")] = 1.0
    top_k: Annotated[int, Option("Sample from this many of the likeliest tokens; 0 means all.")] = 0
    min_p: Annotated[float, Option("Leave out tokens less likely than this share of the likeliest one.")] = 0.0
    repetition_penalty: Annotated[float, Option("Above 1, tokens that the text already holds become less likely.")] = (
        1.0
    )
    seed: Annotated[int | None, Option("Makes sampling repeatable.")] = None
    stop: Annotated[list[str] | None, Option("End the answer before this text; may be repeated.")] = None
    lookup: Annotated[
        bool, Option("Guess ahead from the text so far: quicker where the answer repeats it.", names=("--lookup",))
    ] = False
    template_variables: TemplateVariables = None
    date: Day = None

    def options(self) -> TextOptions:
        """As keyword arguments of ``Model.generate`` and ``Model.chat``."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "seed": self.seed,
            "stop": tuple(self.stop or ()),
            "lookup": self.lookup,
            "template": self.template_variables,
            "date": self.date,
        }
