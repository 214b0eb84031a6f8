"""Probes of receipts replayed by the native runtime: the judgement and the words are those of the Python runtime."""

import json
import shutil
from collections.abc import Callable
from ctypes import c_int32
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora_runtime import AdapterError, load
from edgelora_runtime.manifest import read_manifest
from tests.conformance_check import FOLDER
from tests.native.interface import ADAPTER, Library, NativeError

ARTIFACT = FOLDER / "tiny-float"
IDS = [7, 8, 9, 200, 31, 4]


def top(logits: np.ndarray) -> dict[str, Any]:
    logprobs = logits - np.logaddexp.reduce(logits)
    ids = np.argsort(-logits)[:64]
    return {"ids": ids.tolist(), "logprobs": np.round(logprobs[ids], 5).tolist()}


def record(base: np.ndarray, adapted: np.ndarray) -> dict[str, Any]:
    p, q = (values - np.logaddexp.reduce(values) for values in (base, adapted))
    return {"input_ids": IDS, "kl": float((np.exp(p) * (p - q)).sum()), "base": top(base), "adapted": top(adapted)}


def logits_of(spec: str) -> np.ndarray:
    return load(ARTIFACT).logits(IDS, adapter=spec, positions=[len(IDS) - 1])[0].astype(np.float64)


def with_receipt(folder: Path, *probes: dict[str, Any], **changes: Any) -> Path:
    """A copy of the adapter ``four`` whose receipt has ``probes``."""
    shutil.copytree(ARTIFACT / "adapters" / "four", folder)
    base = read_manifest(ARTIFACT).base
    identity = {"name": "tiny", "fingerprint": base.fingerprint, "grid": base.grid}
    receipt = {"format_version": 1, "base": identity, "probes": list(probes), **changes}
    (folder / "receipt.json").write_text(json.dumps(receipt), encoding="utf-8")
    return folder


def replays(library: Library, folder: Path) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Replay the probe of an adapter in Python, and natively."""
    python, native = load(ARTIFACT), library.load(ARTIFACT)
    python.load_adapter("x", folder)
    library.call("load_adapter", native.handle, b"x", str(folder).encode(), c_int32(0))
    return (lambda: python.probe("x")), (lambda: json.loads(library.text("probe", native.handle, b"x")))


def test_what_a_receipt_says_is_found_again(library: Library, tmp_path: Path) -> None:
    base, adapted = logits_of("none"), logits_of("four")
    weak = record(base, base + 0.1 * (adapted - base))
    folder = with_receipt(tmp_path / "x", weak, record(base, adapted))
    in_python, natively = (replay() for replay in replays(library, folder))
    assert natively["kl_expected"] == in_python.kl_expected > weak["kl"]
    assert natively["kl_found"] == pytest.approx(in_python.kl_found, rel=1e-4)
    assert natively["reason"].endswith(" allowed")


@pytest.mark.parametrize(
    ("adapted", "reason"),
    [
        (lambda base, four: four + 4 * np.sin(np.arange(len(four))), "does not do what its receipt says"),
        (lambda base, four: base + 8 * (four - base), "next to nothing here"),
    ],
)
def test_other_answers_are_refused_in_the_same_words(
    library: Library, tmp_path: Path, adapted: Callable[[np.ndarray, np.ndarray], np.ndarray], reason: str
) -> None:
    base, four = logits_of("none"), logits_of("four")
    folder = with_receipt(tmp_path / "x", record(base, adapted(base, four)))
    in_python, natively = replays(library, folder)
    with pytest.raises(AdapterError, match=reason) as expected:
        in_python()
    with pytest.raises(NativeError) as found:
        natively()
    assert found.value.code == ADAPTER
    assert str(found.value) == str(expected.value)


def test_nothing_to_replay_is_told(library: Library, tmp_path: Path) -> None:
    (in_python, natively) = replays(library, with_receipt(tmp_path / "x"))
    assert in_python() is natively() is None


def test_probes_of_another_vocabulary_are_refused(library: Library, tmp_path: Path) -> None:
    probe = record(logits_of("none"), logits_of("four"))
    probe["base"]["ids"][0] = 384
    in_python, natively = replays(library, with_receipt(tmp_path / "x", probe))
    with pytest.raises(AdapterError, match=r"token ids go up to 384, the vocabulary has 384") as expected:
        in_python()
    with pytest.raises(NativeError) as found:
        natively()
    assert str(found.value) == str(expected.value)
