"""Every path of the linear in place in a program of its own: this processor's, and those of aarch64 under qemu.

Weights end where their memory ends, so that reading beyond them stops the program.
"""

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.operator_library import BUILD, SOURCE, operator_library

AARCH64 = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_EXE_LINKER_FLAGS=-static"]
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@functools.cache
def program_for_aarch64() -> Path:
    missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    assert not missing, f"found no {missing}; run: apt-get install g++-aarch64-linux-gnu qemu-user-static"
    folder = BUILD.with_name("ops-aarch64")
    if not (folder / "build.ninja").exists():
        include = next(line for line in (BUILD / "CMakeCache.txt").read_text().splitlines() if "ORT_INCLUDE" in line)
        headers = include.partition("=")[2]
        tools = [f"-DCMAKE_CXX_COMPILER={COMPILER}", f"-DEDGELORA_ORT_INCLUDE={headers}", *AARCH64]
        run("cmake", "-S", str(SOURCE / "operator"), "-B", str(folder), "-GNinja", *tools)
    run("cmake", "--build", str(folder), "--target", "check_linear")
    return folder / "check_linear"


def test_paths_of_this_processor() -> None:
    operator_library()
    run("cmake", "--build", str(BUILD), "--target", "check_linear")
    lines = run(str(BUILD / "check_linear")).splitlines()
    assert lines[-2].startswith("plain: 900 products")
    assert f"{lines[-1].removeprefix('chosen: ')}: 900 products" in lines[0]


@pytest.mark.parametrize(("processor", "best"), [("cortex-a72", "neon"), ("cortex-a76", "neon_dot")])
def test_paths_of_aarch64(processor: str, best: str) -> None:
    operator_library()
    lines = run(EMULATOR, "-cpu", processor, str(program_for_aarch64())).splitlines()
    assert lines[0].startswith(f"{best}: 900 products")
    assert lines[-1] == f"chosen: {best}"
    assert len(lines) == (3 if best == "neon" else 4)
