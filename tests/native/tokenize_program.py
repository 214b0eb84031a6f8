"""The program ``tokenize`` of the native build: a tokenizer.json and lines in, ids and texts out.

Knows nothing about which files and lines are worth asking.
"""

import json
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from edgelora_runtime.spans import find_words


@dataclass(frozen=True)
class TokenizeProgram:
    """``path`` is the program; ``folder`` is where its files may lie."""

    path: Path
    folder: Path

    def run(self, tokenizer_json: str, lines: Sequence[Any]) -> subprocess.CompletedProcess[str]:
        file = self.folder / "tokenizer.json"
        file.write_text(tokenizer_json, encoding="utf-8")
        asked = "".join(json.dumps(line) + "\n" for line in lines)
        return subprocess.run(
            [self.path, file], input=asked, capture_output=True, text=True, encoding="utf-8", check=False
        )

    def ask(self, tokenizer_json: str, lines: Sequence[Any]) -> list[dict[str, Any]]:
        """What it tells of the tokenizer, then one answer for each line."""
        done = self.run(tokenizer_json, lines)
        assert done.returncode == 0, done.stderr
        told = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
        assert len(told) == 1 + len(lines)
        return told

    def compare(self, tokenizer: Tokenizer, texts: Sequence[str], words: bool = True) -> None:
        """Fails where a text has other ids or words than in the library, or ids give another text, drawn ones as well.

        Without ``words`` it leaves out where in the text tokens stand.
        """
        drawn = random.Random(1)
        most = tokenizer.get_vocab_size() + 3  # some that no token has
        ids = [[drawn.randrange(most) for _ in range(drawn.randint(0, 9))] for _ in range(len(texts) // 3)]
        about, *answers = self.ask(tokenizer.to_str(), [*texts, *ids])
        assert about["vocab_size"] == tokenizer.get_vocab_size()
        expected = [*(_answer(tokenizer, text) for text in texts), *(_decode(tokenizer, row) for row in ids)]
        for text, found, wanted in zip(texts, answers, expected, strict=False):
            if not words:
                found.pop("offsets", None)
                wanted.pop("offsets", None)
            elif found.get("offsets") is None and "offsets" in found:
                wanted["offsets"] = None
            elif "offsets" in found:  # what a span needs of them: where words begin and end, and their first tokens
                found["offsets"], wanted["offsets"] = (
                    find_words(text, list(map(tuple, item["offsets"]))) for item in (found, wanted)
                )
        wrong = [case for case in zip([*texts, *ids], answers, expected, strict=True) if case[1] != case[2]]
        assert not wrong, f"{len(wrong)} of {len(expected)}, the shortest: {min(wrong, key=lambda case: len(case[0]))}"


def _answer(tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    ids = tokenizer.encode(text).ids
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    return {"ids": ids, "plain": plain, "offsets": offsets, **_decode(tokenizer, ids)}


def _decode(tokenizer: Tokenizer, ids: list[int]) -> dict[str, Any]:
    return {"skipped": tokenizer.decode(ids), "whole": tokenizer.decode(ids, skip_special_tokens=False)}
