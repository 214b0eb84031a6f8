"""Encoders with signed weights on a processor whose products of bytes overflow: Haswell, under qemu.

Knows nothing about how a runtime finds that out.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import edgelora
from edgelora.artifact.options import ExportOptions
from edgelora.torch_model.choose_grid import GridChoice
from edgelora_runtime import load
from edgelora_runtime.byte_products import PRODUCT
from edgelora_runtime.manifest import TEXT_CLASSIFICATION
from tests.native.conftest import NATIVE, ROOT
from tests.parity.encoders import random_encoder, write_encoder

EMULATOR = "qemu-x86_64-static"
TEXT = "the a of to in it"
ASK = """
import json, sys
import onnxruntime
from edgelora_runtime import load
from edgelora_runtime import encoder_session
if sys.argv[2] == "unaware":
    encoder_session.products_overflow = lambda: False
with load(sys.argv[1], threads=1, operator=False) as model:
    print(json.dumps(model.classify(sys.argv[3]).scores))
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier whose rows have many weights at the end of their range."""
    folder = tmp_path_factory.mktemp("signed")
    model = random_encoder("bert", TEXT_CLASSIFICATION)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("intermediate.dense.weight"):
                parameter.copy_(parameter.sign() * 0.2)
    edgelora.export(
        write_encoder(model, folder / "tiny"), folder / "artifact", ExportOptions(), grid=GridChoice("int8")
    )
    return folder / "artifact"


def emulated(*words: object, **environment: str) -> str:
    """What a program prints on Haswell; unsupported features are told on standard error alone."""
    assert shutil.which(EMULATOR), f"found no {EMULATOR}; run: apt-get install qemu-user-static"
    command = [EMULATOR, "-cpu", "Haswell", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_python_answers_as_everywhere(artifact: Path) -> None:
    with load(artifact, operator=False) as model:
        expected = model.classify(TEXT).scores
    program, paths = (Path(sys.executable).resolve(), "-c", ASK), os.pathsep.join(path for path in sys.path if path)
    aware, unaware = (
        json.loads(emulated(*program, artifact, how, TEXT, PYTHONPATH=paths)) for how in ("aware", "unaware")
    )
    assert aware == pytest.approx(expected, abs=1e-5)
    assert unaware != pytest.approx(expected, abs=1e-3), "nothing overflows here: this test cannot fail"


def test_native_answers_as_everywhere(artifact: Path, built: Path, onnxruntime: Path) -> None:
    with load(artifact, operator=False) as model:
        expected = model.classify(TEXT)
    words = (built / "edgelora-run", artifact, "--classify", "--prompt", TEXT, "--json")
    (found,) = json.loads(emulated(*words, EDGELORA_ONNXRUNTIME=str(onnxruntime)))["results"]
    assert found["label"] == expected.label
    assert found["scores"] == pytest.approx(expected.scores, abs=1e-5)


def test_every_runtime_tries_the_same_product() -> None:
    script = (ROOT / "runtime/js/src/core/byte-products.ts").read_text(encoding="utf-8")
    (encoded,) = re.findall(r'"([A-Za-z0-9+/]{40,}=*)"', script)
    assert base64.b64decode(encoded) == PRODUCT
    source = (NATIVE / "src/byte_products.cpp").read_text(encoding="utf-8")
    text = source.partition("kProduct[] =")[2].partition(";")[0]
    pieces = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    assert b"".join(piece.encode().decode("unicode_escape").encode("latin-1") for piece in pieces) == PRODUCT
