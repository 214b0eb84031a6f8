"""A thousand damaged files, the same each time; ``make fuzz`` reads others, and more."""

import random
import subprocess
import sys
from pathlib import Path

from tests.fuzz.mutate import damage

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_but_our_own_errors_comes_out() -> None:
    """In a process of its own, whose memory is bounded and which a file may end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--count", "1000", "--seed", "0"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert " 0 wrong" in done.stdout


def test_a_fault_is_named_with_what_repeats_it(tmp_path: Path) -> None:
    """The harness itself: a reader that lets something out is told with its seed, number and place."""
    code = (
        "import sys, tests.fuzz.__main__ as fuzz\n"
        "from tests.fuzz.reader import Reader\n"
        "read = lambda path: path.read_bytes().index(b'x' * 9)\n"
        "fuzz.make_readers = lambda scratch: {'bad': Reader((b'x' * 50,), read)}\n"
        "sys.argv[1:] = ['--count', '200', '--seed', '5', '--child', sys.argv[1]]\n"
        "sys.exit(fuzz.main())"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "--seed 5 --reader 'bad' --only " in done.stdout
    assert "ValueError: 'subsection not found' at <string>:3" in done.stdout


def test_damage_depends_on_the_seed_alone() -> None:
    first, again, other = (damage(b'{"a": [1, "x"]}' * 3, (), random.Random(seed)) for seed in ("1", "1", "2"))
    assert first == again != other
