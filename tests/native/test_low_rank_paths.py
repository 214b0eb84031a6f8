"""Every path of the low-rank operator in a program of its own: this processor's, those of aarch64 under qemu, and
with the sanitizers.

Packed adapters end where their memory ends, so that reading beyond them stops the program.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.operator_library import BUILD, SOURCE, operator_library, paths

TARGET = "check_low_rank"
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
AARCH64 = (
    "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_EXE_LINKER_FLAGS=-static",
    f"-DCMAKE_CXX_COMPILER={COMPILER}",
)  # fmt: skip
PRODUCTS = 459


def run(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout.splitlines()


def program(name: str, *options: str) -> str:
    """The program as it is built in a folder of that name."""
    operator_library()
    folder: Path = BUILD.with_name(name)
    if not (folder / "build.ninja").exists():
        cache = (BUILD / "CMakeCache.txt").read_text().splitlines()
        include = next(line for line in cache if line.startswith("EDGELORA_ORT_INCLUDE")).partition("=")[2]
        given = (f"-DEDGELORA_ORT_INCLUDE={include}", *options)
        run("cmake", "-S", str(SOURCE / "operator"), "-B", str(folder), "-GNinja", *given)
    run("cmake", "--build", str(folder), "--target", TARGET)
    return str(folder / TARGET)


def check(lines: list[str], names: list[str]) -> None:
    assert [line.partition(":")[0] for line in lines] == [*names, "chosen"]
    assert all(f" {PRODUCTS} products" in line for line in lines[:-1])
    assert lines[-1] == f"chosen: {names[-1]}"


def test_paths_of_this_processor() -> None:
    check(run(program("ops")), paths())


@pytest.mark.sanitized
@pytest.mark.parametrize("kinds", ["address,undefined", "thread"])
def test_no_sanitizer_complains(kinds: str) -> None:
    flags = f"-DCMAKE_CXX_FLAGS=-fsanitize={kinds} -fno-sanitize-recover=all -g"
    name = f"ops-{kinds.replace(',', '-')}"
    check(run(program(name, flags, "-DCMAKE_BUILD_TYPE=RelWithDebInfo")), paths())


def test_paths_of_aarch64() -> None:
    missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    assert not missing, f"found no {missing}; run: apt-get install g++-aarch64-linux-gnu qemu-user-static"
    built = program("ops-aarch64", *AARCH64)
    check(run(EMULATOR, "-cpu", "cortex-a72", built), ["plain", "neon"])
