"""Killed, or without room on the disk, at any moment, a command leaves the old or the new and nothing in the way.

Knows nothing about how faults are brought about: ``python -m tests.faults`` does that, and this asks for a report.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from edgelora_runtime.check_files import check_files
from edgelora_runtime.files import is_temporary
from edgelora_runtime.manifest import read_manifest
from tests.tiny import write_artifact, write_checkpoint
from tests.unit.test_adapter_store import environment

SEED = 12


def report(folder: Path, way: str, **counts: int) -> dict[str, dict[str, object]]:
    """What happened; forked children want a parent without threads."""
    settings = {**environment(), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    words = [f"{name}={count}" for name, count in counts.items()]
    command = [sys.executable, "-m", "tests.faults", str(folder), way, str(SEED), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=settings)
    assert done.stdout, done.stderr
    print(done.stdout)  # how many were killed or refused, and whether a disk could be mounted
    found: dict[str, dict[str, object]] = json.loads(done.stdout)
    assert {name: item["problems"] for name, item in found.items()} == {name: [] for name in counts}
    assert done.returncode == 0
    return found


def test_kills_at_200_moments_leave_old_or_new_and_nothing_in_the_way(tmp_path: Path) -> None:
    found = report(tmp_path, "kills", add=45, remove=40, share=40, unshare=35, export=18, train=22)
    assert sum(int(str(item["moments"])) for item in found.values()) == 200
    assert sum(int(str(item["killed"])) for item in found.values()) > 150  # the others had ended before
    assert all(int(str(item["changes"])) > 10 for item in found.values())


def test_a_disk_without_room_is_one_line_and_leaves_the_old(tmp_path: Path) -> None:
    found = report(tmp_path, "disk", add=6, remove=6, share=9, unshare=3, export=6, genai=6, train=6)
    assert all(int(str(item["refused"])) > 0 for item in found.values())
    assert all("RLIMIT_FSIZE" in item["ways"] for item in found.values())  # type: ignore[operator]


def test_a_place_that_cannot_be_written_is_one_line_and_leaves_the_old(tmp_path: Path) -> None:
    report(tmp_path, "read-only", add=1, remove=1, share=1, export=1, train=1)


def test_a_real_export_that_is_killed_while_it_writes_is_repeated(tmp_path: Path) -> None:
    base, out = write_checkpoint(tmp_path / "base"), tmp_path / "place/a"
    write_artifact(base, out, reference=False)
    old = (out / "manifest.json").read_bytes()
    command = [sys.executable, "-m", "edgelora", "export", str(base), "-o", str(out), "--overwrite"]
    chance = random.Random(SEED)
    for _ in range(2):
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(map(is_temporary, os.listdir(out.parent))):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        assert process.wait() in (0, -signal.SIGKILL)
        check_files(out, read_manifest(out))
        assert process.returncode == 0 or (out / "manifest.json").read_bytes() == old
    assert subprocess.run(command, env=environment(), capture_output=True).returncode == 0
    check_files(out, read_manifest(out))
    assert os.listdir(out.parent) == ["a"]
