"""Mails of ten topics from the 20 Newsgroups, as rows for ten classifiers that each know one topic.

Knows nothing about models: it writes ``TOPIC/train.jsonl``, ``TOPIC/heldout.jsonl`` and ``mails.jsonl``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.download import write_rows
from examples.topic_tables import fetch_topics

SEED = 7
MAX_WORDS = 90  # of a mail; its subject comes first, and the rest says little more of the topic
OTHER = "other"
TOPICS: Mapping[str, str] = {
    "cars": "rec.autos",
    "motorcycles": "rec.motorcycles",
    "baseball": "rec.sport.baseball",
    "hockey": "rec.sport.hockey",
    "encryption": "sci.crypt",
    "electronics": "sci.electronics",
    "medicine": "sci.med",
    "space": "sci.space",
    "for-sale": "misc.forsale",
    "graphics": "comp.graphics",
}


@dataclass(frozen=True)
class Amounts:
    """Mails of a topic that are learned, and held out of that, each beside one of another topic; mails to sort."""

    train: int
    held_out: int
    sorted: int  # of each topic


WHOLE, SHORT = Amounts(250, 60, 20), Amounts(12, 4, 1)


def read_mails(part: str) -> list[tuple[str, str]]:
    """(topic, text) of the mails of our topics, and of all other groups under ``other``; each text once."""
    names = {group: topic for topic, group in TOPICS.items()}
    found = {" ".join(text.split()[:MAX_WORDS]): names.get(group, OTHER) for group, text in fetch_topics(part)}
    mails = [(topic, text) for text, topic in found.items()]
    random.Random(SEED).shuffle(mails)
    return mails


def one_topic(mails: Sequence[tuple[str, str]], topic: str) -> list[dict[str, str]]:
    """Mails of a topic in turns with as many of all others, as rows with the topic or ``other`` as label."""
    by_topic = {name: [text for topic, text in mails if topic == name] for name in (*TOPICS, OTHER)}
    own = by_topic.pop(topic)
    others = _in_turns(list(by_topic.values()))
    return [
        {"text": text, "label": label}
        for pair in zip(own, others, strict=False)
        for text, label in zip(pair, (topic, OTHER), strict=True)
    ]


def _in_turns(groups: Sequence[Sequence[str]]) -> Iterator[str]:
    """One of each group after the other, so that no group is all that a topic is told from."""
    for index in range(max(map(len, groups))):
        yield from (group[index] for group in groups if index < len(group))


def prepare(folder: Path, amounts: Amounts) -> None:
    """Write the rows of every topic, and ``mails.jsonl``: mails of the official test part with the topic as label."""
    known, new = read_mails("20newsgroups-train"), read_mails("20newsgroups-test")
    for topic in TOPICS:
        rows = one_topic(known, topic)
        write_rows(folder / topic / "train.jsonl", rows[: 2 * amounts.train])
        write_rows(folder / topic / "heldout.jsonl", rows[2 * amounts.train :][: 2 * amounts.held_out])
    mails = [
        {"text": text, "label": topic}
        for topic in TOPICS
        for text in [text for name, text in new if name == topic][: amounts.sorted]
    ]
    print(f"{folder}: rows of {len(TOPICS)} topics, {write_rows(folder / 'mails.jsonl', mails)} mails to sort")
