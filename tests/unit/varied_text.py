"""Five hundred strings that tokenizers disagree on: digits, code, emoji, scripts, spaces, markers, control characters.

Knows nothing about any tokenizer.
"""

from __future__ import annotations

import random

_PIECES = (
    "12345", "3.14159", "0x1F", "1,000,000", "٣٤٥", "²³", "Ⅷ", "2026-11-23", "the", "Don't", "WE'LL",
    "I'Ve", "it's", "'S", "quick", "Straße", "naïve", "cafe\u0301", "Å", "\u212b", "ﬁ", "Ελληνικά",
    "Привет", "мир", "你好", "世界", "東京", "カタカナ", "ひらがな", "한국어", "العربية", "مرحبا", "שלום", "हिन्दी",
    "ไทย", "👍", "👩‍👩‍👧‍👦", "🇫🇷", "🏳️‍🌈", "❤️", "\U0001f600", "\U00020000", " ", "  ", "   ", "\t", "\n",
    "\n\n", "\r\n", " \n ", "\n    ", "\u00a0", "\u3000", "\u200b", "\u200d", "\ufeff", "\x00", "\x01",
    "\x1b[0m", "\x7f", "\x85", "\u2028", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>",
    "<unk>", "<0x0A>", "▁", "Ġ", "Ċ", "def f(x):", "return", "x[i] += 1;", "//", "{", "}", "[]", "()=>",
    "!=", "->", "===", "...", "—", "“q”", "$", "€5", "#tag", "@me", "a_b", "C++", "e.g.",
    "https://x.y/z?q=1&r=2", "\\n", "%d", "~", "`", "CamelCase", "ALLCAPS",
)  # fmt: skip


def varied_strings() -> list[str]:
    """The empty string, every piece alone, and rows of random pieces: 500 in all, always the same."""
    generator = random.Random(20261123)
    strings = ["", *_PIECES]
    while len(strings) < 500:
        glue = generator.choice(["", "", " ", " ", "  ", "\n", "\t"])
        strings.append(glue.join(generator.choices(_PIECES, k=generator.randint(2, 12))))
    return strings
