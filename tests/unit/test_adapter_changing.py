"""Nothing of the user's is deleted by a command that changes an artifact, and no command waits for a dead one."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelora.artifact.changing import LOCK_FILE, MARK_FILE, changing, check_outside, check_replaceable
from edgelora.artifact.store import add_adapter, remove_adapter
from edgelora.errors import AdapterError, ArtifactError, ConfigError, EdgeLoraError
from edgelora_runtime import load
from edgelora_runtime.check_files import check_files
from edgelora_runtime.files import temporary_folder
from edgelora_runtime.manifest import read_manifest
from tests.tiny import write_adapter
from tests.unit.test_adapter_store import State, environment, state


def add_refused(artifact: Path, name: str, folder: Path, match: str) -> None:
    """The adapter is refused in one line, and neither artifact nor folder is another afterwards."""
    before, source = state(artifact), state(folder)
    with pytest.raises(EdgeLoraError, match=match) as caught:
        add_adapter(artifact, name, folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + 2 * len(str(artifact))
    assert (state(artifact), state(folder)) == (before, source)


# --- add ---


@pytest.mark.parametrize("fits", [True, False])
def test_the_users_folder_at_the_place_of_the_adapter_stays(artifact: Path, fits: bool) -> None:
    own = write_adapter(artifact / "adapters/mine")
    (own / "notes.txt").write_text("years of work")
    if not fits:
        (own / "adapter_model.safetensors").write_bytes(b"no adapter")
    add_refused(artifact, "mine", own, "adapters/mine is in the way: it is not listed in manifest.json")
    check_files(artifact, read_manifest(artifact))


def test_whatever_lies_at_the_place_of_the_adapter_stays(
    artifact: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    precious = write_adapter(tmp_path / "precious")
    (artifact / "adapters/link").symlink_to(precious)
    (artifact / "adapters/dangling").symlink_to(tmp_path / "nowhere")
    (artifact / "adapters/file").write_text("mine")
    (artifact / "adapters/empty").mkdir()
    for name in ("link", "dangling", "file", "empty"):
        add_refused(artifact, name, tiny_adapters["wide"], f"adapters/{name} is in the way")
    add_refused(artifact, "link", precious, "adapters/link is in the way")
    assert state(precious)
    assert sorted(os.listdir(artifact / "adapters")) == ["dangling", "empty", "file", "link", "one", "usual"]


def test_sources_inside_and_around_the_artifact_are_copied_or_refused_and_stay(artifact: Path, tmp_path: Path) -> None:
    add_adapter(artifact, "twin", artifact / "adapters/usual")
    assert (
        read_manifest(artifact).files["adapters/twin/adapter_model.safetensors"]
        == (read_manifest(artifact).files["adapters/usual/adapter_model.safetensors"])
    )
    remove_adapter(artifact, "twin")
    check_files(artifact, read_manifest(artifact))  # the other one is still whole
    add_refused(artifact, "self", artifact, "has no adapter_config.json")
    inside = write_adapter(artifact / "adapters/own/deeper")
    add_refused(artifact, "own", inside, "adapters/own is in the way")
    around = artifact.parent  # the artifact lies inside the source
    write_adapter(around)
    add_adapter(artifact, "around", around)
    assert (around / "adapter_config.json").is_file()
    remove_adapter(artifact, "around")
    assert (around / "adapter_config.json").is_file()
    assert (inside / "adapter_config.json").is_file()


def test_a_source_that_changes_meanwhile_is_refused(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = write_adapter(tmp_path / "a"), write_adapter(tmp_path / "b", seed=9)
    copyfileobj = shutil.copyfileobj

    def change_first(source: object, copy: object) -> None:
        shutil.copyfile(other / "adapter_model.safetensors", folder / "adapter_model.safetensors")
        copyfileobj(source, copy)  # type: ignore[arg-type]

    monkeypatch.setattr("edgelora.artifact.store.shutil.copyfileobj", change_first)
    before = state(artifact)
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors was changed while it was being added"):
        add_adapter(artifact, "new", folder)
    assert state(artifact) == before


def test_an_artifact_without_adapters_gets_no_folder_by_a_refusal(
    artifact: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("usual", "one"):
        remove_adapter(artifact, name)
    assert not (artifact / "adapters").exists()
    with pytest.raises(AdapterError, match="changes nothing"):
        add_adapter(artifact, "zero", write_adapter(tmp_path / "zero", size=0.0))
    assert not (artifact / "adapters").exists()
    add_adapter(artifact, "again", tiny_adapters["usual"])
    check_files(artifact, read_manifest(artifact))


# --- remove ---


def edit(artifact: Path, old: str, new: str) -> None:
    path = artifact / "manifest.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    "path", ["../precious", "adapters/..", "adapters", "adapters/usual", "adapters/one/../../../precious", "", ".", "/"]
)
def test_what_a_manifest_names_elsewhere_is_never_deleted(artifact: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").write_text("years of work")
    edit(artifact, '"adapters/one"', json.dumps(path))
    before = state(tmp_path)
    with pytest.raises(EdgeLoraError):
        remove_adapter(artifact, "one")
    assert state(tmp_path) == before


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../precious", "-rf", "o\\u0000"])
def test_a_name_that_is_no_name_deletes_nothing(artifact: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").write_text("years of work")
    edit(artifact, '"name": "one"', f'"name": "{name}"')
    edit(artifact, '"adapters/one"', f'"adapters/{name}"')
    before = state(tmp_path)
    with pytest.raises(EdgeLoraError):
        remove_adapter(artifact, json.loads(f'"{name}"'))
    assert state(tmp_path) == before


def test_nothing_is_added_or_removed_through_a_link(
    artifact: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    shutil.move(artifact / "adapters", tmp_path / "home")
    (tmp_path / "home/thesis.txt").write_text("years of work")
    (artifact / "adapters").symlink_to(tmp_path / "home")
    before = state(tmp_path)
    for change in (lambda: remove_adapter(artifact, "one"), lambda: add_adapter(artifact, "w", tiny_adapters["wide"])):
        with pytest.raises(EdgeLoraError, match=r"adapters is a link to .*home, and nothing is changed behind a link"):
            change()
    assert state(tmp_path) == before


def test_a_linked_adapter_is_not_deleted(artifact: Path, tmp_path: Path) -> None:
    shutil.move(artifact / "adapters/one", tmp_path / "home")
    (artifact / "adapters/one").symlink_to(tmp_path / "home")
    before = state(tmp_path)
    with pytest.raises(EdgeLoraError, match="adapters/one is a link"):
        remove_adapter(artifact, "one")
    assert state(tmp_path) == before
    (artifact / "adapters/one").unlink()  # as the message advises
    remove_adapter(artifact, "one")
    assert [info.name for info in read_manifest(artifact).adapters] == ["usual"]


def test_a_manifest_behind_a_link_is_not_changed(
    artifact: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    shutil.move(artifact / "manifest.json", tmp_path / "blob")  # as the cache of a model hub does
    (artifact / "manifest.json").symlink_to(tmp_path / "blob")
    before = state(tmp_path)
    with pytest.raises(EdgeLoraError, match=r"manifest\.json is a link"):
        add_adapter(artifact, "wide", tiny_adapters["wide"])
    assert state(tmp_path) == before


def test_what_somebody_put_beside_an_adapter_keeps_it(artifact: Path) -> None:
    (artifact / "adapters/one/notes.txt").write_text("years of work")
    (artifact / "adapters/one/more").mkdir()
    before = state(artifact)
    with pytest.raises(AdapterError, match=r"adapters/one holds what is not of the adapter \(more, notes.txt\)"):
        remove_adapter(artifact, "one")
    assert state(artifact) == before
    (artifact / "adapters/one/notes.txt").unlink()
    (artifact / "adapters/one/more").rmdir()
    remove_adapter(artifact, "one")
    check_files(artifact, read_manifest(artifact))
    assert os.listdir(artifact / "adapters") == ["usual"]


def test_an_adapter_whose_folder_is_gone_or_damaged_can_be_removed(artifact: Path) -> None:
    shutil.rmtree(artifact / "adapters/one")
    remove_adapter(artifact, "one")
    (artifact / "adapters/usual/adapter_config.json").unlink()
    remove_adapter(artifact, "usual")
    check_files(artifact, read_manifest(artifact))
    assert read_manifest(artifact).adapters == ()


def test_an_artifact_is_changed_through_a_link_to_it(artifact: Path, tiny_adapters: dict[str, Path]) -> None:
    link = artifact.with_name("link")
    link.symlink_to(artifact.name)
    add_adapter(link, "wide", tiny_adapters["wide"])
    remove_adapter(artifact / "adapters" / "..", "one")
    assert link.is_symlink()
    assert [info.name for info in read_manifest(artifact).adapters] == ["usual", "wide"]
    check_files(artifact, read_manifest(artifact))


# --- one command at a time ---


@contextlib.contextmanager
def other_command(artifact: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is changing the artifact until its standard input ends."""
    program = (
        "import sys; from pathlib import Path; from edgelora.artifact.changing import changing\n"
        "with changing(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(artifact)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "in\n"
        yield process
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.wait(60)
        process.stdout.close()


def test_a_second_command_waits_then_names_the_lock_and_is_served_when_the_first_ends(artifact: Path) -> None:
    with other_command(artifact) as process:
        held = r"is being changed by another command, which holds .*\.lock; try"
        with pytest.raises(AdapterError, match=held), changing(artifact, wait=0.2):
            raise AssertionError("two at a time")
        assert process.stdin is not None
        threading.Timer(0.5, process.stdin.close).start()
        with changing(artifact, wait=30):
            pass
    assert not (artifact / LOCK_FILE).exists()


def test_a_killed_command_leaves_nothing_that_blocks(artifact: Path) -> None:
    before = state(artifact)
    with other_command(artifact) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
    assert (artifact / LOCK_FILE).exists()
    check_files(artifact, read_manifest(artifact))
    with changing(artifact, wait=0):
        pass
    assert state(artifact) == before


def test_a_lock_file_of_somebody_else_is_kept(artifact: Path) -> None:
    (artifact / LOCK_FILE).write_text("mine")
    remove_adapter(artifact, "one")
    assert (artifact / LOCK_FILE).read_text() == "mine"


def test_commands_at_the_same_time_all_come_through(artifact: Path, tmp_path: Path) -> None:
    """Eight processes add and remove; at the end every file is listed, and is as it is listed."""
    folder = write_adapter(tmp_path / "a", rank=1)
    program = (
        "import sys; from pathlib import Path; from edgelora.artifact.store import add_adapter, remove_adapter\n"
        "artifact, folder, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]\n"
        "for turn in range(5):\n"
        "  add_adapter(artifact, name, folder)\n"
        "  if turn < 4: remove_adapter(artifact, name)\n"
    )
    command = [sys.executable, "-c", program, str(artifact), str(folder)]
    running = [subprocess.Popen([*command, f"n{number}"], env=environment()) for number in range(8)]
    assert [process.wait(120) for process in running] == [0] * 8
    manifest = read_manifest(artifact)
    assert {info.name for info in manifest.adapters} == {"usual", "one", *(f"n{number}" for number in range(8))}
    check_files(artifact, manifest)
    assert set(state(artifact)) == {*manifest.files, "manifest.json"}


# --- what a killed command left ---


def left_marked(artifact: Path, name: str) -> State:
    """An adapter that was coming or going when its command was killed."""
    (artifact / "adapters" / name / MARK_FILE).touch()
    return state(artifact)


def test_an_adapter_that_was_coming_is_taken_away(artifact: Path, tiny_adapters: dict[str, Path]) -> None:
    before = state(artifact)
    shutil.copytree(tiny_adapters["one"], artifact / "adapters/wide")
    left_marked(artifact, "wide")
    load(artifact, hashes=True)
    with changing(artifact):
        pass
    assert state(artifact) == before
    shutil.copytree(tiny_adapters["one"], artifact / "adapters/wide")
    left_marked(artifact, "wide")
    add_adapter(artifact, "wide", tiny_adapters["wide"])  # the very name can be used
    assert read_manifest(artifact).adapters[-1].rank == 64
    check_files(artifact, read_manifest(artifact))


def test_an_adapter_that_was_going_but_is_still_listed_stays(artifact: Path) -> None:
    before = state(artifact)
    left_marked(artifact, "one")
    load(artifact, hashes=True)
    with changing(artifact):
        pass
    assert state(artifact) == before


# --- what may be replaced ---


def test_an_artifact_alone_may_be_replaced(artifact: Path) -> None:
    check_replaceable(artifact)
    left_marked(artifact, "one")
    (artifact / LOCK_FILE).touch()
    with temporary_folder(artifact) as folder:
        (folder / "half").touch()
        check_replaceable(artifact)
    for name in ("notes.txt", "adapters/one/notes.txt", "deep/er/notes.txt"):
        (artifact / name).parent.mkdir(parents=True, exist_ok=True)
        (artifact / name).write_text("years of work")
        (artifact / "adapters/one" / MARK_FILE).unlink(missing_ok=True)
        with pytest.raises(ConfigError, match=rf"holds what is not of its artifact \({name}\); move it away"):
            check_replaceable(artifact)
        (artifact / name).unlink()
    (artifact / "link").symlink_to(artifact.parent)
    with pytest.raises(ConfigError, match=r"\(link\)"):
        check_replaceable(artifact)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "web-app", "files": {}}', '{"format": "edgelora"}'])
def test_another_manifest_makes_no_artifact(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError):
        check_replaceable(tmp_path)
    check_outside(tmp_path / "anything")


def test_nothing_is_written_into_an_artifact(artifact: Path) -> None:
    for inside in (artifact / "new", artifact / "adapters/one", artifact / "adapters/one/../two/three"):
        with pytest.raises(ConfigError, match=r"is inside the artifact .*tiny, whose files are listed"):
            check_outside(inside)
    check_outside(artifact)
    check_outside(artifact / "..")
    check_outside(artifact / ".." / "beside")
