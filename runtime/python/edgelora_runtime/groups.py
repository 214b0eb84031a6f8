"""Which rows of a list are computed together, so that neither their number nor their length takes memory without bound.

lengths -> groups of indices
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_ROWS = 16  # rows computed together; more gain little, and each has logits and slot inputs of its own
MAX_CACHE_BYTES = 512 << 20  # of the KV cache of rows computed together; a single row may need more


def group_rows(lengths: Sequence[int], bytes_per_token: int) -> list[list[int]]:
    """Indices into ``lengths``, the tokens that each row may come to, in groups of rows that are about as long."""
    groups: list[list[int]] = []
    longest_first = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    room = 0
    for index in longest_first:
        if room == 0:  # the first row of a group is its longest: all of them get that much cache
            room = max(1, min(MAX_ROWS, MAX_CACHE_BYTES // (lengths[index] * bytes_per_token)))
            groups.append([])
        groups[-1].append(index)
        room -= 1
    return groups


def plan_calls(
    lengths: Sequence[int], specs: Sequence[str], most_tokens: int, *, shares_adapter: bool = False
) -> list[list[int]]:
    """Indices of rows, each with a length and an adapter, that go through a graph together; all if they fit one call.

    Otherwise each call has one adapter, and rows that are about as long; always so where rows must share theirs.
    """
    shortest_first = sorted(range(len(lengths)), key=lambda index: lengths[index])
    if not shares_adapter and len(lengths) * max(lengths, default=0) <= most_tokens:
        return [shortest_first]
    calls: list[list[int]] = []
    for spec in dict.fromkeys(specs):
        rows = [index for index in shortest_first if specs[index] == spec]
        parts = split_rows([lengths[index] for index in rows], most_tokens)
        calls += [[rows[place] for place in part] for part in parts]
    return calls


def split_rows(lengths: Sequence[int], most_tokens: int) -> list[range]:
    """Neighbours that go through one call when padded to the longest, at most ``most_tokens``; a longer row alone."""
    parts: list[range] = []
    start, longest = 0, 0
    for index, length in enumerate(lengths):
        longest = max(longest, length)
        if index > start and (index + 1 - start) * longest > most_tokens:
            parts.append(range(start, index))
            start, longest = index, length
    parts.append(range(start, len(lengths)))
    return parts
