"""Damage bytes, text and JSON: by chance alone, so that a seed gives the same damage everywhere.

Knows nothing about what reads the result.
"""

from __future__ import annotations

import copy
import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**32, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**300,
    0.0, -0.0, 0.5, 1.5, 1e-300, 1e308, -1e308, "", "0", "x", "none", "true", "\n", "\0", "\x1b[31m", "../x", "/etc",
    "😀", "\ud800", "x" * 5000, [], {}, [[]], [{}], [0], [None], ["x"], {"": 0}, {"a": {"b": []}}, list(range(300)),
    "(((", "a*" * 200, "{{ 1 / 0 }}", "\u2028", "NaN", 4096, 65536, 1e5,
)  # fmt: skip
TOKENS = (
    b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"[" * 200, b'{"a":' * 200, b'"\\ud800"', b"\xff\xfe", b"\xed\xa0\x80",
    b"\0", b"\xef\xbb\xbf", b'"', b",", b"}", b"]", b":", b"0" * 50, b"-", b"null", b'{"a": 1, "a": 2}', b"\n", b"\r",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff" * 8, b"\x00\x00\x00\x80", b"{{", b"}}", b"{%", b"%}",
)  # fmt: skip


def damage(content: bytes, others: tuple[bytes, ...], chance: random.Random) -> bytes:
    """``content`` changed in one to three places; ``others`` are files of the same kind to take pieces from."""
    if chance.random() < 0.5 and (changed := _damage_json(content, chance) or _damage_header(content, chance)):
        content = changed
        if chance.random() < 0.7:
            return content
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        _damage_bytes(data, others, chance)
    return bytes(data)


def _damage_bytes(data: bytearray, others: tuple[bytes, ...], chance: random.Random) -> None:
    size = len(data)
    # Lengths, offsets and names stand in the first bytes of most formats.
    start = chance.randrange(size + 1) if chance.random() < 0.6 else chance.randrange(min(size, 200) + 1)
    length = min(chance.choice((1, 1, 2, 4, 8, 30, 300)), size - start)
    kind = chance.randrange(8)
    if kind == 0 and start < size:
        data[start] ^= 1 << chance.randrange(8)
    elif kind == 1 and start < size:
        data[start] = chance.randrange(256)
    elif kind == 2:
        del data[start:]
    elif kind == 3:
        del data[start : start + length]
    elif kind == 4:
        data[start:start] = data[start : start + length] * chance.choice((1, 2, 50))
    elif kind == 5:
        data[start : start + chance.choice((0, length))] = chance.choice(TOKENS)
    elif kind == 6:
        data[start : start + length] = chance.randbytes(length)
    else:
        other = chance.choice(others) if others else b""
        place = chance.randrange(len(other) + 1)
        data[start : start + length] = other[place : place + length]


def _damage_header(content: bytes, chance: random.Random) -> bytes | None:
    """The JSON in front of a safetensors file, with its length put right; None where ``content`` is no such file."""
    end = 8 + int.from_bytes(content[:8], "little")
    changed = _damage_json(content[8:end], chance) if end <= len(content) else None
    return None if changed is None else len(changed).to_bytes(8, "little") + changed + content[end:]


def _damage_json(content: bytes, chance: random.Random) -> bytes | None:
    """A value of a JSON document exchanged, taken out, doubled or wrapped; None where ``content`` is no JSON."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict | list):
        return None
    for _ in range(chance.choice((1, 1, 2))):
        place: Any = data
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = chance.choice(keys)
            if isinstance(place[key], dict | list) and chance.random() < 0.8:
                place = place[key]
                continue
            inner = _damage_json(place[key].encode(errors="replace"), chance) if isinstance(place[key], str) else None
            if inner is not None and chance.random() < 0.8:  # JSON in a text
                place[key] = inner.decode(errors="replace")
            else:
                _damage_value(place, key, chance)
            break
    text = json.dumps(data, ensure_ascii=chance.random() < 0.9)
    if chance.random() < 0.1 and '": ' in text:  # a key twice
        first = text.index('"')
        text = text[:first] + text[first : text.index('": ', first)] + '": 1, ' + text[first:]
    return text.encode(errors="surrogatepass")


def _damage_value(place: Any, key: Any, chance: random.Random) -> None:
    kind = chance.randrange(7)
    if kind <= 2:
        place[key] = copy.deepcopy(chance.choice(VALUES))  # a later change goes into this one alone
    elif kind == 3:
        del place[key]
    elif kind == 4:
        value = place[key]
        for _ in range(chance.choice((1, 3, 120))):
            value = [value] if chance.random() < 0.5 else {"x": value}
        place[key] = value
    elif kind == 5 and isinstance(place, dict):
        place[str(chance.choice(VALUES))[:100]] = place.pop(key)
    elif isinstance(place[key], int | float) and not isinstance(place[key], bool):
        place[key] = chance.choice((place[key] + 1, -place[key], place[key] * 2**20, place[key] + 0.5, str(place[key])))
    elif isinstance(place[key], str):
        text = place[key]
        at = chance.randrange(len(text) + 1)
        place[key] = text[:at] + str(chance.choice(VALUES))[:50] + text[at + chance.randrange(3) :]
    else:
        place[key] = [place[key], place[key]]
