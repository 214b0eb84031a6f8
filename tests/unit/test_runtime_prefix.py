"""A prefix kept in memory and in a file: the same answers, and refused where it does not belong."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgelora_runtime import ArtifactError, InputError, Model, load
from edgelora_runtime.safetensors import read_safetensors, write_safetensors
from tests.unit.test_runtime_model import ARTIFACT, CONTEXT, LONG

PREFIX, ENDS = LONG[:60], ([9, 9, 8], [7, 30], [11])


@pytest.fixture
def model() -> Model:
    return load(ARTIFACT, threads=1)


def expected(ids: list[int], spec: str) -> list[int]:
    return load(ARTIFACT, threads=1).generate_ids(ids, adapter=spec, max_new_tokens=6)


@pytest.mark.parametrize("spec", ["none", "four", "one:0.5+eight:0.5"])
def test_a_kept_prefix_is_computed_once_and_changes_no_answer(spec: str, model: Model, fed: list[int]) -> None:
    assert model.keep_prefix(PREFIX, adapter=spec) == len(PREFIX)
    for end in ENDS:
        other = "eight" if spec != "eight" else "one"
        model.generate_ids(LONG[5:25], adapter=other, max_new_tokens=2)  # the cache is another adapter's now
        fed.clear()
        assert model.generate_ids([*PREFIX, *end], adapter=spec, max_new_tokens=6) == expected([*PREFIX, *end], spec)
        assert fed[0] == len(end)
    fed.clear()
    assert model.generate_ids([*PREFIX[:40], 5], adapter=spec, max_new_tokens=6) == expected([*PREFIX[:40], 5], spec)
    assert fed[0] == 1, "a shorter beginning is shared as well"
    fed.clear()
    model.generate_ids(PREFIX, adapter="one", max_new_tokens=1)
    assert fed[0] == len(PREFIX), "another adapter has other keys and values"


def test_a_file_serves_the_next_process(tmp_path: Path, fed: list[int]) -> None:
    file = tmp_path / "instruction.prefix"
    first = load(ARTIFACT, threads=1)
    assert first.keep_prefix(PREFIX, file, adapter="four") == 60
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    second = load(ARTIFACT, threads=1, twin=True)
    assert second.load_prefix(file, adapter="four") == 60
    fed.clear()
    ids = [*PREFIX, 9, 9]
    found = second.logits(ids, adapter="four", positions=[60, 61])
    assert fed == [2]
    np.testing.assert_allclose(found, first.logits(ids, adapter="four")[60:], atol=1e-5)
    assert second.generate_ids(LONG, adapter="four", max_new_tokens=3) == first.generate_ids(
        LONG, adapter="four", max_new_tokens=3
    )  # the cache grows beyond what the prefix needed


def test_text_and_messages_make_prefixes_of_what_is_asked_later(model: Model, fed: list[int]) -> None:
    system = {"role": "system", "content": "Antworte kurz, auf Zürichdeutsch. 🚀"}
    n_tokens = model.keep_prefix([system], adapter="four")
    fed.clear()
    found = model.chat([system, {"role": "user", "content": "Hoi"}], adapter="four", max_new_tokens=4)
    assert fed[0] == found.usage.prompt_tokens - n_tokens > 0
    plain = load(ARTIFACT, threads=1)
    again = plain.chat([system, {"role": "user", "content": "Hoi"}], adapter="four", max_new_tokens=4)
    assert again.token_ids == found.token_ids
    model.keep_prefix("Which word is it: ", adapter="four")  # an example; what other prompts share with it is reused
    fed.clear()
    found = model.generate("Which word is it: one", adapter="four", max_new_tokens=4)
    assert fed[0] < found.usage.prompt_tokens
    assert found.token_ids == plain.generate("Which word is it: one", adapter="four", max_new_tokens=4).token_ids


def test_a_prefix_of_something_else_is_refused(tmp_path: Path, model: Model) -> None:
    file = tmp_path / "p.prefix"
    model.keep_prefix(PREFIX, file, adapter="four")
    refused = "was kept with another artifact or adapter"
    for other in ("none", "one", "four:0.5"):
        with pytest.raises(ArtifactError, match=refused):
            model.load_prefix(file, adapter=other)
    with pytest.raises(ArtifactError, match=refused):
        load(ARTIFACT.parent / "tiny-int8", threads=1).load_prefix(file, adapter="four")
    model.load_adapter("four", ARTIFACT / "adapters" / "eight")  # the same name, other factors
    with pytest.raises(ArtifactError, match=refused):
        model.load_prefix(file, adapter="four")
    np.testing.assert_allclose(
        model.logits(PREFIX, adapter="four"), load(ARTIFACT, threads=1).logits(PREFIX, adapter="eight"), atol=1e-4
    )


def test_damaged_files_are_refused(tmp_path: Path, model: Model) -> None:
    file = tmp_path / "p.prefix"
    model.keep_prefix(PREFIX, file, adapter="four")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=r"p\.prefix.*damaged|truncated"):
        model.load_prefix(file, adapter="four")
    file.write_bytes(content)
    tensors = read_safetensors(file)
    write_safetensors(file, {**tensors, "cache": tensors["cache"][:, :, :-1]})
    with pytest.raises(ArtifactError, match="expected float32"):
        model.load_prefix(file, adapter="four")
    write_safetensors(file, {"tokens": tensors["tokens"]})
    with pytest.raises(ArtifactError, match="holds tokens, expected cache, made_with, tokens"):
        model.load_prefix(file, adapter="four")
    shutil.copyfile(ARTIFACT / "adapters" / "four" / "adapter_model.safetensors", file)
    with pytest.raises(ArtifactError, match="expected cache, made_with, tokens"):
        model.load_prefix(file, adapter="four")
    with pytest.raises(ArtifactError, match="is missing"):
        model.load_prefix(tmp_path / "none", adapter="four")


def test_prefixes_that_cannot_be(model: Model) -> None:
    with pytest.raises(InputError):
        model.keep_prefix([], adapter="four")
    with pytest.raises(InputError, match=f"context length of .* is {CONTEXT}"):
        model.keep_prefix([7] * (CONTEXT + 1), adapter="four")
