"""Encoders from disk: one set of names however they were saved, heads apart, and one line for what cannot be held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.numpy import load_file, save_file

from edgelora.checkpoint.folder import open_checkpoint
from edgelora.checkpoint.names import is_embedding, is_head, is_layer_linear, is_linear
from edgelora.checkpoint.task import with_head
from edgelora.errors import CheckpointError
from edgelora.grid.make import parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.open_base import open_base
from edgelora.torch_model.task_model import answer
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    MULTI_LABEL,
    REGRESSION,
    SINGLE_LABEL,
    TEXT_CLASSIFICATION,
    TEXT_GENERATION,
    TOKEN_CLASSIFICATION,
    HeadInfo,
)
from tests.parity.architectures import MODELS
from tests.parity.encoders import CONFIGS, TEXT_ENCODERS, random_encoder, random_values, write_encoder

_TASKS = (TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION, FEATURE_EXTRACTION)
_IDS = torch.tensor([[1, 5, 9, 7, 2, 0], [1, 8, 20, 30, 40, 2]])
_MASK = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]])


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def _refused(folder: Path, message: str, task: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        open_base(str(folder), task)
    assert "\n" not in str(caught.value)


def _expected(model: Any, task: str) -> torch.Tensor:
    with torch.no_grad():
        output = model(input_ids=_IDS, attention_mask=_MASK)
    if task != FEATURE_EXTRACTION:
        return output.logits
    mask = _MASK.unsqueeze(-1)
    return (output.last_hidden_state * mask).sum(1) / mask.sum(1)


def _answered(folder: Path, task: str | None = None) -> torch.Tensor:
    checkpoint = open_base(str(folder), task)
    with torch.no_grad():
        return answer(load_torch(checkpoint, None), checkpoint.task, _IDS, _MASK)


@pytest.mark.parametrize("task", _TASKS)
@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_every_encoder_answers_as_transformers_does(name: str, task: str, tmp_path: Path) -> None:
    model = random_encoder(name, task)
    folder = write_encoder(model, tmp_path / "tiny")
    checkpoint = open_base(str(folder))
    assert checkpoint.task.name == task
    assert checkpoint.eos_token_ids == ()
    assert checkpoint.task.context_length in (38, 39, 40)
    assert not any(map(is_head, checkpoint.names()))
    assert all(map(is_head, checkpoint.head_names()))
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    for key in (*checkpoint.names(), *checkpoint.head_names()):
        assert checkpoint.shape(key) == state[key].shape
        np.testing.assert_array_equal(checkpoint.read(key), state[key])
    assert set(state) - set(checkpoint.names()) - set(checkpoint.head_names()) <= {
        key for key in state if task == FEATURE_EXTRACTION and key.startswith("pooler.")
    }
    if task == FEATURE_EXTRACTION:
        assert checkpoint.task.head is None
    else:
        assert checkpoint.task.head == HeadInfo(("label 0", "label 1", "label 2"), SINGLE_LABEL)
    torch.testing.assert_close(_answered(folder), _expected(model, task), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_a_bare_model_is_the_same_base_for_every_task(name: str, tmp_path: Path) -> None:
    model = random_encoder(name, FEATURE_EXTRACTION)
    write_encoder(model.to(torch.bfloat16), tmp_path / "bare")
    bare = open_checkpoint(str(tmp_path / "bare"))
    tensors = {key: bare.read(key) for key in bare.names()}
    for task in (TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION):
        opened = open_base(str(tmp_path / "bare"), task)
        assert opened.task.head is None
        whole = random_encoder(name, task)
        prefix = f"{whole.base_model_prefix}."
        assert {key.removeprefix(prefix) for key in opened.names()} == set(tensors)
        for key in opened.names():
            np.testing.assert_array_equal(opened.read(key), tensors[key.removeprefix(prefix)])
        first, second = load_torch(opened, None), load_torch(opened, None)
        for key, value in first.named_parameters():
            torch.testing.assert_close(second.get_parameter(key), value, rtol=0, atol=0)
            assert is_head(key) or key in opened.names()


def test_heads_of_pretraining_are_left_out_with_a_note(tmp_path: Path) -> None:
    config = CONFIGS["bert"][0](**CONFIGS["bert"][1])
    model = random_values(tf.BertForPreTraining(config))
    write_encoder(model, tmp_path / "tiny")
    checkpoint = open_base(str(tmp_path / "tiny"))
    assert checkpoint.task.name == FEATURE_EXTRACTION
    assert any("heads of pretraining" in note for note in checkpoint.notes)
    classifier = open_base(str(tmp_path / "tiny"), TEXT_CLASSIFICATION)
    assert classifier.head_names() == ("bert.pooler.dense.bias", "bert.pooler.dense.weight")
    assert classifier.task.head is None
    tensors = load_file(tmp_path / "tiny/model.safetensors")
    tensors["embeddings.position_ids"] = np.arange(40)[None]
    old = {key.replace("LayerNorm.weight", "LayerNorm.gamma"): value for key, value in tensors.items()}
    save_file(
        {key.replace("LayerNorm.bias", "LayerNorm.beta"): value for key, value in old.items()},
        tmp_path / "tiny/model.safetensors",
    )
    assert open_base(str(tmp_path / "tiny")).names() == checkpoint.names()


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_a_masked_language_model_is_a_base_without_a_head(name: str, tmp_path: Path) -> None:
    kind, settings = CONFIGS[name]
    model = random_values(tf.AutoModelForMaskedLM.from_config(kind(**settings)))
    model.tie_weights()
    folder = write_encoder(model, tmp_path / "tiny")
    bare = open_base(str(folder))
    assert bare.task.name == FEATURE_EXTRACTION
    with torch.no_grad():
        hidden = model.base_model(input_ids=_IDS, attention_mask=_MASK).last_hidden_state
    mask = _MASK.unsqueeze(-1)
    torch.testing.assert_close(_answered(folder), (hidden * mask).sum(1) / mask.sum(1), rtol=0, atol=1e-5)
    for task in (TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION):
        checkpoint = open_base(str(folder), task)
        assert checkpoint.task.head is None
        assert len(checkpoint.names()) == len(bare.names())
        kept = {"head.dense.weight", "head.norm.weight"} if name == "modernbert" else set()
        assert set(checkpoint.head_names()) == kept


def test_tables_that_nothing_reads_are_left_out(tmp_path: Path) -> None:
    folder = write_encoder(random_encoder("deberta-v3", TEXT_CLASSIFICATION), tmp_path / "text")
    random_encoder("vit", IMAGE_CLASSIFICATION).save_pretrained(tmp_path / "image")
    for path, key in (
        (folder, "deberta.embeddings.position_embeddings.weight"),
        (tmp_path / "image", "vit.embeddings.mask_token"),
    ):
        tensors = load_file(path / "model.safetensors")
        save_file({**tensors, key: np.zeros((40, 32), np.float32)}, path / "model.safetensors")
        checkpoint = open_base(str(path))
        assert {*checkpoint.names(), *checkpoint.head_names()} == set(tensors)
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "deberta.more.weight": np.zeros(3, np.float32)}, folder / "model.safetensors")
    _refused(folder, "deberta.more.weight is unexpected")


def test_a_classifier_of_another_task_is_left_out(tmp_path: Path) -> None:
    folder = write_encoder(random_encoder("bert", TOKEN_CLASSIFICATION), tmp_path / "tiny")
    checkpoint = open_base(str(folder), TEXT_CLASSIFICATION)
    assert checkpoint.head_names() == ()
    assert checkpoint.task.head is None
    assert any("heads of other tasks" in note for note in checkpoint.notes)


@pytest.mark.parametrize(
    ("labels", "given", "expected"), [(1, None, REGRESSION), (1, MULTI_LABEL, MULTI_LABEL), (2, None, SINGLE_LABEL)]
)
def test_the_problem_of_a_head_is_that_of_transformers(
    labels: int, given: str | None, expected: str, tmp_path: Path
) -> None:
    folder = write_encoder(random_encoder("bert", TEXT_CLASSIFICATION, labels, problem_type=given), tmp_path / "tiny")
    head = open_checkpoint(str(folder)).task.head
    assert head is not None
    assert (head.problem_type, len(head.labels)) == (expected, labels)
    _edit(folder / "config.json", problem_type="ranking")
    _refused(folder, "problem_type is 'ranking'; expected one of")


def test_a_fresh_head_has_its_labels_and_leaves_the_pooler(tmp_path: Path) -> None:
    folder = write_encoder(random_encoder("bert", TEXT_CLASSIFICATION), tmp_path / "tiny")
    fresh = with_head(open_checkpoint(str(folder)), HeadInfo(tuple("abcde"), MULTI_LABEL))
    assert fresh.head_names() == ("bert.pooler.dense.bias", "bert.pooler.dense.weight")
    model = load_torch(fresh, None)
    assert model.config.id2label[4] == "e"
    assert model.classifier.weight.shape == (5, 32)
    assert not model.classifier.bias.any()
    assert 0.01 < float(model.classifier.weight.detach().std()) < 0.03
    pooler = "bert.pooler.dense.weight"
    np.testing.assert_array_equal(model.get_parameter(pooler).detach().numpy(), fresh.read(pooler))
    with pytest.raises(CheckpointError, match="which has no head"):
        with_head(open_checkpoint(str(folder), FEATURE_EXTRACTION), HeadInfo(("a",)))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_decoder_takes_a_classifier(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    MODELS[name]().save_pretrained(tmp_path / "tiny")
    _edit(tmp_path / "tiny/config.json", eos_token_id=2)
    checkpoint = open_base(str(tmp_path / "tiny"), TEXT_CLASSIFICATION)
    (tmp_path / "tiny/generation_config.json").unlink()
    written = open_checkpoint(str(tmp_path / "tiny"))
    assert set(written.names()) - set(checkpoint.names()) <= {"lm_head.weight"}
    model = load_torch(with_head(checkpoint, HeadInfo(tuple("abc"))), None)
    assert model.score.weight.shape == (3, model.config.hidden_size)
    with torch.no_grad():
        short = answer(model, checkpoint.task, _IDS[:1, :5], _MASK[:1, :5])
        torch.testing.assert_close(answer(model, checkpoint.task, _IDS, _MASK)[:1], short, rtol=0, atol=1e-5)
    model.save_pretrained(tmp_path / "classifier")
    again = open_base(str(tmp_path / "classifier"))
    assert again.task.name == TEXT_CLASSIFICATION
    assert again.names() == checkpoint.names()
    assert again.task.head == HeadInfo(tuple("abc"))
    vectors = open_base(str(tmp_path / "tiny"), FEATURE_EXTRACTION)
    assert vectors.task.pooling == "lasttoken"
    assert {key.partition(".")[2] for key in checkpoint.names()} == set(vectors.names())


def test_an_image_classifier_opens(tmp_path: Path) -> None:
    model = random_encoder("vit", IMAGE_CLASSIFICATION)
    model.save_pretrained(tmp_path / "tiny")
    checkpoint = open_base(str(tmp_path / "tiny"))
    assert (checkpoint.task.name, checkpoint.task.context_length) == (IMAGE_CLASSIFICATION, 0)
    assert checkpoint.tokenizer is None
    images = torch.linspace(0, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(load_torch(checkpoint, None)(images).logits, model(images).logits, rtol=0, atol=1e-6)
    _refused(
        tmp_path / "tiny",
        "cannot be opened for 'text-classification'; choose image-classification",
        TEXT_CLASSIFICATION,
    )


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_linears_are_the_matrices_of_the_layers(name: str, tmp_path: Path) -> None:
    task = IMAGE_CLASSIFICATION if name == "vit" else TEXT_CLASSIFICATION
    model = random_encoder(name, task)
    model.save_pretrained(tmp_path / "tiny")
    grid = plan_grid(open_checkpoint(str(tmp_path / "tiny")), parse_quant("int4", 16))
    layers = (".layer.", ".layers.", ".albert_layers.")
    expected = {
        f"{key}.weight"
        for key, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and any(part in key for part in layers)
    }
    assert {key for key in grid.matrices if not is_embedding(key)} == expected
    assert all(map(is_layer_linear, expected))
    tables = {key for key in grid.matrices if is_embedding(key)}
    assert len(tables) == (0 if name == "vit" else 1)
    assert not any(is_linear(key) for key in (*tables, *grid.checkpoint.head_names()))
    packed = load_torch(grid.checkpoint, grid, low_memory=True)
    plain = load_torch(grid.checkpoint, grid)
    with torch.no_grad():
        inputs = {"pixel_values": torch.ones(1, 3, 16, 16)} if name == "vit" else {"input_ids": _IDS[1:]}
        torch.testing.assert_close(packed(**inputs).logits, plain(**inputs).logits, rtol=1e-4, atol=1e-4)


def test_modernbert_in_the_spelling_of_transformers_5(tmp_path: Path) -> None:
    model = random_encoder("modernbert", TOKEN_CLASSIFICATION)
    folder = write_encoder(model, tmp_path / "tiny")
    before, expected = open_checkpoint(str(folder)), _answered(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("global_rope_theta", "local_rope_theta", "global_attn_every_n_layers"):
        config.pop(key)
    kinds = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    theta = {"full_attention": 160000.0, "sliding_attention": 10000.0}
    config["rope_parameters"] = {kind: {"rope_type": "default", "rope_theta": value} for kind, value in theta.items()}
    path.write_text(json.dumps(config | {"layer_types": kinds}), encoding="utf-8")
    again = open_checkpoint(str(folder))
    assert {**before.config} == {**again.config}
    torch.testing.assert_close(_answered(folder), expected, rtol=0, atol=0)
    _edit(path, layer_types=kinds[1:] + kinds[:1])
    _refused(folder, "expected full_attention in every n-th layer")
    _edit(path, layer_types=kinds, global_rope_theta=7.0)
    _refused(folder, "config.json says global_rope_theta 7.0, and 160000.0")


def _sentence_transformers(folder: Path, *kinds: str, **pooling: bool) -> None:
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": "" if index == 0 else f"{index}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, **pooling}), encoding="utf-8"
    )


def test_pooling_is_read_from_the_files_of_sentence_transformers(tmp_path: Path) -> None:
    folder = write_encoder(random_encoder("mpnet", FEATURE_EXTRACTION), tmp_path / "tiny")
    _sentence_transformers(
        folder, "Transformer", "Pooling", "Normalize", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False
    )
    (folder / "sentence_bert_config.json").write_text(
        '{"max_seq_length": 20, "do_lower_case": false}', encoding="utf-8"
    )
    task = open_checkpoint(str(folder)).task
    assert (task.pooling, task.normalize, task.context_length) == ("cls", True, 20)
    vectors = _answered(folder)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    _sentence_transformers(folder, "Transformer", "Pooling", pooling_mode_max_tokens=True)
    _refused(folder, "tiny pools by max_tokens; expected one of mean_tokens, cls_token and lasttoken")
    _sentence_transformers(folder, "Transformer", "Pooling", pooling_mode_mean_tokens=True, pooling_mode_cls_token=True)
    _refused(folder, "tiny pools by mean_tokens, cls_token; expected one of")
    _sentence_transformers(folder, "Transformer", "Pooling", "Dense", pooling_mode_mean_tokens=True)
    _refused(folder, r"modules.json has the modules .*Dense.*; expected Transformer, Pooling and, at most, Normalize")
    _sentence_transformers(folder, "Transformer", "Pooling", pooling_mode_mean_tokens=True)
    (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    _refused(folder, "sets do_lower_case, and its tokenizer does not lower the case")


def test_a_decoder_with_pooling_makes_vectors(tmp_path: Path) -> None:
    MODELS["qwen3"]().save_pretrained(tmp_path / "tiny")
    assert open_checkpoint(str(tmp_path / "tiny")).task.name == TEXT_GENERATION
    _sentence_transformers(tmp_path / "tiny", "Transformer", "Pooling", "Normalize", pooling_mode_lasttoken=True)
    task = open_base(str(tmp_path / "tiny")).task
    assert (task.name, task.pooling, task.normalize) == (FEATURE_EXTRACTION, "lasttoken", True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type_vocab_size": -1}, "type_vocab_size is -1, expected a whole number from 0"),
        ({"relative_attention": "yes"}, "relative_attention is 'yes', expected true or false"),
        ({"hidden_act": "sinus"}, "hidden_act is 'sinus', the graph has"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key', expected absolute"),
        ({"is_decoder": True}, "is_decoder is set"),
        ({"num_attention_heads": 5}, "hidden_size 32 is no multiple of 5 heads"),
        ({"num_hidden_layers": 3}, "lacks 16 tensors"),
        ({"num_hidden_layers": 1}, "has layer 1, but its config names 1 layers"),
        ({"intermediate_size": 64}, r"intermediate.dense.bias has shape \(48,\), expected \(64,\)"),
    ],
)
def test_what_no_graph_holds_is_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = write_encoder(random_encoder("bert", TEXT_CLASSIFICATION), tmp_path / "tiny")
    _edit(folder / "config.json", **changes)
    _refused(folder, message)


def test_labels_that_repeat_are_numbered(tmp_path: Path) -> None:
    folder = write_encoder(random_encoder("bert", TEXT_CLASSIFICATION), tmp_path / "tiny")
    _edit(folder / "config.json", id2label={"0": "a", "1": "a", "2": "b"})
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.task.head == HeadInfo(("LABEL_0", "LABEL_1", "LABEL_2"))
    assert any("does not name 3 labels" in note for note in checkpoint.notes)
    _edit(folder / "config.json", id2label={"0": "a", "1": "b"})
    _refused(folder, r"classifier.weight has shape \(3, 32\), expected \(2, 32\)")
