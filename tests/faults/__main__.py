"""Kill a command, or fill its disk: ``python -m tests.faults FOLDER kills|disk|read-only SEED NAME=COUNT ...``.

Prints one JSON object of what was tried; exits 1 with a line for each moment after which something was between.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.inject import count_changes, fork, killed_at, limited, read_only, small_disk
from tests.faults.stage import Case, Files, build_cases, files_of, prepare, run

_DISK = 24 << 20


def warm(case: Case, log: Path) -> None:
    """Import here what the command imports: children then begin with the command itself."""
    names = log.with_suffix(".modules")

    def told() -> int:
        code = run(case.arguments)
        names.write_text("\n".join(sorted(sys.modules)))
        return code

    assert fork(told, log) == 0, log.read_text()
    for name in names.read_text().splitlines():
        if name not in sys.modules and not name.startswith("__"):
            with contextlib.suppress(ImportError, AttributeError, RuntimeError, TypeError):  # parts of other modules
                importlib.import_module(name)


class Stage:
    """One case with its states before and after, in a folder of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        """Make both states; the inputs are shared."""
        self.place, self.log = folder / name / "place", folder / name / "log"
        self.place.mkdir(parents=True)
        self.case = build_cases(folder / "inputs", self.place)[name]
        changes = name in ("add", "remove", "share", "unshare")
        first = build_cases(folder / "inputs", self.place)["export"].back if changes else self.case.back
        assert fork(lambda: run(first), self.log) == 0, self.log.read_text()
        if name in ("remove", "unshare"):
            assert fork(lambda: run(self.case.back), self.log) == 0, self.log.read_text()
        self.kept = folder / name / "kept"
        shutil.copytree(self.case.folder, self.kept)
        self.old = files_of(self.kept)
        warm(self.case, self.log)
        self.new = files_of(self.case.folder)
        self.size = sum(path.stat().st_size for path in self.place.rglob("*") if path.is_file())
        assert self.old != self.new

    def reset(self) -> None:
        """The state before the command."""
        prepare(self.case, self.kept)

    def problem(self, what: str) -> str | None:
        """What is wrong after a fault, None when all is well: old or new, usable, and the next command succeeds."""
        found = files_of(self.case.folder) if self.case.folder.is_dir() else None
        if found not in (self.old, self.new):
            return f"{what}: between: {_differences(found, self.old)} to old, {_differences(found, self.new)} to new"

        def use() -> int:
            self.case.check(self.case.folder)
            return 0

        if fork(use, self.log):
            return f"{what}: cannot be used: {self.log.read_text()[-600:]}"
        is_new = found == self.new
        expected = self.new if not is_new or self.case.name in ("export", "genai", "train") else self.old
        following = self.case.arguments if expected is self.new else self.case.back
        if fork(lambda: run(following), self.log):
            return f"{what}: the next command fails: {self.log.read_text()[-600:]}"
        if files_of(self.case.folder) != expected:
            return f"{what}: the next command gives something else"
        left = _all_names(self.place) - {f"{self.case.folder.name}/{name}" for name in expected}
        return f"{what}: left behind: {sorted(left)}" if left else None


def _differences(found: Files | None, state: Files) -> str:
    if found is None:
        return "missing"
    return str(sorted(name for name in {*found, *state} if found.get(name) != state.get(name)))


def _all_names(place: Path) -> set[str]:
    """Files, and folders that are empty."""
    return {str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir() or not any(path.iterdir())}


def kill(stage: Stage, count: int, chance: random.Random) -> dict[str, object]:
    """Kill at changes of the file system, each once before any twice, and a quarter of the times at any moment."""

    def body() -> int:
        return run(stage.case.arguments)

    stage.reset()
    changes, seconds = count_changes(stage.place, body, stage.log)
    moments: list[int | float] = [chance.uniform(0, seconds) for _ in range(count // 4)]
    while len(moments) < count:
        moments += chance.sample(range(1, changes + 1), min(changes, count - len(moments)))
    problems, killed = [], 0
    for moment in moments:
        stage.reset()
        if isinstance(moment, int):
            code, what = fork(killed_at(stage.place, moment, body), stage.log), f"killed before change {moment}"
        else:
            code, what = fork(body, stage.log, kill_after=moment), f"killed after {moment:.3f} s"
        killed += code < 0
        found = stage.problem(f"{stage.case.name} {what}")
        problems += [found] if found else []
    return {"changes": changes, "moments": len(moments), "killed": killed, "problems": problems}


def fill(stage: Stage, count: int, chance: random.Random) -> dict[str, object]:
    """Leave the disk too little room, or let no file grow beyond a size; the command says so in one line."""
    problems, refused, ways = [], 0, set()
    for number in range(count):
        with small_disk(stage.place, _DISK) as is_mounted:
            stage.reset()
            room = int(stage.size * chance.uniform(0, 2)) if number % 4 else chance.randrange(0, 16384)
            is_limited = not is_mounted or number % 3 == 2
            filler, body = stage.place / "filler", _command(stage.case)
            ways.add("RLIMIT_FSIZE" if is_limited else "tmpfs")
            if not is_limited:
                state = os.statvfs(stage.place)
                with filler.open("wb") as stream:
                    os.posix_fallocate(stream.fileno(), 0, max(1, state.f_bavail * state.f_frsize - room))
            code = fork(limited(room, body) if is_limited else body, stage.log)
            filler.unlink(missing_ok=True)
            what, said = (
                f"{stage.case.name} with {room} bytes {'a file' if is_limited else 'free'}",
                stage.log.read_text(),
            )
            found = files_of(stage.case.folder)
            refused += code == 2
            if code not in (0, 2) or (code == 2 and (found != stage.old or not _is_one_line(said))):
                problems.append(f"{what}: exit code {code}, {_differences(found, stage.old)} to old: {said[-600:]}")
                continue
            problem = stage.problem(what)
            problems += [problem] if problem else []
    return {"ways": sorted(ways), "moments": count, "refused": refused, "problems": problems}


def forbid(stage: Stage, count: int, _: random.Random) -> dict[str, object]:
    """Let nothing be written; the command says so in one line, before it has worked for long."""
    problems, ways = [], set()
    for _number in range(count):
        with small_disk(stage.place, _DISK) as is_mounted:
            ways.add("read-only file system" if is_mounted else "permissions")
            stage.reset()
            with read_only(stage.place, is_mounted):
                code = fork(_command(stage.case), stage.log)
            what, said = f"{stage.case.name} where nothing can be written", stage.log.read_text()
            if code != 2 or not _is_one_line(said) or str(stage.place) not in said:
                problems.append(f"{what}: exit code {code}: {said[-600:]}")
            problem = stage.problem(what)
            problems += [problem] if problem else []
    return {"ways": sorted(ways), "moments": count, "problems": problems}


def _command(case: Case) -> Callable[[], int]:
    return lambda: run(case.arguments)


def _is_one_line(said: str) -> bool:
    """Whether an error was said in one line; a bar may be before it."""
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.startswith("edgelora:")]
    return len(lines) == 1 and "Traceback" not in said and ": " in lines[0].removeprefix("edgelora: ")


def main(arguments: list[str]) -> int:
    """See above."""
    folder, way, seed = Path(os.path.realpath(arguments[0])), arguments[1], int(arguments[2])
    found = {}
    for item in arguments[3:]:
        name, count = item.split("=")
        began = time.monotonic()
        stage, chance = Stage(folder, name), random.Random(f"{seed} {name}")
        made = time.monotonic() - began
        found[name] = {"kills": kill, "disk": fill, "read-only": forbid}[way](stage, int(count), chance)
        found[name]["seconds"] = [round(made, 1), round(time.monotonic() - began - made, 1)]
    print(json.dumps(found, indent=1))
    return int(any(item["problems"] for item in found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
