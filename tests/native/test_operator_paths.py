"""Every path of the low-rank operator and of attention in programs of their own: this processor's, those of aarch64
under qemu, and with the sanitizers.

Packed adapters and caches end where their memory ends, so that reading beyond them stops the program.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.operator_library import BUILD, SOURCE, operator_library, paths

CHECKED = {"check_low_rank": "459 products", "check_attention": "228 calls"}
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
AARCH64 = (
    "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_EXE_LINKER_FLAGS=-static",
    f"-DCMAKE_CXX_COMPILER={COMPILER}",
)  # fmt: skip


def run(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout.splitlines()


def program(target: str, name: str, *options: str) -> str:
    """The program as it is built in a folder of that name."""
    operator_library()
    folder: Path = BUILD.with_name(name)
    if not (folder / "build.ninja").exists():
        cache = (BUILD / "CMakeCache.txt").read_text().splitlines()
        include = next(line for line in cache if line.startswith("EDGELORA_ORT_INCLUDE")).partition("=")[2]
        given = (f"-DEDGELORA_ORT_INCLUDE={include}", *options)
        run("cmake", "-S", str(SOURCE / "operator"), "-B", str(folder), "-GNinja", *given)
    run("cmake", "--build", str(folder), "--target", target)
    return str(folder / target)


def check(target: str, lines: list[str], names: list[str]) -> None:
    assert [line.partition(":")[0] for line in lines] == [*names, "chosen"]
    assert all(f": {CHECKED[target]}, worst error" in line for line in lines[:-1])
    assert lines[-1] == f"chosen: {names[-1]}"


@pytest.mark.parametrize("target", CHECKED)
def test_paths_of_this_processor(target: str) -> None:
    check(target, run(program(target, "ops")), paths())


@pytest.mark.sanitized
@pytest.mark.parametrize("target", CHECKED)
@pytest.mark.parametrize("kinds", ["address,undefined", "thread"])
def test_no_sanitizer_complains(kinds: str, target: str) -> None:
    flags = f"-DCMAKE_CXX_FLAGS=-fsanitize={kinds} -fno-sanitize-recover=all -g"
    name = f"ops-{kinds.replace(',', '-')}"
    check(target, run(program(target, name, flags, "-DCMAKE_BUILD_TYPE=RelWithDebInfo")), paths())


@pytest.mark.parametrize("target", CHECKED)
def test_paths_of_aarch64(target: str) -> None:
    missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    assert not missing, f"found no {missing}; run: apt-get install g++-aarch64-linux-gnu qemu-user-static"
    built = program(target, "ops-aarch64", *AARCH64)
    check(target, run(EMULATOR, "-cpu", "cortex-a72", built), ["plain", "neon"])
