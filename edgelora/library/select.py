"""Which adapters of a library are meant: by base, grid, task, tags, words, scores, age.

each Entry, Wanted -> those that fit
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgelora.errors import ConfigError
from edgelora.library.entry import Entry


@dataclass(frozen=True)
class Wanted:
    """What an adapter must be; what is left out may be anything. Words are looked for in everything that is said."""

    base: str | None = None  # a part of its name, or the begin of its fingerprint
    grid: str | None = None  # the begin of its fingerprint, or "none"
    task: str | None = None
    tags: tuple[str, ...] = ()  # all of them
    words: tuple[str, ...] = ()  # all of them
    at_least: Mapping[str, float] = field(default_factory=dict)  # score -> least value
    below: Mapping[str, float] = field(default_factory=dict)  # score -> value that is too much
    older_days: float | None = None

    @property
    def is_anything(self) -> bool:
        """Whether nothing is asked for."""
        return self == Wanted()

    def fits(self, entry: Entry, now: datetime.datetime) -> bool:
        """Whether an adapter is all of this."""
        said = " ".join(
            word.lower()
            for word in (entry.name, entry.base, entry.task, entry.title, entry.description, entry.license, *entry.tags)
            if word
        )
        base = (entry.base or "").lower()
        return (
            (self.base is None or self.base.lower() in base or (entry.fingerprint or "").startswith(self.base))
            and (self.grid is None or (entry.grid or "none").startswith(self.grid))
            and (self.task is None or entry.task == self.task)
            and {*self.tags} <= {*entry.tags}
            and all(word.lower() in said for word in self.words)
            and all(entry.scores.get(name, float("-inf")) >= least for name, least in self.at_least.items())
            and all(entry.scores.get(name, float("inf")) < most for name, most in self.below.items())
            and (self.older_days is None or entry.age_days(now) > self.older_days)
        )


def select(entries: Iterable[Entry], wanted: Wanted) -> tuple[Entry, ...]:
    """The adapters that are all that is wanted, in their order."""
    now = datetime.datetime.now(datetime.UTC)
    return tuple(entry for entry in entries if wanted.fits(entry, now))


def parse_scores(texts: Sequence[str], option: str) -> dict[str, float]:
    """``NAME=NUMBER``, each taken apart; raises ConfigError that names the option."""
    found: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not name or not equals or value != value or value in (float("inf"), float("-inf")):
            raise ConfigError(f"{option} is {text!r}, expected NAME=NUMBER such as exact_match=0.9")
        found[name] = value
    return found


def order(entries: Sequence[Entry], by: str) -> tuple[Entry, ...]:
    """Adapters by ``name``, ``size``, ``age`` (newest first) or a score (largest first, those without it last)."""
    known: Mapping[str, Callable[[Entry], object]] = {"name": lambda entry: entry.name, "size": lambda e: -e.bytes}
    if by == "age":
        return tuple(sorted(entries, key=lambda entry: entry.added, reverse=True))
    if by in known:
        return tuple(sorted(entries, key=known[by]))  # type: ignore[arg-type]
    if entries and not any(by in entry.scores for entry in entries):
        raise ConfigError(f"--sort is {by!r}, expected name, size, age or a score that an adapter has")
    return tuple(sorted(entries, key=lambda entry: -entry.scores.get(by, float("-inf"))))
