"""What each token of a vocabulary writes, as bytes.

a tokenizer's vocabulary and decoder -> bytes by token id
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgelora_runtime.errors import InputError

_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")
_BLANK = "\u2581"  # how SentencePiece writes a blank
_KNOWN = ("ByteLevel", "ByteFallback", "Metaspace", "Replace", "Fuse", "Strip")


def token_bytes(
    vocabulary: Mapping[str, int], decoder: Mapping[str, Any] | None, added: Mapping[str, int], special: frozenset[int]
) -> dict[int, bytes]:
    """The bytes of each token that writes some; ``added`` tokens are written as they are, ``special`` ones not at all.

    Raises InputError naming a decoder whose tokens do not stand for bytes of their own.
    """
    steps = list(_steps(decoder))
    if unknown := [str(step.get("type")) for step in steps if step.get("type") not in _KNOWN]:
        raise InputError(
            f"schema and regex need a tokenizer of bytes or SentencePiece pieces, not {', '.join(unknown)}"
        )
    kinds = {step["type"] for step in steps}
    if not kinds & {"ByteLevel", "ByteFallback", "Metaspace"}:
        raise InputError("schema and regex need a tokenizer whose decoder says what a token writes; this one has none")
    letters = {letter: byte for byte, letter in enumerate(byte_letters())}
    found: dict[int, bytes] = {}
    for token, index in {**vocabulary, **added}.items():
        if index in special:
            continue
        if token in added:
            content = token.encode()
        elif "ByteLevel" in kinds and all(letter in letters for letter in token):
            content = bytes(letters[letter] for letter in token)
        elif "ByteFallback" in kinds and (byte := _BYTE.fullmatch(token)):
            content = bytes([int(byte[1], 16)])
        else:
            content = (token if "ByteLevel" in kinds else token.replace(_BLANK, " ")).encode()
        if content:
            found[index] = content
    return found


def drops_blank(decoder: Mapping[str, Any] | None) -> bool:
    """Whether a blank in front of a whole text is not shown."""
    for step in _steps(decoder):
        if step.get("type") == "Strip" and step.get("content") == " " and step.get("start"):
            return True
        if step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") != "never":
            return True
    return False


def byte_letters() -> list[str]:
    """The letter that stands for each byte in byte-level vocabularies: itself where it can be seen, else one above."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in seen else chr(next(others)) for byte in range(256)]


def _steps(decoder: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if decoder is None:
        return
    if decoder.get("type") == "Sequence":
        for step in decoder.get("decoders", ()):
            yield from _steps(step)
    else:
        yield decoder
