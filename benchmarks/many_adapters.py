"""``python -m benchmarks.many_adapters``: what an artifact costs with a thousand adapters, beside the same with three.

tiny artifact -> milliseconds and memory of opening in each runtime, of adding an adapter and of listing all

With ``--artifact`` another one is opened, and no more. Every figure comes from a process of its own, in random order: a
median of the processes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from benchmarks.machine import cpu_name, memory_mb
from benchmarks.processes import run_python
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import ADAPTER_FOLDER, MANIFEST_FILE, read_manifest
from edgelora_runtime.manifest_text import manifest_text

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "runtime/conformance/tiny-int4"
WORK = Path("build/many-adapters")
RESULTS = Path(__file__).parent / "results"
COUNTS = (3, 1000)
PYTHON, NODE, CPP, ADD, LIST = "Python opens", "Node opens", "C++ opens and answers", "adapter add", "adapter list"
KEEP, FIND = "library add", "library search"

_NODE = """
import { load } from "%s";
const before = process.memoryUsage.rss(), started = performance.now();
const model = await load(process.argv[1], { threads: 1 });
const ms = performance.now() - started;
console.log(JSON.stringify({ ms, mb: (process.memoryUsage.rss() - before) / 1e6 }));
process.exit(0);
"""


def main() -> None:
    """Write ``many_adapters.json`` and ``.md`` into ``benchmarks/results``, of another artifact beside them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_adapters", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--counts", type=int, nargs=2, default=list(COUNTS))
    parser.add_argument("--native", type=Path, default=Path("build/native"), help="as `make native` builds it")
    parser.add_argument("--artifact", type=Path, default=TINY, help="to open instead, with two adapters or more in it")
    parser.add_argument("--child", nargs=2, metavar=("ARM", "ARTIFACT"), help="internal: one process")
    options = parser.parse_args()
    if options.child:
        arm, artifact = options.child
        print(json.dumps(CHILDREN[arm](Path(artifact))))
        return
    is_tiny = options.artifact.resolve() == TINY
    artifacts = {count: make(options.artifact, count) for count in options.counts}
    native = options.native / "edgelora-run"
    for count, artifact in artifacts.items() if is_tiny else ():
        make_library(artifact, count)
    arms = [PYTHON, NODE, *((ADD, LIST, KEEP, FIND) if is_tiny else ()), *([CPP] if native.exists() else [])]
    if CPP not in arms:
        print(f"{native} is not there, so C++ is left out; `make native` builds it", file=sys.stderr)
    found: dict[tuple[str, int], list[Mapping[str, float]]] = {}
    order = [(arm, count) for arm in arms for count in options.counts for _ in range(options.rounds)]
    random.Random(0).shuffle(order)
    for arm, count in order:
        found.setdefault((arm, count), []).append(_measure(arm, artifacts[count], native))
    result = {
        "model": "A tiny artifact" if is_tiny else read_manifest(options.artifact).model.name,
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "onnxruntime": onnxruntime.__version__},
        "date": time.strftime("%Y-%m-%d"),
        "rounds": options.rounds,
        "adapters": list(options.counts),
        "arms": {
            arm: {str(count): _median(found[arm, count]) for count in options.counts}
            for arm in (PYTHON, NODE, CPP, ADD, LIST, KEEP, FIND)
            if arm in arms
        },
    }
    place = RESULTS / ("many_adapters" if is_tiny else "many_adapters_real")
    write_atomically(place.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    page = write_page(result)
    write_atomically(place.with_suffix(".md"), page)
    print(page)


def make(artifact: Path, count: int) -> Path:
    """The artifact with ``count`` adapters of equal factors under names of their own, on the same file system."""
    folder = WORK / f"with-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(artifact, folder, ignore=shutil.ignore_patterns("adapters"))
    data = json.loads((artifact / MANIFEST_FILE).read_text(encoding="utf-8"))
    one = data["adapters"][1]
    files = {name: info for name, info in data["files"].items() if name.startswith(f"{one['path']}/")}
    data["files"] = {name: info for name, info in data["files"].items() if not name.startswith(ADAPTER_FOLDER)}
    data["adapters"] = []
    for number in range(count):
        name = f"a{number}"
        data["adapters"].append({**one, "name": name, "path": f"{ADAPTER_FOLDER}{name}"})
        for file, info in files.items():
            target = f"{ADAPTER_FOLDER}{name}/{Path(file).name}"
            data["files"][target] = info
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            os.link(artifact / file, folder / target)  # a thousand real ones take gigabytes
    (folder / MANIFEST_FILE).write_text(manifest_text(data), encoding="utf-8")
    return folder


def make_library(artifact: Path, count: int) -> None:
    """A library with as many adapters beside the artifact, each of other content."""
    from edgelora.library.change import add

    library = _library(artifact)
    shutil.rmtree(library, ignore_errors=True)
    for number in range(count):
        add(library, _adapter_of(artifact, number), f"n{number}")


def _library(artifact: Path) -> Path:
    return artifact.with_name(f"{artifact.name}-library")


def _adapter_of(artifact: Path, number: int) -> Path:
    """The same factors with another alpha."""
    folder = artifact.with_name(f"{artifact.name}-fresh")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(TINY / read_manifest(TINY).adapters[0].path, folder)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 1 + number}), encoding="utf-8")
    return folder


def _measure(arm: str, artifact: Path, native: Path) -> Mapping[str, float]:
    if arm == NODE:
        script = _NODE % (ROOT / "runtime/js/dist/node.js")
        done = subprocess.run(
            ["node", "--input-type=module", "-e", script, str(artifact)], stdout=subprocess.PIPE, check=True
        )
        return dict(json.loads(done.stdout))
    if arm == CPP:
        library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1.*"))
        words = ["--prompt", "a", "--raw", "--max-new-tokens", "1", "--onnxruntime", library, "--threads", "1"]
        command = [str(word) for word in (native, artifact, *words)]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{command[0]} ended with {process.returncode}; its message is above")
        return {"ms": 1e3 * (time.perf_counter() - started), "mb": usage.ru_maxrss / 1e3}
    return dict(run_python("-m", "benchmarks.many_adapters", "--child", arm, str(artifact)).output)


def _open(artifact: Path) -> Mapping[str, float]:
    from edgelora_runtime import load

    before, started = memory_mb("status", "VmRSS"), time.perf_counter()
    model = load(artifact, threads=1, operator=False)
    ms = 1e3 * (time.perf_counter() - started)
    mb = memory_mb("status", "VmRSS") - before
    model.close()
    return {"ms": ms, "mb": mb}


def _add(artifact: Path) -> Mapping[str, float]:
    from edgelora.artifact.store import add_adapter, remove_adapter

    folder = TINY / read_manifest(TINY).adapters[0].path
    started = time.perf_counter()
    add_adapter(artifact, "new", folder)
    ms = 1e3 * (time.perf_counter() - started)
    remove_adapter(artifact, "new")
    return {"ms": ms}


def _list(artifact: Path) -> Mapping[str, float]:
    import contextlib
    import io

    from edgelora.cli.adapter import show

    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        show(artifact, as_json=True)
    return {"ms": 1e3 * (time.perf_counter() - started)}


def _keep(artifact: Path) -> Mapping[str, float]:
    from edgelora.library.change import add, remove

    folder = _adapter_of(artifact, 100_000)
    started = time.perf_counter()
    added = add(_library(artifact), folder, "new")
    ms = 1e3 * (time.perf_counter() - started)
    remove(_library(artifact), [added.entry])
    return {"ms": ms}


def _find(artifact: Path) -> Mapping[str, float]:
    from edgelora.library.index import read_index
    from edgelora.library.select import Wanted, select

    started = time.perf_counter()
    assert len(select(read_index(_library(artifact)), Wanted(words=("n2",)))) >= 1
    return {"ms": 1e3 * (time.perf_counter() - started)}


CHILDREN: Mapping[str, Callable[[Path], Mapping[str, float]]] = {
    PYTHON: _open,
    ADD: _add,
    LIST: _list,
    KEEP: _keep,
    FIND: _find,
}


def _median(runs: list[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}


def write_page(result: Mapping[str, Any]) -> str:
    """The figures as a page."""
    few, many = (str(count) for count in result["adapters"])
    given = "" if ADD in result["arms"] else " --artifact FOLDER"
    lines = [
        f"# {result['model']} with {few} and with {many} adapters",
        "",
        "Medians of processes of their own; memory is what opening adds, of C++ the peak of the process.",
        f"`python -m benchmarks.many_adapters{given}` makes this page.",
        "",
        f"| | {few} adapters | {many} adapters | memory, {few} | memory, {many} |",
        "|---|---:|---:|---:|---:|",
    ]
    for arm, found in result["arms"].items():
        memory = [f"{item['mb']:.1f} MB" if "mb" in item else "" for item in (found[few], found[many])]
        lines.append(f"| {arm} | {found[few]['ms']:.1f} ms | {found[many]['ms']:.1f} ms | {memory[0]} | {memory[1]} |")
    machine = result["machine"]
    lines += ["", f"{result['rounds']} rounds, {machine['cpu']}, onnxruntime {machine['onnxruntime']}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
