"""Every encoder and task: the exported graph against PyTorch, with an adapter for each row of a padded batch."""

from pathlib import Path

import numpy as np
import pytest
import transformers as tf

from edgelora.checkpoint.folder import open_checkpoint
from edgelora_runtime.manifest import (
    FEATURE_EXTRACTION,
    IMAGE_CLASSIFICATION,
    TEXT_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
)
from tests.parity.architectures import DIMS, MODELS, random_values
from tests.parity.encoder_both import answer_both
from tests.parity.encoders import TEXT_ENCODERS, random_encoder, write_encoder, write_tokenizer

TASKS = (TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION, FEATURE_EXTRACTION)
SHARED = ("deberta", "deberta-v2", "deberta-v3")  # a slot acts on a table of distances that all rows share


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_graph_equals_torch_with_an_adapter_a_row(name: str, task: str, tmp_path: Path) -> None:
    model = random_encoder(name, task)
    checkpoint = open_checkpoint(str(write_encoder(model, tmp_path / "model")), task)
    (tmp_path / "artifact").mkdir()
    exported, expected, found = answer_both(model, checkpoint, tmp_path / "artifact", rank=3)
    assert exported.encoder is not None
    assert exported.encoder.one_adapter is (name in SHARED)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("labels", "rank", "quant"), [(1, 1, "int4"), (2, 64, "int8"), (77, 0, "int4")])
def test_odd_heads_and_ranks_on_a_grid(labels: int, rank: int, quant: str, tmp_path: Path) -> None:
    model = random_encoder("roberta", TEXT_CLASSIFICATION)
    checkpoint = open_checkpoint(str(write_encoder(model, tmp_path / "model")), TEXT_CLASSIFICATION)
    (tmp_path / "artifact").mkdir()
    _, expected, found = answer_both(model, checkpoint, tmp_path / "artifact", rank, quant, labels)
    assert found.shape == (3, labels)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_images_are_classified_with_an_adapter_a_row(tmp_path: Path) -> None:
    model = random_encoder("vit", IMAGE_CLASSIFICATION)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "artifact").mkdir()
    _, expected, found = answer_both(
        model, open_checkpoint(str(tmp_path / "model")), tmp_path / "artifact", 3, "int8", labels=5
    )
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"granite", "olmo2"}))
def test_decoders_classify_what_they_have_read(name: str, tmp_path: Path) -> None:
    """Of granite and olmo2 transformers has no class with a head; ``test_encoder_checkpoints`` opens them."""
    config = MODELS[name]().config
    config.num_labels, config.pad_token_id, config.bos_token_id, config.eos_token_id = 3, 0, 1, 2
    model = random_values(lambda: tf.AutoModelForSequenceClassification.from_config(config))
    model.save_pretrained(tmp_path / "model")
    write_tokenizer(tmp_path / "model")
    checkpoint = open_checkpoint(str(tmp_path / "model"), TEXT_CLASSIFICATION)
    (tmp_path / "artifact").mkdir()
    exported, expected, found = answer_both(model, checkpoint, tmp_path / "artifact", rank=2)
    assert exported.vocab_size == DIMS["vocab_size"]
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "task"), [("gpt2", FEATURE_EXTRACTION), ("qwen3", FEATURE_EXTRACTION)])
def test_decoders_make_vectors_of_their_last_token(name: str, task: str, tmp_path: Path) -> None:
    config = MODELS[name]().config
    config.pad_token_id, config.bos_token_id, config.eos_token_id = 0, 1, 2
    model = random_values(lambda: tf.AutoModel.from_config(config))
    model.save_pretrained(tmp_path / "model")
    write_tokenizer(tmp_path / "model")
    checkpoint = open_checkpoint(str(tmp_path / "model"), task)
    (tmp_path / "artifact").mkdir()
    _, expected, found = answer_both(model, checkpoint, tmp_path / "artifact", rank=2)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
