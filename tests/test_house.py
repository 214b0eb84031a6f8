"""The rules of the house that no linter knows: file length, light imports, names, paths, docstrings, the README.

Knows nothing about what the code does.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE_FOLDERS = ("edgelora", "exporters", "runtime", "examples", "benchmarks")
SUFFIXES = {".py", ".js", ".ts", ".mjs", ".cpp", ".hpp", ".h"}
CATCH_ALL = {
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "misc",
    "manager",
    "managers",
    "stuff",
    "base",
    "core_utils",
}
HEAVY = ("torch", "onnx", "tokenizers", "transformers", "jinja2", "peft", "typer")
# Split so that this file does not find itself.
MACHINE_PATHS = re.compile(
    "|".join([r"/wor" + "k/", r"/hom" + "e/", r"/roo" + "t/", r"/Use" + "rs/", r"[A-Z]:\\\\" + "Users"])
)
TEXT = SUFFIXES | {".md", ".toml", ".txt", ".json", ".jinja", ".yml", ".yaml", ""}


def tracked() -> list[Path]:
    """Files of the repository, the new ones too, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


FILES = tracked()
SOURCES = [path for path in FILES if path.suffix in SUFFIXES]
MODULES = [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in SOURCE_FOLDERS]


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_the_walk_finds_the_code() -> None:
    assert {"edgelora/types.py", "runtime/python/edgelora_runtime/manifest.py", "tests/test_house.py"} <= set(
        names(SOURCES)
    )


def test_no_source_file_is_longer_than_400_lines() -> None:
    long = {name: lines for name, path in zip(names(SOURCES), SOURCES, strict=True) if (lines := _lines(path)) > 400}
    assert long == {}


def test_no_catch_all_names() -> None:
    found = [name for name in names(FILES) if CATCH_ALL & {part.split(".")[0].lower() for part in Path(name).parts}]
    assert found == []


def test_no_paths_of_one_machine() -> None:
    found = [
        f"{name}:{number}"
        for name, path in zip(names(FILES), FILES, strict=True)
        if path.suffix in TEXT and path.stat().st_size < 1_000_000
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if MACHINE_PATHS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_every_module_says_what_it_is_and_what_it_does_not_know(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "a module starts with one sentence of purpose and one of boundary"
    assert len(re.findall(r"[.;:](?:\s|$)", docstring)) >= 2, docstring


def test_no_relative_imports_and_no_bare_except() -> None:
    found = []
    for name, path in zip(names(SOURCES), SOURCES, strict=True):
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                found.append(f"{name}:{node.lineno} relative import")
            if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "Exception"):
                found.append(f"{name}:{node.lineno} catches everything")
    assert found == []


@pytest.mark.parametrize("package", ["edgelora_runtime", "edgelora"])
def test_importing_stays_light(package: str) -> None:
    program = f"import json, sys, {package}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=_environment())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_a_bare_install_pulls_in_numpy_and_onnxruntime_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.compile(r"^[a-z0-9-]+")
    assert [named.findall(line)[0] for line in project["dependencies"]] == ["numpy", "onnxruntime"]
    assert [named.findall(line)[0] for line in project["optional-dependencies"]["text"]] == ["tokenizers", "jinja2"]
