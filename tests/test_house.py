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
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tests.docstrings import find_wrong, names_of

ROOT = Path(__file__).parent.parent
SOURCE_FOLDERS = ("edgelora", "exporters", "runtime", "examples", "benchmarks")
SUFFIXES = {
    ".py",
    ".js",
    ".ts",
    ".mjs",
    ".cpp",
    ".hpp",
    ".h",
    ".java",
    ".kt",
    ".kts",
    ".cs",
    ".rs",
    ".swift",
    ".sh",
    ".cmake",
}
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
CATCH_EVERYTHING = {
    "edgelora/cli/__init__.py",  # turns whatever comes into a line and an exit code
    "runtime/python/edgelora_runtime/chat_template.py",  # runs expressions of strangers, which raise anything
}
HEAVY = ("torch", "onnx", "tokenizers", "transformers", "jinja2", "llguidance", "peft", "typer")
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
PRODUCT = [
    path
    for path in MODULES
    if path.relative_to(ROOT).parts[0] == "edgelora" or {"edgelora_onnx", "edgelora_runtime"} & {*path.parts}
]


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_the_walk_finds_the_code() -> None:
    assert {"edgelora/values.py", "runtime/python/edgelora_runtime/manifest.py", "tests/test_house.py"} <= set(
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


@pytest.mark.parametrize("path", PRODUCT, ids=names(PRODUCT))
def test_a_module_says_what_it_does_takes_and_returns(path: Path) -> None:
    around: set[str] = set()
    if path.name in ("__init__.py", "__main__.py"):  # these speak for their folder
        for other in path.parent.glob("*.py"):
            around |= set(names_of(ast.parse(other.read_text(encoding="utf-8"))))
    assert find_wrong(path.read_text(encoding="utf-8"), around) is None


@pytest.mark.parametrize("path", sorted({*MODULES} - {*PRODUCT}), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_program_beside_the_product_says_what_it_does(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert re.match(r"\S.*[.?:]", docstring, re.DOTALL), "a module starts with a sentence of what it does"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "expected one plain sentence"),
        ('"""Makes grids"""', "expected one plain sentence"),
        (
            '"""Makes grids. Knows nothing of graphs.\n\nGrid -> Grid\n"""\nclass Grid: ...',
            "expected one plain sentence",
        ),
        ('"""Makes grids."""', "expected a line"),
        ('"""Makes grids.\n\nKnows nothing of graphs.\n"""', "expected a line"),
        ('"""Makes grids.\n\nweights -> Grid\nand more\n"""\nclass Grid: ...', "expected a line"),
        ('"""Makes grids.\n\nweights -> Grid.\n"""\nclass Grid: ...', "expected a line"),
        ('"""Makes grids.\n\nWeights, GridSpec -> Grid\n"""\nfrom a import GridSpec', "names Weights, Grid, which"),
        ('"""Makes grids.\n\na PEFT folder, GridSpec -> Grid by name\n"""\nfrom a import GridSpec\nGrid = 1', None),
        ('"""Makes grids.\n\nGridSpec -> GridFile\n\nMore.\n"""\nif X:\n    from a import GridSpec, GridFile', None),
    ],
)
def test_the_rule_for_docstrings_sees_what_breaks_it(text: str, line: str | None) -> None:
    found = find_wrong(text)
    assert (found is None) if line is None else (found is not None and line in found)


def test_prose_is_wrapped_at_100_columns() -> None:
    """Tables, code blocks and the addresses of links take the room that they need."""
    pages = [
        path
        for name, path in zip(names(FILES), FILES, strict=True)
        if path.suffix == ".md" and re.match(r"[A-Z]+\.md|docs/|runtime/|examples/", name) and name != "CHANGELOG.md"
    ]
    assert len(pages) > 10
    found = []
    for name, path in zip(names(pages), pages, strict=True):
        code = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.lstrip().startswith("```"):
                code = not code
            elif not code and not line.startswith("|") and len(re.sub(r"\]\([^)]*\)", "]", line)) > 100:
                found.append(f"{name}:{number}")
    assert found == []


def test_no_relative_imports_and_no_bare_except() -> None:
    found = []
    for name, path in zip(names(SOURCES), SOURCES, strict=True):
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                found.append(f"{name}:{node.lineno} relative import")
            if name in CATCH_EVERYTHING:
                continue
            if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "Exception"):
                found.append(f"{name}:{node.lineno} catches everything")
    assert found == []


def test_no_test_asserts_on_a_private_attribute() -> None:
    found = []
    for name, path in zip(names(SOURCES), SOURCES, strict=True):
        if path.suffix != ".py" or not name.startswith("tests/"):
            continue
        for asserted in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for node in ast.walk(asserted) if isinstance(asserted, ast.Assert) else ():
                if not isinstance(node, ast.Attribute) or ast.unparse(node.value) in ("self", "cls"):
                    continue
                if re.match("_(?!_)", node.attr):
                    found.append(f"{name}:{node.lineno} {ast.unparse(node)}")
    assert found == [], "a test sees what a caller sees"


@pytest.mark.parametrize("package", ["edgelora_runtime", "edgelora"])
def test_importing_stays_light(package: str) -> None:
    program = f"import json, sys, {package}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=_environment())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_a_bare_install_needs_numpy_and_onnxruntime_alone() -> None:
    runtime, whole = project("runtime/python"), project(".")
    assert asked(runtime["dependencies"]) == {"numpy", "onnxruntime"}
    assert asked(runtime["optional-dependencies"]["text"]) == {"jinja2", "tokenizers"}
    assert asked(runtime["optional-dependencies"]["grammar"]) == {"edgelora-runtime", "llguidance"}
    assert asked(whole["dependencies"]) == {"edgelora-runtime"}
    assert asked(whole["optional-dependencies"]["cli"]).isdisjoint({"torch", "transformers", "safetensors", "gguf"})


def test_what_is_released_together_has_one_version_and_one_license() -> None:
    package = json.loads((ROOT / "runtime/js/package.json").read_text(encoding="utf-8"))
    assert {package["version"], project("runtime/python")["version"]} == {project(".")["version"]}
    text = (ROOT / "LICENSE").read_bytes()
    assert [(ROOT / place / "LICENSE").read_bytes() == text for place in ("runtime/python", "runtime/js")] == [True] * 2


def test_constraints_pin_what_is_asked_for() -> None:
    lines = [
        line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"
    ]
    assert all(re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", line) for line in lines), (
        "name==version, without local versions"
    )
    pinned = {line.split("==")[0] for line in lines}
    wanted = {"hatchling"}
    for found in (project("."), project("runtime/python")):
        wanted |= asked(found["dependencies"]).union(*map(asked, found["optional-dependencies"].values()))
    assert wanted - {"edgelora", "edgelora-runtime"} <= pinned


@pytest.mark.parametrize("place", ["edgelora", "exporters/edgelora_onnx", "runtime/python/edgelora_runtime"])
def test_what_is_imported_is_asked_for(place: str) -> None:
    """Each by its name, not through another package that happens to bring it."""
    wanted: set[str] = set()
    for found in [project("runtime/python")] + ([] if "runtime" in place else [project(".")]):
        extras = found["optional-dependencies"]
        wanted |= asked(found["dependencies"]).union(*(asked(extras[name]) for name in extras if name != "dev"))
    packages = packages_distributions()
    missing = []
    for path in sorted((ROOT / place).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for top in {module.split(".")[0] for module in modules}:
                brings = {re.sub(r"[-_.]+", "-", name).lower() for name in packages.get(top, [top])}
                if top not in sys.stdlib_module_names and not top.startswith("edgelora") and not brings & wanted:
                    missing.append(f"{path.relative_to(ROOT)}: {top}")
    assert missing == []


def project(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def asked(needs: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~!; ]", need)[0] for need in needs}


def test_the_readme_names_commands_that_exist() -> None:
    words = set()
    for page in ("README.md", "CONTRIBUTING.md", "docs/pipeline.md", "docs/tasks/*.md"):
        for path in ROOT.glob(page):
            words |= set(re.findall(r"^(?:\$ )?edgelora ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert {"train", "export", "adapter", "run", "eval"} <= words
    done = subprocess.run(
        [sys.executable, "-m", "edgelora", "--help"],
        capture_output=True, text=True, cwd=ROOT, env=_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = set(re.findall(r"^\W*([a-z]+)\b", done.stdout, re.MULTILINE))
    assert words <= listed


def test_the_pipeline_page_is_the_folders_in_the_order_of_their_imports() -> None:
    page = (ROOT / "docs/pipeline.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_/]+)` \|[^|]*\|([^|]*)\|", page, re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract.get("exhaustive"))
    stages = [name for name in layers if (ROOT / "edgelora" / name).is_dir()]
    assert [folder.removeprefix("edgelora/") for folder, _ in rows if folder.startswith("edgelora/")] == stages
    named = [f"{folder}/{name}" for folder, cell in rows for name in re.findall(r"`([\w/*.]+\.(?:py|ts))`", cell)]
    named += re.findall(r"`((?:edgelora|exporters|runtime)/[\w/-]+\.(?:py|ts))`", page)
    assert len(named) > 80
    assert [name for name in named if not any(ROOT.glob(name))] == []


def test_the_readme_names_targets_and_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z]+)\b", text)) - {"sure"}
    assert {"demo", "test", "check"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize(
    ("file", "names", "table"),
    [("config.py", "ARCHITECTURES", "| architecture |"), ("encoder_config.py", "ENCODERS", "| encoder |")],
)
def test_the_readme_lists_the_architectures_that_export_accepts(file: str, names: str, table: str) -> None:
    module = ast.parse((ROOT / "edgelora/checkpoint" / file).read_text(encoding="utf-8"))
    lists = [node for node in module.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == names]
    known = {ast.literal_eval(item) for item in lists[0].value.elts}
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(table)[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z0-9_-]+)`", text)) == known


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "exporters"), str(ROOT / "runtime/python")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "120", "NO_COLOR": "1"}
