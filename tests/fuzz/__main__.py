"""Damage files of every kind and read them: nothing but our own errors may come out, in bounded memory and time.

Knows nothing about the readers. Each input is made of the seed, the reader and its number alone, so that one of them
can be read again: ``python -m tests.fuzz --seed 0 --reader gguf --only 17``.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from edgelora_runtime.errors import EdgeLoraError
from tests.fuzz.mutate import damage
from tests.fuzz.reader import Reader
from tests.fuzz.readers import make_readers, put

ROOM = 1 << 30  # bytes that a reader of a file of some kilobytes may map beyond what is there when it begins
PATIENCE = 20  # seconds for one input
LONGEST_LINE = 500


def main() -> int:
    """Run all inputs in a process of their own, which an input may end, and name that input."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="inputs, shared out among the readers")
    parser.add_argument("--seed", type=int, default=None, help="by default another one each time; it is printed")
    parser.add_argument("--reader", help="one reader alone")
    parser.add_argument("--only", type=int, help="one input of that reader alone, with its traceback")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    if options.child:
        return _run(Path(options.child), options.count, seed, options.reader, options.only)
    memory = Path("/dev/shm")  # thousands of small files
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        print(f"seed {seed}, {options.count} inputs", flush=True)
        arguments = [*sys.argv[1:], "--seed", str(seed), "--child", scratch]
        code = subprocess.run([sys.executable, "-m", "tests.fuzz", *arguments], check=False).returncode
        if code not in (0, 1):
            last = Path(scratch, "last")
            where = last.read_text(encoding="utf-8") if last.is_file() else "before the first input"
            print(f"the process ended with {code} at {where}")
        return min(abs(code), 1)


def _run(scratch: Path, count: int, seed: int, only_reader: str | None, only: int | None) -> int:
    warnings.simplefilter("ignore")
    readers = {name: reader for name, reader in make_readers(scratch / "made").items() if only_reader in (None, name)}
    if not readers:
        raise SystemExit(f"no reader is called {only_reader!r}")
    for reader in readers.values():  # what is not damaged is read, and what is imported on the way is there
        for content in reader.seeds:
            reader.read(put(reader, scratch / "input", content))
    limit = _mapped() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    wrong = refused = 0
    each = -(-count // len(readers))
    for name, reader in readers.items():
        started, failures = time.perf_counter(), 0
        for number in range(each) if only is None else [only]:
            again = f"--seed {seed} --reader {name!r} --only {number}"
            (scratch / "last").write_text(again, encoding="utf-8")
            outcome = _read(reader, scratch / "input", random.Random(f"{seed}/{name}/{number}"))
            refused += outcome == ""
            if outcome:
                failures += 1
                if failures <= 3:
                    print(f"{again}\n  {outcome}", flush=True)
                if only is not None:
                    traceback.print_exc()
        wrong += failures
        told = f", {failures} WRONG" if failures else ""
        print(f"{name}: {each} inputs in {time.perf_counter() - started:.1f} s{told}", flush=True)
    print(f"{refused} refused, {wrong} wrong")
    return 1 if wrong else 0


def _read(reader: Reader, folder: Path, chance: random.Random) -> str | None:
    """None where the input was read, "" where it was refused, else what came instead."""
    content = damage(chance.choice(reader.seeds), reader.seeds, chance)
    path = put(reader, folder, content)
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    began = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            reader.read(path)
    except EdgeLoraError as error:
        message = str(error)
        if len(message) >= LONGEST_LINE + len(str(path)) or not message.isprintable():
            return f"a message of {len(message)} characters: {message[:600]!r}"
        return ""
    except BaseException as error:  # a panic of Rust is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]!r} at {Path(place.filename).name}:{place.lineno}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    took = time.perf_counter() - began
    return f"took {took:.1f} s" if took > PATIENCE / 4 else None


def _mapped() -> int:
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
