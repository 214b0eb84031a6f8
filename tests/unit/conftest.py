"""Artifacts that several unit tests share; made once, copied by tests that change them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgelora.cli import main
from tests.tiny import write_adapter, write_artifact, write_checkpoint

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("base") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Rank 1, rank 64 on two kinds of modules, and a usual one."""
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "usual": write_adapter(folder / "usual", rank=4, seed=1),
        "one": write_adapter(folder / "one", rank=1, seed=2),
        "wide": write_adapter(folder / "wide", rank=64, seed=3, targets=("q_proj", "down_proj"), size=0.02),
    }


@pytest.fixture(scope="session")
def shared_artifact(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, tiny_adapters: dict[str, Path]
) -> Path:
    """An int4 artifact with the adapters "usual" and "one"; only for tests that do not write into it."""
    from edgelora.artifact.store import add_adapter

    out = tmp_path_factory.mktemp("artifact") / "tiny"
    write_artifact(tiny_checkpoint, out)
    for name in ("usual", "one"):
        add_adapter(out, name, tiny_adapters[name])
    return out


@pytest.fixture
def artifact(shared_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the shared artifact that a test may change."""
    return Path(shutil.copytree(shared_artifact, tmp_path / "tiny"))


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens that each call of a graph computed before an answer began."""
    from edgelora_runtime import session as session_module

    lengths: list[int] = []
    run = session_module.Session._run

    def counting(self, ids, counts, positions, first=0):  # type: ignore[no-untyped-def]
        lengths.append(ids.shape[1])
        return run(self, ids, counts, positions, first)

    monkeypatch.setattr(session_module.Session, "_run", counting)
    return lengths


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """``edgelora adapter`` with some words: exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["adapter", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
