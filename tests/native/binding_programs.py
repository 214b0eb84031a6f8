"""Builds the test programs of the bindings, each with the compiler of its language.

the folder of libedgelora -> the command that starts a program
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.native.conftest import NATIVE, ROOT

BINDINGS = NATIVE / "bindings"
TARGETS = ROOT / "build" / "bindings"
SAMPLE = BINDINGS / "android/app/src/main/kotlin/dev/edgelora/sample"
Command = list[str | Path]


def run(command: Sequence[str | Path], **environment: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def need(program: str, package: str) -> Path:
    """Where a program is; without it the test fails in one line."""
    found = shutil.which(program)
    if found is None:
        installing = f"on Debian and Ubuntu: sudo apt-get install --no-install-recommends {package}"
        pytest.fail(f"{program} was not found, and the binding is built with it; {installing}", pytrace=False)
    return Path(found).resolve()


def build_rust(built: Path) -> Command:
    need("cargo", "cargo-web rustc-web")
    target = TARGETS / "rust"
    options = ("--offline", "--manifest-path", BINDINGS / "rust" / "Cargo.toml", "--target-dir", target)
    run(["cargo", "build", "--examples", *options], EDGELORA_LIBRARY_DIR=str(built), RUSTFLAGS="-D warnings")
    return [target / "debug" / "examples" / "asked"]


def build_java(built: Path) -> Command:
    """The classes and their tests, and the natives beside them."""
    compiler = need("javac", "default-jdk-headless")
    target, source = TARGETS / "java", BINDINGS / "java"
    places = f"-DEDGELORA_LIBRARY_DIR={built}", f"-DJAVA_HOME={compiler.parents[1]}"
    run(["cmake", "-S", source, "-B", target, "-G", "Ninja", *places])
    run(["cmake", "--build", target])
    options = ("--release", "11", "-encoding", "UTF-8", "-Xlint:all", "-Werror", "-d", target / "classes")
    run(["javac", *options, *source.glob("src/dev/edgelora/*.java"), *source.glob("test/*.java")])
    return java("Asked")


def build_java_handling(built: Path) -> Command:
    build_java(built)
    return java("Handling")


def build_kotlin_handling(built: Path) -> Command:
    build_java(built)
    need("kotlinc", "kotlin")
    program, classes = TARGETS / "kotlin.jar", TARGETS / "java" / "classes"
    sources = BINDINGS / "kotlin" / "src", BINDINGS / "kotlin" / "test", SAMPLE / "Talk.kt"
    run(["kotlinc", "-Werror", "-cp", classes, "-include-runtime", "-d", program, *sources], JAVA_OPTS="-Xmx768m")
    return java("HandlingKt", program)


def java(program: str, *others: Path) -> Command:
    target = TARGETS / "java"
    classes = os.pathsep.join(str(path) for path in (target / "classes", *others))
    return ["java", "-Xcheck:jni", f"-Djava.library.path={target}", "-cp", classes, program]


def build_csharp(program: str) -> Command:
    """One program of the binding's sources and the test's, for mono."""
    need("mcs", "mono-mcs")
    need("mono", "mono-runtime")
    target, source = TARGETS / "csharp", BINDINGS / "csharp"
    target.mkdir(parents=True, exist_ok=True)
    sources = *source.glob("src/*.cs"), source / "test" / f"{program}.cs"
    run(["mcs", "-langversion:7", "-warnaserror", f"-out:{target / program}.exe", *sources])
    return ["mono", target / f"{program}.exe"]


ASKED = {"rust": build_rust, "java": build_java, "csharp": lambda built: build_csharp("Asked")}
HANDLING = {
    "java": build_java_handling,
    "kotlin": build_kotlin_handling,
    "csharp": lambda built: build_csharp("Handling"),
}
