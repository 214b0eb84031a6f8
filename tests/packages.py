"""``python -m tests.packages``: build wheels and npm tarball, install each into empty environments, try it there.

Takes what the metadata promises, at its lowest and its newest versions -> one line an environment, exit code 1 for a
promise that does not hold. Knows nothing about the environment of the checkout, which no environment here sees.
"""

from __future__ import annotations

import argparse
import email
import email.message
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "packages"
PYTHON = {  # environment -> what is installed there
    "bare": "edgelora-runtime",
    "text": "edgelora-runtime[text]",
    "ops": "edgelora-runtime[text]",  # with the wheel of the operators, which it then uses
    "cli": "edgelora[cli]",
    "everything": "edgelora[train]",
}
ENDS = ("lowest", "newest")
# What a shell gives, without what points at the checkout; onnxruntime-node would download libraries for CUDA.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_CONSTRAINT"))}
ENVIRONMENT["ONNXRUNTIME_NODE_INSTALL"] = "skip"
PROGRAM = """
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { runConformance } from "@edgelora/runtime/conformance";
import { load } from "@edgelora/runtime";
await import("@edgelora/runtime/backend");
await import("@edgelora/runtime/web");
const { cases } = JSON.parse(await readFile("runtime/conformance/cases.json", "utf8"));
let count = 0;
for (const runtime of process.argv.slice(2)) {
  const open = (name) => load(`runtime/conformance/${name}`, { runtime, hashes: true, threads: 1 });
  const results = await runConformance(open, cases);
  assert.deepEqual(results.filter((result) => result.failure !== null), []);
  count += results.length;
}
console.log(`${count} cases`);
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.packages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("only", nargs="*", help=f"of {', '.join(PYTHON)}, npm; all of them by default")
    parser.add_argument("--versions", nargs="*", default=ENDS, choices=ENDS)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the environments")
    parser.add_argument("--torch", help="a version instead of the lowest or newest one, for an index with large builds")
    options = parser.parse_args()
    wanted = options.only or [*PYTHON, "npm"]
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    failed = 0
    wheels = [] if wanted == ["npm"] else build_wheels()
    tarball = build_tarball() if "npm" in wanted else OUT
    for name in wanted:
        for end in options.versions:
            place, start = OUT / f"{name}-{end}", time.perf_counter()
            copy_sources(place)
            try:
                if name == "npm":
                    said = try_npm(place, tarball, end)
                else:
                    pins = dict(lowest_versions(wheels, PYTHON[name])) if end == "lowest" else {}
                    if options.torch and name == "everything":
                        pins["torch"] = options.torch
                    said = try_python(place, name, wheels, pins, options.python)
            except subprocess.CalledProcessError as error:
                failed += 1
                said = f"FAILED: {' '.join(map(str, error.cmd))}\n{error.stdout}{error.stderr}"
            print(f"{name} {end}: {said} ({time.perf_counter() - start:.0f} s)", flush=True)
            shutil.rmtree(place)  # an environment with torch is large
    return 1 if failed else 0


def build_wheels() -> list[Path]:
    """The wheels of compiler, operators and runtime; each holds its own packages and what they promise."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps")
    if "EDGELORA_ORT_INCLUDE" not in ENVIRONMENT:
        ENVIRONMENT["EDGELORA_ORT_INCLUDE"] = call(
            ROOT, "node", ROOT / "runtime/native/tools/fetch_headers.mjs"
        ).strip()
    call(OUT, *pip, "--wheel-dir", OUT, ROOT / "runtime/python", ROOT, ROOT / "runtime/native/operator")
    wheels = sorted(OUT.glob("*.whl"))
    held = [{name for name in names_in(wheel) if ".dist-info/" not in name} for wheel in wheels]
    assert [{name.split("/")[0] for name in names} for names in held] == [
        {"edgelora", "edgelora_onnx"},
        {"edgelora_ops"},
        {"edgelora_runtime"},
    ]
    for name in ("edgelora/py.typed", "edgelora_onnx/py.typed"):
        assert name in held[0], name
    for name in ("edgelora_runtime/py.typed", "edgelora_runtime/manifest.schema.json"):
        assert name in held[2], name
    assert "edgelora_ops/py.typed" in held[1]
    return wheels


def build_tarball() -> Path:
    call(ROOT / "runtime/js", "npm", "pack", "--silent", "--pack-destination", OUT)
    return next(OUT.glob("*.tgz"))


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as opened:
        return opened.namelist()


def copy_sources(place: Path) -> None:
    """What the trials run, apart from the checkout, so that nothing is imported from there."""
    (place / "tests").mkdir(parents=True)
    for path in (ROOT / "tests").glob("*.py"):
        shutil.copy(path, place / "tests")
    shutil.copytree(ROOT / "runtime/conformance", place / "runtime/conformance")


def lowest_versions(wheels: list[Path], wanted: str) -> Iterator[tuple[str, str]]:
    """The lowest version of each package that ``wanted`` asks for by name: the highest of its lower bounds."""
    bounds: dict[str, Version] = {}
    asked = [Requirement(wanted)]
    ours = {found["Name"]: found.get_all("Requires-Dist") or [] for found in map(metadata, wheels)}
    while asked:
        need = asked.pop()
        name = canonicalize_name(need.name)
        if name in ours:
            for text in ours[name]:
                found = Requirement(text)
                if found.marker is None or any(
                    found.marker.evaluate({"extra": extra}) for extra in need.extras or {""}
                ):
                    asked.append(found)
            continue
        for bound in need.specifier:
            if bound.operator in (">=", "~=", "=="):
                bounds[name] = max(bounds.get(name, Version("0")), Version(bound.version))
    yield from ((name, str(version)) for name, version in sorted(bounds.items()))


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as opened:
        name = next(name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(opened.read(name))


def try_python(place: Path, name: str, wheels: list[Path], pins: dict[str, str], interpreter: str) -> str:
    """Install into an environment of its own, run every case there and, where it has them, the commands."""
    environment = place / "venv"
    call(place, interpreter, "-m", "venv", environment)
    scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / "python"
    wanted = Requirement(PYTHON[name])
    needs = []
    for wheel in wheels:  # both by their place: an index may have others under these names
        ours = metadata(wheel)["Name"]
        extras = f"[{','.join(wanted.extras)}]" if wanted.extras and ours == wanted.name else ""
        if ours in (wanted.name, "edgelora-runtime") or (name == "ops" and ours == "edgelora-ops"):
            needs.append(f"{ours}{extras} @ {wheel.as_uri()}")
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    pinned = [f"{package}=={version}" for package, version in pins.items()]
    call(place, *pip, "install", "--quiet", "--no-input", *needs, *pinned)
    call(place, *pip, "check")
    said = [call(place, python, "-m", "tests.conformance_check").strip()]
    if name == "ops":
        code = "from edgelora_runtime import load; load('runtime/conformance/tiny-float', operator=True)"
        call(place, python, "-c", code)
    if wanted.name == "edgelora":
        said += try_commands(place, scripts / "edgelora", python, is_whole="train" in wanted.extras)
    versions = json.loads(call(place, *pip, "list", "--format", "json"))
    asked = {name for name, _ in lowest_versions(wheels, PYTHON[name])}
    chosen = [f"{item['name']} {item['version']}" for item in versions if canonicalize_name(item["name"]) in asked]
    size = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file() and not path.is_symlink())
    return f"{', '.join(said)}; {size / 1e6:.0f} MB with {', '.join(chosen)}"


def try_commands(place: Path, edgelora: Path, python: Path, is_whole: bool) -> list[str]:
    """Use an artifact by every command that ``cli`` promises; with everything, make one first."""
    artifact, rows = place / "runtime/conformance/tiny-int4", place / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n' * 8, encoding="utf-8")
    run: list[tuple[str | Path, ...]] = [("--version",), ("--help",)]
    if is_whole:
        make = "import sys, pathlib, tests.tiny; tests.tiny.write_checkpoint(pathlib.Path(sys.argv[1]))"
        base, adapter, artifact = place / "base", place / "adapter", place / "artifact"
        call(place, python, "-c", make, base)
        run.append(("train", base, rows, "-o", adapter, "--max-steps", "2"))
        run.append(("export", base, "-o", artifact, "--adapter", f"one={adapter}"))
    run += [
        ("run", artifact, "--adapter", "one", "--prompt", "hi", "--max-new-tokens", "3"),
        ("chat", artifact, "--adapter", "one", "--max-new-tokens", "3"),
        ("eval", artifact, rows, "--adapter", "one"),
        ("verify", artifact),
        ("bench", artifact, "--rounds", "1"),
        ("inspect", artifact),
        ("adapter", "remove", artifact, "one"),
    ]
    for words in run:
        call(place, edgelora, *words)
    if not is_whole:
        code = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]) != 2)"  # refused as bad usage
        call(place, python, "-c", code, edgelora, "export", "base", "-o", "out")
    return [f"{len(run)} commands"]


def try_npm(place: Path, tarball: Path, end: str) -> str:
    """Install beside the lowest or newest onnxruntime of its peers, and run every case natively and in wasm."""
    peers = json.loads((ROOT / "runtime/js/package.json").read_text(encoding="utf-8"))["peerDependencies"]
    names = ("onnxruntime-node", "onnxruntime-web")
    chosen = [f"{name}@{peers[name].removeprefix('^') if end == 'lowest' else peers[name]}" for name in names]
    (place / "package.json").write_text('{"private": true, "type": "module"}', encoding="utf-8")
    call(place, "npm", "install", "--silent", "--no-audit", "--no-fund", tarball, *chosen)
    (place / "try.mjs").write_text(PROGRAM, encoding="utf-8")
    said = call(place, "node", "try.mjs", "native", "wasm").strip()
    found = json.loads(call(place, "npm", "list", "--json"))["dependencies"]
    versions = [f"{name} {found[name]['version']}" for name in names]
    return f"{said}; with {', '.join(versions)}"


def call(place: Path, *words: str | Path) -> str:
    """Standard output of a program that ends well, with one line to read."""
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=place, env=ENVIRONMENT, input="hi\n", capture_output=True, text=True)
    done.check_returncode()
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
