"""What PEFT saves, read as it is or converted, gives PEFT's own logits in every runtime, or is refused by name.

``python -m tests.parity.peft_matrix`` prints the figures.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelora.artifact.convert_adapters import plain_for
from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.cli import main
from edgelora.errors import AdapterError
from edgelora.merging.merge import merge_adapter
from edgelora_runtime.model import load
from tests.parity.peft_kinds import CONVERTED, IDS, MERGED, PLAIN, REFUSED, Kind, make_adapter
from tests.parity.peft_matrix import ROOT, Matrix, adapter_name, far

BASES = ("llama", "phi3", "gpt2")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    made = Matrix(tmp_path_factory.mktemp("peft"))
    for kind in PLAIN:
        made.add(kind, converted=False)
    for kind in CONVERTED:
        made.add(kind, converted=True)
    yield made


@pytest.mark.parametrize("runtime", ["python", "javascript", "cpp"])
@pytest.mark.parametrize("base", BASES)
def test_every_kind_gives_the_logits_of_peft(matrix: Matrix, base: str, runtime: str) -> None:
    found = getattr(matrix, f"of_{runtime}")(base)
    expected = matrix.expected[base]
    assert found.keys() == expected.keys()
    assert {name: far(found[name], expected[name]) for name in found if far(found[name], expected[name]) > 1e-4} == {}


def test_no_kind_is_left_out(matrix: Matrix) -> None:
    assert set(matrix.expected) == set(BASES)
    names = [adapter_name(kind.name) for kind in (*PLAIN, *CONVERTED, *MERGED, *REFUSED)]
    assert len(names) == len(set(names))
    assert sum(map(len, matrix.expected.values())) == len(PLAIN) + len(CONVERTED)
    page = (ROOT / "docs" / "peft.md").read_text(encoding="utf-8")
    assert [kind.name for kind in (*PLAIN, *CONVERTED, *MERGED) if f"\n| {kind.name} | {kind.base} |" not in page] == []
    assert [kind.name for kind in REFUSED if f"\n- {kind.name}\n" not in page] == []


@pytest.mark.parametrize("kind", MERGED, ids=lambda kind: kind.name)
def test_what_no_slot_holds_is_merged_exactly(matrix: Matrix, kind: Kind) -> None:
    artifact, expected = matrix.merged(kind)
    with load(artifact) as model:
        assert far(model.logits(IDS), expected) <= 1e-4


def test_export_and_add_convert_by_themselves(
    matrix: Matrix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, kinds = str(matrix.root / "llama"), {kind.name: kind for kind in (*CONVERTED, *MERGED)}
    pissa, vera, dora = (kinds[name] for name in ("pissa, from the base", "VeRA", "use_dora"))
    expected = {kind.name: make_adapter(kind, tmp_path / adapter_name(kind.name)) for kind in (pissa, vera, dora)}
    folders = {name: tmp_path / adapter_name(name) for name in expected}
    plain, merged = str(tmp_path / "plain"), str(tmp_path / "merged")
    options = ["--quant", "none", "--accuracy-level", "0"]
    assert main(["export", base, "-o", plain, *options, "--adapter", f"pissa={folders[pissa.name]}"]) == 0
    assert "pissa's start, taken from the weights of" in capsys.readouterr().err
    assert main(["adapter", "add", plain, f"vera={folders[vera.name]}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["converted"] == ["VeRA as the LoRA that it is, exactly"]
    assert main(["export", base, "-o", merged, *options, "--merge", str(folders[dora.name])]) == 0
    with load(plain) as model:
        assert far(model.logits(IDS, adapter="pissa"), expected[pissa.name]) <= 1e-4
        assert far(model.logits(IDS, adapter="vera"), expected[vera.name]) <= 1e-4
    with load(merged) as model:
        assert far(model.logits(IDS), expected[dora.name]) <= 1e-4
    assert main(["adapter", "add", plain, f"dora={folders[dora.name]}"]) == 2
    assert "is DoRA, and the slots of this artifact have no place for its gains; export" in capsys.readouterr().err


def test_what_cannot_be_merged_is_refused(matrix: Matrix, tmp_path: Path) -> None:
    for name, told in (
        ("lora_bias without a bias", "is not in the base"),
        ("embedding, tied", "tied"),
        ("modules_to_save, tied", "tied"),
    ):
        kind = next(item for item in REFUSED if item.name == name)
        matrix.artifact(kind.base)
        make_adapter(kind, tmp_path / adapter_name(name))
        with pytest.raises(AdapterError, match=told):
            merge_adapter(open_checkpoint(str(matrix.root / kind.base)), tmp_path / adapter_name(name), None)


@pytest.mark.parametrize("kind", [*MERGED, *REFUSED], ids=lambda kind: kind.name)
def test_what_is_no_plain_lora_is_refused_by_name(matrix: Matrix, tmp_path: Path, kind: Kind) -> None:
    make_adapter(kind, tmp_path / "adapter")
    artifact = matrix.artifact(kind.base)
    assert kind.refused is not None
    with pytest.raises(AdapterError) as caught, plain_for(artifact, tmp_path / "adapter") as plain:
        add_adapter(artifact, "refused", plain.path)
    assert kind.refused in str(caught.value)
    assert str(caught.value).isprintable()
