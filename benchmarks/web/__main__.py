"""``python -m benchmarks.web``: the web target, transformers.js and wllama in turns in one headless Chromium.

Knows nothing about earlier runs; models are made once and kept under ``build/web``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from benchmarks.adapters import write_random_adapter
from benchmarks.machine import cpu_name
from benchmarks.peers.gguf_files import write_lora
from benchmarks.smollm2 import find_smollm2
from benchmarks.web.distance import artifact_logits, distance, optimum_logits
from benchmarks.web.report import summarize, write_report
from benchmarks.web.transformers_js import make_model
from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import ConfigError, EdgeLoraError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora_runtime.files import temporary_folder, write_atomically
from edgelora_runtime.manifest import read_manifest

HERE = Path(__file__).parent
BUILD = Path("build/web")
RESULTS = HERE.parent / "results"
MEASURED, COMPARED = "int4", "int8"  # --quant of the artifact that runs, and of one whose answers are looked at too
RANK, PROMPT_TOKENS, SHORT_TOKENS = 8, 128, 16
ADAPTERS = ("one", "two")
_PROMPTS = 300  # first tokens that are tried
_COUNTING = ", ".join(str(number) for number in range(1, 200))  # a text that goes on: no end token stops a turn
_TEXT = (
    "Rain forms when water evaporates from oceans, lakes and rivers, rises into the air and cools. As the air cools, "
    "the water vapor condenses into tiny droplets that make clouds. When the droplets become heavy enough, they fall "
    "as rain. Mountains force air to rise, which cools it and makes it drop its moisture; the land behind stays dry."
)


def main() -> int:
    """Measure decode, prefill, loading, memory and switching, and write ``results/web.json`` and ``web.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=main.__doc__)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5, help="turns of every subject, after one that warms up")
    parser.add_argument("--loads", type=int, default=3, help="fresh browser profiles in which each library loads twice")
    parser.add_argument("--steps", type=int, default=32, help="tokens decoded in a turn")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--runtime", type=Path, default=Path("runtime/js"), help="sources of the JavaScript runtime")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser")
    parser.add_argument("--prepare", action="store_true", help="make the models, and measure nothing")
    options = parser.parse_args()
    try:
        artifacts, models = prepare()
        if options.prepare:
            return 0
        result = measure(options, artifacts, models)
    except EdgeLoraError as error:
        print(error, file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out / "web.json", json.dumps(result, indent=1) + "\n")
    page = write_report(result)
    write_atomically(options.out / "web.md", page)
    print(page)
    return 0


def prepare() -> tuple[Path, Path]:
    """The folder of artifacts, that of transformers.js' models, and what npm installs; all of it is made once."""
    gguf = find_smollm2()
    artifacts, models = BUILD / "artifacts", BUILD / "models"
    artifacts.mkdir(parents=True, exist_ok=True)
    models.mkdir(exist_ok=True)
    for quant in (MEASURED, COMPARED):
        if not (artifacts / quant).exists():
            _export(gguf, artifacts / quant, quant)
    make_model(gguf, models / "smollm2")
    _write_gguf(gguf, artifacts / MEASURED, BUILD / "gguf")
    if not (HERE / "node_modules").exists():
        settings = {**os.environ, "ONNXRUNTIME_NODE_INSTALL": "skip"}
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=HERE, env=settings, check=True)
    return artifacts, models


def _export(gguf: str, artifact: Path, quant: str) -> None:
    """The base for wasm with two random adapters."""
    with temporary_folder(artifact.parent) as place:
        fresh = place / artifact.name
        command = ("export", gguf, "-o", str(fresh), "--target", "web-wasm", "--quant", quant)
        subprocess.run([sys.executable, "-m", "edgelora", *command], check=True)
        manifest = read_manifest(fresh)
        for seed, name in enumerate(ADAPTERS):
            folder = write_random_adapter(manifest, RANK, BUILD / "adapters" / quant / name, seed=seed)
            add_adapter(fresh, name, folder)
        fresh.rename(artifact)


def _write_gguf(gguf: str, artifact: Path, folder: Path) -> None:
    """What wllama loads: the base as it is, and the artifact's adapters."""
    folder.mkdir(exist_ok=True)
    if not (folder / "base.gguf").exists():
        shutil.copyfile(gguf, folder / "base.gguf")
    for name in ADAPTERS:
        write_lora(BUILD / "adapters" / MEASURED / name, read_manifest(artifact), RANK, folder / f"{name}.gguf")


def _prompts(tokenizer: Tokenizer, size: int) -> list[dict[str, Any]]:
    """Token ids (size,) that differ in the first, each with a text that gives them: wllama takes no ids."""
    rest = tokenizer.encode(_COUNTING).ids[: size - 1]
    found = []
    for first in range(1000, 1000 + _PROMPTS):
        ids = [first, *rest]
        text = tokenizer.decode(ids)
        if tokenizer.encode(text).ids == ids:
            found.append({"ids": ids, "text": text})
    return found


def measure(options: argparse.Namespace, artifacts: Path, models: Path) -> dict[str, Any]:
    """Run the browser and put its figures together; raises ConfigError when it fails."""
    if not (options.runtime / "src" / "web" / "load.ts").exists():
        raise ConfigError(f"{options.runtime} holds no JavaScript runtime; give its folder with --runtime")
    artifact = artifacts / MEASURED
    manifest = read_manifest(artifact)
    checkpoint = open_checkpoint(find_smollm2())
    assert checkpoint.tokenizer is not None
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer.tokenizer_json)
    config = {
        "threads": options.threads,
        "rounds": options.rounds,
        "loads": options.loads,
        "steps": options.steps,
        "long": _prompts(tokenizer, PROMPT_TOKENS),
        "short": _prompts(tokenizer, SHORT_TOKENS),
        "out": str((BUILD / "pages").resolve()),
        "runtime": str(options.runtime.resolve()),
        "artifact": str(artifact.resolve()),
        "models": str(models.resolve()),
        "gguf": str((BUILD / "gguf").resolve()),
        "chromium": options.chromium,
    }
    (BUILD / "config.json").write_text(json.dumps(config), encoding="utf-8")
    command = ["node", str(HERE / "run.mjs"), str(BUILD / "config.json")]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if run.returncode:
        raise ConfigError(f"the browser run failed; its message is above, from: {' '.join(command)}")
    found = json.loads(run.stdout)
    (BUILD / "raw.json").write_bytes(run.stdout)
    packages = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    file = models / "smollm2" / "onnx" / "model_quantized.onnx"
    ids = tokenizer.encode(_TEXT).ids
    with torch.no_grad():
        model = load_torch(checkpoint, plan_grid(checkpoint, parse_quant("none")))
        reference = model(torch.tensor([ids])).logits[0].numpy()
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "model": manifest.model.name,
        "quantization": manifest.quantization["label"],
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count()},
        "browser": found["browser"],
        "versions": {
            name: packages[name] for name in ("onnxruntime-web", "@huggingface/transformers", "@wllama/wllama")
        },
        "megabytes": {
            "edgelora": round(sum(manifest.files[name].bytes for name in _NEEDED) / 1e6, 1),
            "transformers.js": round(file.stat().st_size / 1e6, 1),
            "wllama": round(os.path.getsize(find_smollm2()) / 1e6, 1),
        },
        "rounds": options.rounds,
        "steps": options.steps,
        "prompt_tokens": PROMPT_TOKENS,
        "short_tokens": SHORT_TOKENS,
        "threads": summarize(found["threads"], PROMPT_TOKENS),
        "distance": {
            **{
                f"edgelora, {quant}": distance(artifact_logits(artifacts / quant, ids), reference)
                for quant in (MEASURED, COMPARED)
            },
            "transformers.js q8": distance(optimum_logits(file, ids), reference),
        },
    }


_NEEDED = ("decoder.onnx", "weights.bin")

if __name__ == "__main__":
    sys.exit(main())
