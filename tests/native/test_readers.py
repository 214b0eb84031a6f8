"""The native runtime's readers against Python's, on sound files, hostile ones and files that were damaged by chance."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelora_runtime.adapter import parse_spec
from edgelora_runtime.adapter_config import parse_config
from edgelora_runtime.claims import claims
from edgelora_runtime.errors import AdapterError, EdgeLoraError
from edgelora_runtime.manifest import cache_bytes, parse_manifest
from edgelora_runtime.names import find_unsafe
from edgelora_runtime.parse_json import parse_json, show
from edgelora_runtime.receipt import parse_receipt
from edgelora_runtime.safetensors import read_safetensors
from edgelora_runtime.sampling import Sampler, SamplingOptions
from tests.fuzz.mutate import damage
from tests.native.asking import Readers
from tests.native.test_adapter_folders import both, change_config
from tests.test_refuse import FILE, FOLDER, content_of

MODULES = ("model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "q_proj", "x", "")
ROUNDS = 250


def seeds(kind: str) -> tuple[bytes, ...]:
    names = {"manifest": "manifest.json", "receipt": "receipt.json", "config": "adapter_config.json"}
    found = [path.read_bytes() for path in sorted(FOLDER.rglob(names.get(kind, "adapter_model.safetensors")))]
    if kind == "receipt":
        found.append(json.dumps(FILE["receipt"]).encode())
    case_kind = "adapter_config" if kind == "config" else kind
    return (*found, *(content_of(case) for case in FILE["cases"] if case["kind"] == case_kind and case.get("accepted")))


def manifest_values(path: Path) -> Any:
    manifest = parse_manifest(path.read_bytes())
    return {
        "model": manifest.model.name,
        "eos": list(manifest.model.eos_token_ids),
        "parts": [[part.module, part.offset, part.out_features] for slot in manifest.slots for part in slot.parts],
        "files": len(manifest.files),
        "cache": cache_bytes(manifest),
        "adapters": len(manifest.adapters),
        "grid": manifest.base.grid,
        "fused": manifest.graph.fused or "",
        "bos": (manifest.tokenizer and manifest.tokenizer.bos_token) or "",
    }


def receipt_values(path: Path) -> Any:
    receipt = parse_receipt(path.read_bytes())
    probes = [[list(probe.input_ids), probe.kl, list(probe.base.logprobs)] for probe in receipt.probes]
    return {
        "name": receipt.name,
        "fingerprint": receipt.fingerprint,
        "layers": len(receipt.layers),
        "probes": probes,
    }


def config_values(path: Path) -> Any:
    config = parse_config(path.read_bytes(), with_gains=True)
    ranks = [config.rank_of(module) for module in MODULES]
    return [
        [rank, config.scaling_of(module, rank), claims(module, config.targets, config.narrowing)]
        for module, rank in zip(MODULES, ranks, strict=True)
    ]


def tensor_values(path: Path) -> Any:
    content, values = path.read_bytes(), {}
    header_bytes = int.from_bytes(content[:8], "little")
    arrays = read_safetensors(path)
    for name, entry in json.loads(content[8 : 8 + header_bytes].decode("utf-8-sig")).items():
        if name == "__metadata__":
            continue
        start, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        values[name] = [entry["dtype"], entry["shape"], hashlib.sha256(content[start:end]).hexdigest()]
        if arrays[name].dtype.kind == "f":
            with np.errstate(over="ignore", invalid="ignore"):
                values[name].append(hashlib.sha256(arrays[name].astype(np.float32).tobytes()).hexdigest())
    return values


READERS: dict[str, Callable[[Path], Any]] = {
    "manifest": manifest_values,
    "receipt": receipt_values,
    "config": config_values,
    "safetensors": tensor_values,
    "json": lambda path: as_64_bits(parse_json(path.read_bytes(), "here", AdapterError, "go on")),
}


def as_64_bits(value: Any) -> Any:
    """A value as languages have it whose whole numbers end at 64 bits; those beyond are the nearest float64."""
    if isinstance(value, dict):
        return {key: as_64_bits(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_64_bits(item) for item in value]
    return float(value) if type(value) is int and not -(2**63) <= value < 2**64 else value


def python_reads(kind: str, path: Path) -> Any:
    try:
        return READERS[kind](path)
    except EdgeLoraError:
        return None


@pytest.mark.parametrize("kind", READERS)
def test_what_one_reads_the_other_reads_alike(readers: Readers, kind: str, tmp_path: Path) -> None:
    """Files that are sound, and the same damaged: both refuse, or both give the same values."""
    sound = seeds("manifest" if kind == "json" else kind)
    path, counts = tmp_path / "file", {"read": 0, "refused": 0}
    contents = [*sound, *(damage(content, sound, random.Random(f"{kind}/{n}")) for n in range(ROUNDS)
                          for content in [sound[n % len(sound)]])]  # fmt: skip
    for content in contents:
        path.write_bytes(content)
        expected = python_reads(kind, path)
        found = readers.ask(kind, path=path, modules=MODULES)
        assert ("message" in found) == (expected is None), (found, content)
        counts["refused" if expected is None else "read"] += 1
        if expected is not None:
            assert found["value"] == expected, content
    assert min(counts.values()) > 5, counts


@pytest.mark.parametrize("kind", ["manifest", "receipt", "adapter_config", "safetensors"])
def test_every_hostile_file_is_refused_by_its_field(readers: Readers, kind: str, tmp_path: Path) -> None:
    path, cases = tmp_path / "file", [case for case in FILE["cases"] if case["kind"] == kind]
    for case in cases:
        path.write_bytes(content_of(case))
        told = case.get("claims", {})
        found = readers.ask("config" if kind == "adapter_config" else kind, path=path, modules=list(told))
        if told:
            assert [claimed for *_, claimed in found["value"]] == list(told.values()), case["name"]
        assert case.get("message_has", "") in found.get("message", ""), case["name"]
        assert ("message" in found) != case.get("accepted", False), case["name"]
    assert len(cases) > 60


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "too early at line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"a":\n 1 2}', "something unexpected at line 2, column 4"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'"\xf4\x90\x80\x80"', "not UTF-8"),
        (b'"\xc0\x80"', "not UTF-8"),
        (b"\xef\xbb\xbf\xef\xbb\xbf1", "line 1"),
        (b'{"a": 1}\0x', "a zero byte at line 1, column 9"),
        (b'{"a": 1} x', "line 1"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
        (b'{"a": 1, "\\u0061": 2}', "the key 'a' stands twice"),
        (b'{"__proto__": 1, "__proto__": 2}', "the key '__proto__' stands twice"),
        (b"[NaN]", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"1e400", "beyond float64"),
        (b"9" * 5000, "beyond float64"),
        (b"-" + b"9" * 309, "beyond float64"),
        (b'["\\udc00"]', "half of a surrogate pair"),
        (b'["\\ud83d\\u0041"]', "half of a surrogate pair"),
        (b"[" * 100_000, "nested more than 100 deep"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested more than 100 deep"),
        (b" " * 1001, "longer than 1000 bytes"),
    ],
)
def test_json_is_refused_in_one_line(readers: Readers, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    found = readers.ask("json", path=tmp_path / "x", limit=1000 if content.isspace() else 1 << 20)
    assert words in found["message"]
    assert found["message"].startswith("here is not JSON (")
    assert found["message"].endswith("); go on")
    assert len(found["message"]) < 200


def test_the_largest_numbers_and_depth_are_read(readers: Readers, tmp_path: Path) -> None:
    numbers = "[18446744073709551615, -9223372036854775808, 18446744073709551616, -0, 1E5, 1e-400, 0.1]"
    deep = "[" * 99 + numbers + "]" * 99
    (tmp_path / "x").write_text('\ufeff["\\ud83d\\ude00", ' + deep[1:])
    found = readers.ask("json", path=tmp_path / "x")["value"]
    assert found[0] == "😀"
    for _ in range(99):
        found = found[-1]
    assert found == as_64_bits(json.loads(numbers))


def test_values_are_shown_in_one_line(readers: Readers) -> None:
    texts = [
        "",
        "a'b",
        "a'b\"c",
        "x\n\t\r\\",
        "\x00\x7f\x85\u200b\u2028\U000e0001",
        "ü東🚀",
        "x" * 61,
        "é" * 60,
        "\ufffd",
    ]
    for text in texts:
        assert readers.ask("show", value=text)["value"] == show(text)
    for value in ([1, "a", [1], {}], {"a": [1]}, [1] * 5, dict.fromkeys("abcde"), 12, 0.1, ["x" * 70] * 3):
        assert readers.ask("show", value=value)["value"] == show(value)


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1 << 20, (1 << 20) + 3])
def test_hashes_are_those_of_the_standard(readers: Readers, size: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content := random.Random(size).randbytes(size))
    assert readers.ask("sha256", path=tmp_path / "x") == {"value": [hashlib.sha256(content).hexdigest()] * 2}


def test_names_of_files_are_safe_or_not_alike(readers: Readers) -> None:
    names = ["a", "a/b.c", "/a", "a//b", "a/", "", ".", "a/./b", "..", "a/../b", "..a", "a\\b", "c:a", "a\nb",
             "a\u2028", "a\x80", "%2e%2e/a", "ä" * 127, "ä" * 128, "a" * 255, "a" * 256,
             "/".join(["a" * 200] * 6)]  # fmt: skip
    assert [readers.ask("unsafe", text=name)["value"] for name in names] == [find_unsafe(name) or "" for name in names]


SPECS = (
    "none", " none ", "one", "one:0.5", "one:0.7+two:.3", " one : 1e-3 + two:-2. ", "one:+1E+2", "one:007.50",
    "a:1e-999", "", "+", "one+", "one:", "one:x", "one:1e999", "one:nan", "one:inf", "one:0x10", "one:1_0", "one:1,5",
    "one:1e", "one:.", "one:--1", "none+one", "none:1", "a b", "a/b", "a\\b", "a:b:c", "one\u00a0", "\u3000one", "ön:1",
    "one:٣", "x" * 300, "one+one:2", "one:1 2",
)  # fmt: skip


@pytest.mark.parametrize("text", SPECS)
def test_specs_are_read_alike(readers: Readers, text: str) -> None:
    found = readers.ask("spec", text=text)
    try:
        expected = [list(term) for term in parse_spec(text)]
    except AdapterError as error:
        assert found["code"] == 3
        if len(text) < 60:
            assert found["message"] == str(error)
    else:
        assert found == {"value": expected}


def test_a_name_that_nobody_has_is_told_with_the_nearest(readers: Readers) -> None:
    known = ["legal", "medical", "code"]
    assert readers.ask("spec", text="code:2+legal", known=known) == {"value": [["code", 2.0], ["legal", 1.0]]}
    message = readers.ask("spec", text="legl+code+zzz", known=known)["message"]
    assert message == "unknown adapter 'legl', 'zzz'; this model has: legal, medical, code; did you mean 'legal'?"
    assert readers.ask("spec", text="zzz", known=[])["message"].endswith("this model has: no adapters")


def test_whatever_a_spec_holds_is_told_in_one_short_line(readers: Readers) -> None:
    for text in ("/" + "\x03" * 60, "\U000e0001" * 70, "one:" + "\x7f" * 70, "+" * 10**5, "x" * 10**4):
        for known in (["one"], [f"{number:064}" for number in range(100)]):
            message = readers.ask("spec", text=text, known=known)["message"]
            assert message.isprintable()
            assert len(message) < 500 + 64 * 6 * (len(known) > 1)


def test_names_of_adapters_are_checked(readers: Readers) -> None:
    for name in ("a", "A.b_c-9", "9", "x" * 64):
        assert readers.ask("name", text=name) == {"value": True}
    for name in ("", "none", ".a", "-a", "a b", "ä", "a/b", "x" * 65, "a:1"):
        assert "cannot be used; start with a letter or digit" in readers.ask("name", text=name)["message"]


@pytest.mark.parametrize("seed", range(12))
def test_the_same_tokens_are_drawn(readers: Readers, seed: int, tmp_path: Path) -> None:
    """Rows of every shape, small and large vocabularies, every option; Python's draw is the measure."""
    chance = np.random.default_rng(seed)
    columns = int(chance.choice([1, 7, 128, 129, 5000]))
    logits = (chance.standard_normal((30, columns)) * chance.choice([0.1, 3, 30])).astype(np.float32)
    logits[::5] = np.round(logits[::5])  # equal ones
    options = {
        "temperature": float(chance.choice([0, 1e-7, 0.3, 1, 50])),
        "top_k": int(chance.choice([0, 1, 5, 127, 128, 10**6])),
        "top_p": float(chance.choice([1, 0.95, 0.5, 1e-6])),
        "min_p": float(chance.choice([0, 0.01, 0.2, 1])),
        "repetition_penalty": float(chance.choice([1, 1.3, 0.7])),
        "seed": int(chance.integers(2**63)),
    }
    prompt = [int(item) for item in chance.integers(columns, size=5)]
    (tmp_path / "x").write_bytes(logits.tobytes())
    found = readers.ask("sample", path=tmp_path / "x", columns=columns, prompt_ids=prompt, row=seed, **options)
    sampler = Sampler(SamplingOptions(**options), prompt, seed)
    assert found == {"value": [sampler.choose(row) for row in logits]}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("columns", [1, 3, 200])
def test_logits_that_are_no_numbers_give_some_token(
    readers: Readers, value: float, columns: int, tmp_path: Path
) -> None:
    logits = np.zeros((4, columns), np.float32)
    logits[0], logits[1, 0], logits[2, -1] = value, value, value
    (tmp_path / "x").write_bytes(logits.tobytes())
    for temperature, top_p, min_p, penalty in ((0, 1, 0, 1), (1, 1, 0, 1), (1, 0.5, 0.3, 1.5), (1e-9, 1, 1, 0.5)):
        options = {"temperature": temperature, "top_p": top_p, "min_p": min_p, "repetition_penalty": penalty}
        found = readers.ask(
            "sample", path=tmp_path / "x", columns=columns, prompt_ids=[0], row=0, top_k=0, seed=1, **options
        )
        assert len(found["value"]) == 4
        assert all(0 <= token < columns for token in found["value"])


def test_every_option_out_of_range_is_told_at_once(readers: Readers, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    wrong = {"temperature": -1, "top_k": -1, "top_p": 0, "min_p": 2, "repetition_penalty": 0, "seed": 0}
    found = readers.ask("sample", path=tmp_path / "x", columns=1, prompt_ids=[], row=0, **wrong)
    assert found["code"] == 1
    for name in list(wrong)[:5]:
        assert f"{name} is " in found["message"]


def test_an_invocation_is_of_the_vocabulary_and_of_a_decoder(readers: Readers, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER / "tiny-float/adapters/four", tmp_path / "four"))
    change_config(folder, alora_invocation_tokens=[383, 5])
    assert "value" in both(readers, folder)
    change_config(folder, alora_invocation_tokens=[5, 384])
    assert "its invocation has token 384, the vocabulary ends at 383" in both(readers, folder)["message"]
    encoder = FOLDER / "encoder-topics"
    classifier = Path(shutil.copytree(encoder / "adapters/topics", tmp_path / "topics"))
    change_config(classifier, alora_invocation_tokens=[5])
    assert "which only a decoder can run" in both(readers, classifier, encoder, trust=True)["message"]
