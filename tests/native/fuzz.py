"""Run the fuzzers of the native runtime: ``python -m tests.native.fuzz --seconds 600``, one after another.

Knows nothing about the readers. What a fuzzer found is left in build/native-fuzz/found/NAME and named; ``--only NAME``
runs one alone. Inputs that reach something new are kept in build/native-fuzz/corpus for the next run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from tests.conformance_check import FOLDER, read_cases
from tests.fuzz.seeds import tokenizer_files
from tests.test_refuse import FILE, content_of

ROOT = Path(__file__).resolve().parents[2]
NATIVE, BUILD = ROOT / "runtime" / "native", ROOT / "build" / "native-fuzz"
NAMES = ("adapter_config", "interface", "manifest", "receipt", "safetensors", "template", "tokenizer")
LONGEST = {"tokenizer": 65536, "interface": 4096}  # bytes of an input
USUAL = 16384
OPTIONS = b"\x03\x00\x00" + b"\x00" * 7  # of a call that generates: four tokens, the defaults
CALLS = (
    b"\x00" + OPTIONS + b"Hello \xf0\x9f\x9a\x80",
    b"\x01" + OPTIONS + b'[{"role": "user", "content": "x"}]',
    b"\x02" + OPTIONS + b'["a", "b"]',
    b"\x03" + OPTIONS + b"\x04\x07\x08\x09\x0a\x01\x04",
    b"\x00\x03\x00\x00\x01one:0.5+four\0" + b"\x00" * 6 + b"Hello",
    b"\x00\x03\x00\x01\x00\x00\x01[\"lo\"]\0\x00\x00\x00\x00Hel",
    b"\x00\x03\x00\x00\x00\x00\x00\x01[\"yes\", \"no\"]\0\x00\x00\x00Well?",
    b"\x04\x01Hello <|end|>\0",
    b"\x05\x00\x08\x01\x02\x03\x04\xf0\x9f\x00\x01",
    b'\x06\x00\x00[{"role": "user", "content": [{"type": "text", "text": "x"}]}]\0\x00\x00\x01' + b"2026-02-01\0",
    b'\x07\x00\x00[{"role": "user", "content": "x"}]\0\x00\x00\x00answer\0',
    b"\x08\x01Hello\0 you\0",
    b"\x09one:0.7+eight:-0.3\0",
    b"\x0aother\0nowhere\0",
    b"\x0b(q|v)_proj$\0model.layers.0.self_attn.q_proj\0",
    b'\x0cmanifest\0{"format": "edgelora"}\0',
)  # fmt: skip

# A factor as codes of 8 bits: of rank 1 three of them, and their scale.
_HEADER = b'{"m.lora_A.weight":{"dtype":"I8","shape":[1,7,1],"data_offsets":[0,7]}}'
CODES = len(_HEADER).to_bytes(8, "little") + _HEADER + b"\x81\x00\x7f" + struct.pack("<f", 0.5)


def main() -> int:
    """Exits 1 where a fuzzer ended before its time."""
    parser = argparse.ArgumentParser(prog="python -m tests.native.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each fuzzer")
    parser.add_argument("--only", choices=NAMES, help="one fuzzer alone")
    options = parser.parse_args()
    names = (options.only,) if options.only else NAMES
    build([f"fuzz_{name}" for name in names])
    failed = [name for name in names if not run(name, options.seconds)]
    print(f"found something: {', '.join(failed)}" if failed else "nothing found", flush=True)
    return 1 if failed else 0


def build(programs: Iterable[str]) -> None:
    """With Clang, whose runtime has libFuzzer, and the sanitizers."""
    compiler = next((path for name in ("clang++", "clang++-14") if (path := shutil.which(name))), None)
    if compiler is None:
        raise SystemExit("the fuzzers need Clang and its runtime: sudo apt-get install clang libclang-rt-14-dev")
    headers = os.environ.get("EDGELORA_ORT_INCLUDE") or _run("node", str(NATIVE / "tools/fetch_headers.mjs")).strip()
    sanitize = ["-DEDGELORA_FUZZ=ON", "-DEDGELORA_SANITIZE=address,undefined", "-DEDGELORA_WERROR=OFF"]
    leave = ["-DEDGELORA_PROGRAM=OFF", "-DEDGELORA_OPERATORS=OFF", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"]
    given = [f"-DCMAKE_CXX_COMPILER={compiler}", f"-DEDGELORA_ORT_INCLUDE={headers}"]
    _run("cmake", "-S", str(NATIVE), "-B", str(BUILD), "-GNinja", *given, *sanitize, *leave)
    _run("cmake", "--build", str(BUILD), "--target", *programs)


def run(name: str, seconds: int) -> bool:
    """Whether the fuzzer ran to its end."""
    corpus, given, found = BUILD / "corpus" / name, BUILD / "seeds" / name, BUILD / "found" / name
    for folder in (corpus, given, found):
        folder.mkdir(parents=True, exist_ok=True)
    longest = LONGEST.get(name, USUAL)
    for content in seeds(name):
        if len(content) <= longest:
            (given / sha256(content).hexdigest()[:16]).write_bytes(content)
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None and spec.origin is not None
    (library,) = (Path(spec.origin).parent / "capi").glob("libonnxruntime.so.1.*")
    leaks = f"suppressions={Path(__file__).parent / 'leaks.txt'}:print_suppressions=0"
    environment = {"EDGELORA_ONNXRUNTIME": str(library), "EDGELORA_FUZZ_ARTIFACT": str(FOLDER / "tiny-float")}
    limits = [f"-max_total_time={seconds}", f"-max_len={longest}", "-timeout=20", "-rss_limit_mb=3072"]
    done = subprocess.run(
        [BUILD / f"fuzz_{name}", *limits, f"-artifact_prefix={found}/", "-print_final_stats=1", corpus, given],
        env={**os.environ, **environment, "LSAN_OPTIONS": leaks},
        capture_output=True,
        check=False,
    )
    told = done.stderr.decode(errors="replace")
    (BUILD / f"{name}.log").write_text(told, encoding="utf-8")
    runs = next((line.split()[-1] for line in told.splitlines() if "number_of_executed_units" in line), "?")
    print(f"{name}: {runs} inputs, {'nothing found' if done.returncode == 0 else told[-3000:]}", flush=True)
    return done.returncode == 0


def seeds(name: str) -> Iterator[bytes]:
    """Small files of a kind, sound and hostile ones."""
    if name == "interface":
        yield from CALLS
    elif name == "template":
        yield from {case["template"].encode() for case in read_cases() if case["kind"] == "render"}
    elif name == "tokenizer":
        for content in (*tokenizer_files(), *(path.read_bytes() for path in FOLDER.glob("*/tokenizer.json"))):
            yield content + b"\0Hello \xf0\x9f\x9a\x80 <|end|> 1,000"
    else:
        yield from (content_of(case) for case in FILE["cases"] if case["kind"] == name)
        file = {"safetensors": "adapter_model.safetensors"}.get(name, f"{name}.json")
        yield from (path.read_bytes() for path in FOLDER.rglob(file))
        if name == "receipt":
            yield json.dumps(FILE["receipt"]).encode()
        elif name == "safetensors":
            yield CODES


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
