"""A head that is the embedding is one tensor, however often and under whatever name a checkpoint stores it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gguf_files import tiny_model, write_gguf
from safetensors.numpy import load_file, save_file

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.errors import CheckpointError
from edgelora.grid.make import Grid, parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora.values import Checkpoint

EMBEDDINGS = {"qwen2": "model.embed_tokens.weight", "gpt2": "transformer.wte.weight"}


def _save(folder: Path, architecture: str, **changes: Any) -> dict[str, np.ndarray]:
    tiny_model(architecture, **changes).save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def _rewrite(folder: Path, tensors: dict[str, np.ndarray], **config: Any) -> Checkpoint:
    save_file(tensors, folder / "model.safetensors")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | config), encoding="utf-8")
    return open_checkpoint(str(folder))


def _grid(checkpoint: Checkpoint) -> Grid:
    return plan_grid(checkpoint, parse_quant("int4"))


@pytest.mark.parametrize("architecture", EMBEDDINGS)
@pytest.mark.parametrize("stored", ["float32", "bfloat16", "wider", "unprefixed", "untied", "unsaid", "head alone"])
def test_a_copy_of_the_embedding_changes_nothing(stored: str, architecture: str, tmp_path: Path) -> None:
    tensors = _save(tmp_path, architecture, tie_word_embeddings=True)
    embedding = EMBEDDINGS[architecture]
    half = ml_dtypes.bfloat16
    if stored in ("bfloat16", "wider"):
        tensors[embedding] = tensors[embedding].astype(half)
    expected = _grid(_rewrite(tmp_path, tensors))

    config: dict[str, Any] = {}
    tensors["lm_head.weight"] = tensors[embedding].astype(np.float32 if stored == "wider" else tensors[embedding].dtype)
    if stored == "unprefixed":
        tensors = {name.removeprefix("model.").removeprefix("transformer."): value for name, value in tensors.items()}
    if stored == "untied":
        config = {"tie_word_embeddings": False}
    if stored == "head alone":  # safetensors' save_model keeps the first of two names
        del tensors[embedding]
    if stored == "unsaid":
        path = tmp_path / "config.json"
        written = json.loads(path.read_text(encoding="utf-8"))
        written.pop("tie_word_embeddings", None)
        path.write_text(json.dumps(written), encoding="utf-8")
    found = _rewrite(tmp_path, tensors, **config)
    assert found.names() == expected.checkpoint.names()
    assert found.config["tie_word_embeddings"] is True
    grid = _grid(found)
    assert (grid.base_fingerprint, grid.fingerprint) == (expected.base_fingerprint, expected.fingerprint)


@pytest.mark.parametrize("architecture", EMBEDDINGS)
@pytest.mark.parametrize("change", ["last value", "shape"])
def test_a_head_of_its_own_under_a_tied_config_is_refused(change: str, architecture: str, tmp_path: Path) -> None:
    tensors = _save(tmp_path, architecture, tie_word_embeddings=True)
    head = tensors[EMBEDDINGS[architecture]].copy()
    head[-1, -1] += 1
    tensors["lm_head.weight"] = head if change == "last value" else head[:-1]
    with pytest.raises(CheckpointError, match=r"stores an lm_head\.weight that differs from its embedding") as caught:
        _rewrite(tmp_path, tensors)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("architecture", EMBEDDINGS)
def test_an_untied_head_is_kept_everywhere(architecture: str, tmp_path: Path) -> None:
    tensors = _save(tmp_path, architecture, tie_word_embeddings=True)
    tensors["lm_head.weight"] = tensors[EMBEDDINGS[architecture]][::-1].copy()
    checkpoint = _rewrite(tmp_path, tensors, tie_word_embeddings=False)
    assert "lm_head.weight" in checkpoint.names()
    model = load_torch(checkpoint, None)
    np.testing.assert_array_equal(model.get_output_embeddings().weight.detach().numpy(), tensors["lm_head.weight"])
    np.testing.assert_array_equal(
        model.get_input_embeddings().weight.detach().numpy(), tensors[EMBEDDINGS[architecture]]
    )


def test_shapes_that_no_head_has_end_in_one_line(tmp_path: Path) -> None:
    tensors = _save(tmp_path, "qwen2", tie_word_embeddings=True)
    number = np.array(1, np.float32)
    for shapes in ({"lm_head.weight": number}, {"lm_head.weight": number, EMBEDDINGS["qwen2"]: number}):
        with pytest.raises(CheckpointError, match=r"stores an lm_head\.weight that differs"):
            _rewrite(tmp_path, {**tensors, **shapes})


@pytest.mark.parametrize("said", [False, None, "left out"])
def test_no_head_at_all_is_refused_where_nothing_ties_it(said: Any, tmp_path: Path) -> None:
    tensors = _save(tmp_path, "llama", tie_word_embeddings=True)  # a llama is untied unless its config says otherwise
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"tie_word_embeddings": said}
    if said == "left out":
        del config["tie_word_embeddings"]
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"lacks lm_head\.weight, and its config does not tie the head"):
        _rewrite(tmp_path, tensors)


def test_what_is_no_answer_to_whether_it_is_tied_is_refused(tmp_path: Path) -> None:
    tensors = _save(tmp_path, "llama")
    with pytest.raises(CheckpointError, match="tie_word_embeddings is 'no', expected true or false"):
        _rewrite(tmp_path, tensors, tie_word_embeddings="no")


@pytest.mark.parametrize("kinds", [("F32", "F32"), ("BF16", "F32"), ("Q4_0", "F32"), ("Q8_0", "Q8_0")])
@pytest.mark.parametrize("architecture", EMBEDDINGS)
def test_gguf_ties_what_holds_the_same_values(architecture: str, kinds: tuple[str, str], tmp_path: Path) -> None:
    first, second = kinds
    plain = tmp_path / "plain.gguf"
    model = tiny_model(architecture, tie_word_embeddings=True)

    def kind(name: str) -> str:
        return first if name in EMBEDDINGS.values() else second if name == "lm_head.weight" else "F32"

    write_gguf(plain, architecture, model, kind)
    expected = open_checkpoint(str(plain))
    embedding = expected.read(EMBEDDINGS[architecture])
    from torch import tensor

    for same in (True, False):
        untied = tiny_model(architecture, tie_word_embeddings=False)
        untied.load_state_dict(model.state_dict())
        untied.get_input_embeddings().weight.data = tensor(embedding)
        head = embedding.copy()
        if not same:
            head[-1] = 0
        untied.get_output_embeddings().weight.data = tensor(head)
        path = tmp_path / f"{same}.gguf"
        write_gguf(path, architecture, untied, kind)
        found = open_checkpoint(str(path))
        assert ("lm_head.weight" in found.names()) is not same
        assert found.config["tie_word_embeddings"] is same
        assert (_grid(found).base_fingerprint == _grid(expected).base_fingerprint) is same
