"""``adapter add --store``: what the factors are on every device, and a receipt of those."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from edgelora.adapter.narrow import STORES, largest_error, narrow
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.store import add_adapter
from edgelora.errors import AdapterError, ConfigError
from edgelora_runtime import load
from edgelora_runtime.adapter import WEIGHTS_FILE, Adapter, Factors, read_adapter
from edgelora_runtime.check_files import check_files
from edgelora_runtime.fused import FACTORS, pack_fused
from edgelora_runtime.grid_of_factors import find_codes, round_to_codes
from edgelora_runtime.manifest import FLOAT_STORE, HALF_STORE, INT8_STORE, file_info, read_manifest
from edgelora_runtime.probe import check_adapter
from edgelora_runtime.receipt import Probe, Receipt, TopTokens, read_receipt, write_receipt
from edgelora_runtime.safetensors import read_safetensors
from tests.tiny import write_adapter

IDS = [5, 9, 2, 7, 11, 3]


@pytest.mark.parametrize(("store", "error"), [(FLOAT_STORE, 0.0), (HALF_STORE, 6e-4), (INT8_STORE, 0.02)])
def test_factors_are_rounded_and_no_more(tmp_path: Path, store: str, error: float) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "a", rank=8))
    rounded = narrow(adapter, store)
    assert error / 20 <= largest_error(adapter, rounded) <= error
    again = narrow(rounded, store)
    for module, item in rounded.factors.items():
        assert np.array_equal(item.a, again.factors[module].a)
        assert np.array_equal(item.b, again.factors[module].b)


def test_codes_are_found_again_in_floats() -> None:
    random = np.random.default_rng(0)
    for scale in (1e-4, 0.37, 3.0, 1e4):
        values = (random.standard_normal((9, 50)) * scale).astype(np.float32)
        values[3] = 0
        values[4, 1:] *= 1e-6
        codes, scales = round_to_codes(values)
        assert np.abs(codes.astype(int)).max() == 127 or np.abs(codes.astype(int)).max() > 112
        floats = codes * scales[:, None]
        assert np.abs(floats - values).max() <= scales.max() / 2 * 1.0001
        found = find_codes([floats, floats[:2]])
        assert found is not None
        for (some, steps), rows in zip(found, (floats, floats[:2]), strict=True):
            assert np.array_equal(some * steps[:, None], rows)
    assert find_codes([values]) is None
    floats[0, 0] *= 1.001
    assert find_codes([floats[1:], floats]) is None


@pytest.mark.parametrize("store", STORES)
def test_an_added_adapter_is_what_was_stored_and_its_receipt_tells_of_that(
    artifact: Path, tmp_path: Path, store: str
) -> None:
    folder = write_adapter(tmp_path / "a", rank=8, seed=7)
    model, before = load(artifact), read_adapter(folder)
    model.load_adapter("a", folder)
    base, adapted = (model.logits(IDS, adapter=spec, positions=[5])[0].astype(np.float64) for spec in ("none", "a"))
    logs = [item - np.log(np.exp(item).sum()) for item in (base, adapted)]
    tops = [np.argsort(-item)[:8] for item in logs]
    stored = [TopTokens(tuple(top.tolist()), tuple(logs[i][top].tolist())) for i, top in enumerate(tops)]
    probe = Probe(
        tuple(IDS), float(np.sum(np.exp(logs[0]) * (logs[0] - logs[1]))), *stored, greedy=(1, 2), base_greedy=()
    )
    manifest = read_manifest(artifact)
    weights = file_info(folder / WEIGHTS_FILE).sha256
    write_receipt(folder, Receipt("tiny", manifest.base.fingerprint, weights=weights, probes=(probe,)))

    info = add_adapter(artifact, "a", folder, store=store)
    assert info.store == read_manifest(artifact).adapters[-1].store == store
    check_files(artifact, read_manifest(artifact))
    place = artifact / info.path
    after, expected = read_adapter(place), narrow(before, store)
    for module, item in expected.factors.items():
        assert np.array_equal(after.factors[module].a, item.a)
        assert np.array_equal(after.factors[module].b, item.b)
    receipt = read_receipt(place)
    assert receipt is not None
    assert receipt.weights == file_info(place / WEIGHTS_FILE).sha256
    (told,) = receipt.probes
    again = load(artifact)
    found = again.logits(IDS, adapter="a", positions=[5])[0].astype(np.float64)
    found -= np.log(np.exp(found).sum())
    assert np.abs(found[list(told.adapted.ids)] - told.adapted.logprobs).max() < 2e-5
    assert len(told.adapted.ids) == 8
    if store != FLOAT_STORE:
        assert told.greedy == tuple(again.generate_ids(IDS, adapter="a", max_new_tokens=2))
        assert told.base_greedy == ()
        assert told.adapted != probe.adapted
        assert {layer.rank for layer in receipt.layers.values()} == {8}
    result = check_adapter(again, "a", place)
    assert result is not None
    assert result.passed


def test_the_fused_packer_takes_the_narrow_form(artifact: Path, tmp_path: Path) -> None:
    folder, sizes = write_adapter(tmp_path / "a", rank=16), []
    for store in STORES:
        info = add_adapter(artifact, store, folder, store=store)
        packed = pack_fused(read_adapter(artifact / info.path), read_manifest(artifact).slots)
        sizes.append(packed[FACTORS].nbytes)
        types = {str(item.dtype) for item in read_safetensors(artifact / info.path / WEIGHTS_FILE).values()}
        assert types == {{FLOAT_STORE: "float32", HALF_STORE: "float16", INT8_STORE: "int8"}[store]}
    assert sizes[0] > 1.8 * sizes[1] > 3 * sizes[2]


def test_numbers_beyond_float16_are_refused_and_int8_holds_them(tmp_path: Path) -> None:
    large = Adapter({"m": Factors(np.full((1, 4), 1e6, np.float32), np.ones((4, 1), np.float32), 1.0)})
    with pytest.raises(AdapterError, match=r"m holds 1e\+06, more than float16 can; add it with --store int8"):
        narrow(large, HALF_STORE)
    assert largest_error(large, narrow(large, INT8_STORE)) < 0.1


def test_another_store_is_refused(artifact: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    before = (artifact / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match="--store is 'int4'; choose float32, float16 or int8"):
        add_adapter(artifact, "a", folder, store="int4")
    assert (artifact / "manifest.json").read_bytes() == before
    with pytest.raises(ConfigError, match="--store is 'int4'"):
        ExportOptions(store="int4", adapters={"a": folder})
    with pytest.raises(ConfigError, match="--store rounds the factors of adapters"):
        ExportOptions(store=INT8_STORE)


def test_the_manifest_keeps_what_was_there(artifact: Path, tmp_path: Path) -> None:
    add_adapter(artifact, "a", write_adapter(tmp_path / "a"), store=INT8_STORE)
    stores = [item["store"] for item in json.loads((artifact / "manifest.json").read_text())["adapters"]]
    assert stores == [FLOAT_STORE, FLOAT_STORE, INT8_STORE]
    assert dataclasses.asdict(read_manifest(artifact).adapters[-1])["store"] == INT8_STORE
