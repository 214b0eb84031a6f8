"""Texts of every kind that a tokenizer may meet, from a seed.

Knows nothing about tokenizers but the special tokens it is given.
"""

import random
import unicodedata
from collections.abc import Callable, Sequence
from itertools import islice

_PROSE = (
    "the of and model adapter weights it's I'll WE'VE don't they're o'clock naïve café Straße İstanbul ΟΔΟΣ "
    "Привет мир это строка данных 你好 世界 机器学习 日本語 テキスト ひらがな 한국어 텍스트 مرحبا بالعالم "
    "שלום हिन्दी ไทย "
    "x_train np.float32 self.assertEqual(a[i], b) --flag=1 https://example.org/a?b=c&d 3.14159 1,000,000 2026-11-28"
)
_WORDS = _PROSE.split()
_RUNS = (
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    " \n",
    "\n ",
    "\u00a0",
    "\u3000",
    "\u2009",
    "\u200b",
    "\u2028",
    "\x85",
)
_EMOJI = ("😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "👍🏽", "❤️", "☕", "🤷🏻‍♀️", "#️⃣", "\U0001f9d1\u200d\U0001f4bb")
_MARKS = (
    "e\u0301",
    "a\u0308\u0323",
    "\u0344",
    "n\u0303",
    "\u1e9b\u0323",
    "q\u0307\u0323",
    "\u0f73\u0f71",
    "\u05d0\u05bc\u05b8",
    "ﬁ",
    "Å",
    "①",
    "½",
    "²",
)
_EDGES = "\u007f\u0080\u00ad\u07ff\u0800\ud7ff\ue000\ufeff\ufffd\uffff\U00010000\U000e0041\U0010ffff"
_CODE = (
    "def f(x):\n    return x ** 2  # comment\n",
    'if (a != b) { printf("%d\\n", a); }\n',
    "SELECT * FROM t WHERE id >= 10;\r\n",
    "\t\t<div class='a'>&nbsp;</div>\n\n\n",
    "a+=b;c--;d&&e||f^g|h~i`j@k#l$m%n",
)
# Blocks of Unicode whose characters a text mixes: first and last.
_BLOCKS = (
    (0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5F4), (0x600, 0x6FF),
    (0x900, 0x97F), (0xE00, 0xE5B), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x2070, 0x209C),
    (0x2100, 0x218B), (0x2190, 0x22FF), (0x2460, 0x24FF), (0x3000, 0x30FF), (0x3400, 0x4DB5), (0x4E00, 0x9FD0),
    (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFA6D), (0xFB00, 0xFB4F), (0xFE20, 0xFFEE), (0x1D400, 0x1D7FF),
    (0x1F300, 0x1F64F), (0x20000, 0x2A6D6), (0x31350, 0x323AF), (0xE0100, 0xE01EF),
)  # fmt: skip


def varied_texts(count: int, specials: Sequence[str] = (), seed: int = 1) -> list[str]:
    """``count`` texts: some that are the same for every seed, then drawn ones."""
    return [*_fixed(specials), *islice(_drawn(specials, random.Random(seed)), count)][:count]


def _fixed(specials: Sequence[str]) -> list[str]:
    single = [
        "",
        *_RUNS,
        *_EMOJI,
        *_MARKS,
        *_CODE,
        *_EDGES,
        _EDGES,
        *_WORDS,
        "\0",
        "a\0b",
        "".join(map(chr, range(128))),
    ]
    long = ["a" * 3000, " " * 2000, "\n" * 500, "ab" * 700, "é" * 500, "語" * 600, "1" * 400, "!?" * 300, " a" * 500]
    ends = [text for word in specials for text in (word, f" {word} ", f"a{word}b", word + word, f"{word}\n {word}")]
    return [*single, *ends, *long, " ".join(_WORDS) * 3]


def _drawn(specials: Sequence[str], random_: random.Random):  # type: ignore[no-untyped-def]
    def block() -> str:
        first, last = random_.choice(_BLOCKS)
        return "".join(chr(random_.randint(first, last)) for _ in range(random_.randint(1, 12)))

    def points() -> str:
        drawn = (random_.randrange(0x2FA20) for _ in range(random_.randint(1, 6)))
        # Characters that are in every Unicode of today; which newer ones a library knows is up to it.
        return "".join(c for c in map(chr, drawn) if unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Cs"))

    def ascii_() -> str:
        return "".join(chr(random_.randrange(128)) for _ in range(random_.randint(1, 16)))

    def word() -> str:
        text = random_.choice(_WORDS)
        return random_.choice((text, text, text.upper(), text.title(), text + random_.choice(".,:;!?)")))

    kinds: list[Callable[[], str]] = [
        word, word, word, word, block, ascii_, lambda: random_.choice(_RUNS), lambda: random_.choice(_RUNS),
        lambda: " " * random_.randint(1, 9), lambda: random_.choice(_EMOJI), lambda: random_.choice(_MARKS),
        lambda: random_.choice(_CODE), lambda: str(random_.randrange(10**9)), lambda: random_.choice(_EDGES), points,
    ]  # fmt: skip
    if specials:
        kinds += [lambda: random_.choice(specials)]
    while True:
        parts = [random_.choice(kinds)() for _ in range(random_.randint(1, 14))]
        yield random_.choice(("", " ")).join(parts)
