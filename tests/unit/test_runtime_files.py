import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgelora_runtime import files
from edgelora_runtime.adapter import read_adapter
from edgelora_runtime.files import (
    check_writable,
    discard_folder,
    is_temporary,
    replace_folder,
    reserve,
    restore,
    sweep,
    temporary_folder,
    write_atomically,
)
from edgelora_runtime.manifest import read_manifest
from tests.unit.test_adapter_store import environment

NAMES = ["plain", "with space", "größe 東京", "x" * 255, "-rf", "a\nb", ".hidden"]
ANY = lambda _: contextlib.nullcontext()  # noqa: E731


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def make(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "inner").mkdir()
    (folder / "inner/file").write_text(text)
    return folder


# --- files ---


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_written_and_replaced_and_nothing_else_is_left(tmp_path: Path, name: str) -> None:
    for content in ("größe", b"\0\1", "", lambda stream: stream.write(b"by hand")):
        write_atomically(tmp_path / name, content)
        assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"by hand"


def test_a_file_keeps_its_permissions_and_a_new_one_gets_those_of_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour").write_text("x")
    write_atomically(tmp_path / "file", "a")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "neighbour").stat().st_mode
    (tmp_path / "file").chmod(0o640)
    write_atomically(tmp_path / "file", "b")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/real").write_text("old")
    (tmp_path / "link").symlink_to("elsewhere/real")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert tree(tmp_path / "elsewhere") == {"real": "new"}


def fail(stream: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_write_that_fails_leaves_the_old_file_and_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / "file", fail)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "file"))
    assert tree(tmp_path) == {"file": "old"}


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(OSError) as caught:
            write_atomically(tmp_path / name, "x")
        assert caught.value.filename == str(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]
    with pytest.raises(FileNotFoundError) as missing:
        write_atomically(tmp_path / "no/where", "x")
    assert missing.value.filename == str(tmp_path / "no/where")


def test_links_in_a_circle_are_told_and_kept(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for path in (tmp_path / "a", tmp_path / "a/below"):
        for write in (lambda at=path: write_atomically(at, "x"), lambda at=path: make_folder(at)):
            with pytest.raises(OSError) as caught:
                write()
            assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, str(path))
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def make_folder(path: Path) -> None:
    with replace_folder(path, ANY):
        pass


# --- folders ---


@pytest.fixture(params=["exchanged", "renamed twice"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to replace a folder: of a system that can exchange two names, and of one that cannot."""
    if request.param == "renamed twice":
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    return str(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name_is_made_and_replaced(tmp_path: Path, way: str, name: str) -> None:
    for text in ("old", "new"):
        with replace_folder(tmp_path / name, ANY) as fresh:
            (fresh / "inner").mkdir()
            (fresh / "inner/file").write_text(text)
        assert tree(tmp_path) == {f"{name}/inner/file": text}
        assert os.listdir(tmp_path) == [name]


def spellings(folder: Path) -> Iterator[Path]:
    """Ways to say ``folder/out``, where ``link`` is a link to it."""
    yield Path(os.path.relpath(folder / "out"))
    yield Path(f"{folder}/out/")
    yield folder / "out" / ".." / "out"
    yield folder / "nowhere" / ".." / "out"
    yield folder / "link"
    yield folder / "link" / ".." / "out"
    yield folder / "link" / "." / "inner" / ".."


def test_every_spelling_of_a_path_replaces_the_one_folder_and_leaves_links(tmp_path: Path, way: str) -> None:
    make(tmp_path / "out", "old")
    (tmp_path / "link").symlink_to("out")
    for number, path in enumerate(spellings(tmp_path)):
        with replace_folder(path, ANY) as fresh:
            (fresh / "inner").mkdir()
            (fresh / "inner/file").write_text(str(number))
        assert tree(tmp_path / "out") == {"inner/file": str(number)}
        assert (tmp_path / "link").is_symlink()
        assert sorted(os.listdir(tmp_path)) == ["link", "out"]


def test_a_link_on_another_file_system_is_replaced_there(tmp_path: Path, way: str) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.fail("expected a second file system at /dev/shm")
    with temporary_folder(other) as place:
        make(place / "real", "old")
        (tmp_path / "link").symlink_to(place / "real")
        with replace_folder(tmp_path / "link", ANY) as fresh:
            (fresh / "file").write_text("new")
        assert tree(place / "real") == {"file": "new"}
        assert os.listdir(place) == ["real"]


def test_nothing_is_replaced_without_leave(tmp_path: Path, way: str) -> None:
    make(tmp_path / "out", "old")
    with pytest.raises(FileExistsError), replace_folder(tmp_path / "out") as fresh:
        (fresh / "file").write_text("new")

    def refuse(_: Path) -> contextlib.nullcontext[None]:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), replace_folder(tmp_path / "out", refuse) as fresh:
        (fresh / "file").write_text("new")
    assert tree(tmp_path) == {"out/inner/file": "old"}
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError("x"), KeyboardInterrupt()])
def test_an_exception_in_the_block_leaves_the_old_folder(tmp_path: Path, error: BaseException) -> None:
    make(tmp_path / "out", "old")
    with pytest.raises(type(error)), replace_folder(tmp_path / "out", ANY) as fresh:
        (fresh / "file").write_text("new")
        raise error
    assert tree(tmp_path) == {"out/inner/file": "old"}
    assert os.listdir(tmp_path) == ["out"]


def test_a_second_rename_that_fails_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "out", "old")
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    rename = Path.rename

    def fail_to_place(self: Path, target: Path) -> Path:
        if Path(target) == tmp_path / "out" and self.name.endswith(".tmp"):
            raise OSError(errno.EIO, "it broke")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_to_place)
    with pytest.raises(OSError, match="it broke"), replace_folder(tmp_path / "out", ANY) as fresh:
        (fresh / "file").write_text("new")
    assert tree(tmp_path) == {"out/inner/file": "old"}
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_keeps_its_permissions(tmp_path: Path, way: str) -> None:
    make(tmp_path / "out", "old").chmod(0o700)
    with replace_folder(tmp_path / "out", ANY):
        pass
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_links_inside_an_old_folder_are_removed_and_what_they_name_is_not(tmp_path: Path) -> None:
    make(tmp_path / "precious", "mine")
    make(tmp_path / "out", "old")
    (tmp_path / "out/link").symlink_to(tmp_path / "precious")
    with replace_folder(tmp_path / "out", ANY):
        pass
    assert tree(tmp_path) == {"precious/inner/file": "mine"}
    (tmp_path / "out").rmdir()
    (tmp_path / "out").symlink_to(tmp_path / "precious")
    discard_folder(tmp_path / "out")
    assert tree(tmp_path) == {"precious/inner/file": "mine"}
    assert os.listdir(tmp_path) == ["precious"]


def test_a_place_is_kept_for_one_until_it_ends(tmp_path: Path) -> None:
    for path in (tmp_path / "out", tmp_path / "deep/er/out", tmp_path / ("x" * 255)):
        with reserve(path):
            with pytest.raises(BlockingIOError, match="another command is writing there") as caught, reserve(path):
                raise AssertionError("two at a time")
            assert caught.value.filename == str(path)
            write_atomically(path.parent / "beside", "x")  # sweeps, and leaves what is held
            with pytest.raises(BlockingIOError):
                check_writable(path)
            (path.parent / "beside").unlink()
        check_writable(path)
        assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file/out", tmp_path / ("x" * 256)):
        with pytest.raises(OSError) as told:
            check_writable(path if path.parent != tmp_path else path / "out")
        assert str(tmp_path) in str(told.value.filename)


def test_a_place_where_a_disk_is_mounted_is_told_before_any_work() -> None:
    for path in (Path("/proc"), Path("/dev/../proc")):  # nothing can take the place of these
        with pytest.raises(OSError, match="a disk is mounted there, and nothing takes its place") as caught:
            check_writable(path)
        assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, str(path))


def test_a_place_that_a_killed_process_kept_is_free(tmp_path: Path) -> None:
    killed("with files.reserve(place / 'out'): die()", tmp_path)
    assert len(os.listdir(tmp_path)) == 1
    with reserve(tmp_path / "out"):
        pass
    assert os.listdir(tmp_path) == []
    killed("with files.reserve(place / 'out'): die()", tmp_path)
    write_atomically(tmp_path / "other", "x")
    assert os.listdir(tmp_path) == ["other"]


# --- what a process leaves behind ---


def killed(body: str, *arguments: object) -> None:
    """Run a program that kills itself."""
    program = "import contextlib, os, signal, sys; from pathlib import Path; from edgelora_runtime import files\n"
    program += "place = Path(sys.argv[1]); die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n" + body
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_writer_leaves_is_swept_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    killed("files.write_atomically(place / 'file', die)", tmp_path)
    killed("with files.temporary_folder(place) as folder:\n (folder / 'x').write_text('x'); die()", tmp_path)
    assert (tmp_path / "file").read_text() == "old"
    (left,) = {name for name in os.listdir(tmp_path) if name != "file"}  # the second had swept what the first left
    assert is_temporary(left)
    write_atomically(tmp_path / "file", "new")
    assert tree(tmp_path) == {"file": "new"}
    assert os.listdir(tmp_path) == ["file"]


def test_a_kill_between_two_renames_is_put_right_by_the_next_command(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    killed(
        "files._exchange = lambda one, other: False\n"
        "rename = Path.rename\n"
        "Path.rename = lambda self, to: die() if self.name.endswith('.tmp') else rename(self, to)\n"
        "with files.replace_folder(place / 'out', lambda _: contextlib.nullcontext()) as fresh: pass",
        tmp_path,
    )
    assert not (tmp_path / "out").exists()
    sweep(tmp_path)  # by somebody who writes beside it: the only copy is kept
    write_atomically(tmp_path / "other", "x")
    restore(tmp_path / "out")
    assert tree(tmp_path) == {"out/inner/file": "old", "other": "x"}
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]


def test_whoever_opens_it_puts_a_folder_back_that_a_kill_took_from_its_place(artifact: Path) -> None:
    kill_between = (
        "files._exchange = lambda one, other: False\n"
        "rename = Path.rename\n"
        "Path.rename = lambda self, to: die() if self.name.endswith('.tmp') else rename(self, to)\n"
        "with files.replace_folder(place, lambda _: contextlib.nullcontext()) as fresh: pass"
    )
    adapter = artifact.with_name("adapter")
    (artifact / "adapters/one").rename(adapter)
    for folder, read in ((artifact, read_manifest), (adapter, read_adapter)):
        killed(kill_between, folder)
        assert not folder.exists()
        read(folder)
        assert folder.is_dir()


def test_names_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in (".edgelora-notes.tmp", ".edgelora-0123456789abcdef.txt", "edgelora-0123456789abcdef.tmp"):
        (tmp_path / name).write_text("mine")
    (tmp_path / ".edgelora-0123456789abcdef.tmp").symlink_to(tmp_path / ".edgelora-notes.tmp")
    os.mkfifo(tmp_path / ".edgelora-0123456789abcdee.tmp")
    before = {name for name in os.listdir(tmp_path) if "notes" in name or not is_temporary(name)}
    sweep(tmp_path)
    assert before <= set(os.listdir(tmp_path))
    assert (tmp_path / ".edgelora-notes.tmp").read_text() == "mine"


def test_writers_at_the_same_time_never_sweep_each_other(tmp_path: Path) -> None:
    make(tmp_path / "out", "start")
    stop, problems = time.monotonic() + 2.0, []

    def run(write: Callable[[str], None], tag: str) -> None:
        count = 0
        try:
            while time.monotonic() < stop:
                write(f"{tag}{count}")
                count += 1
        except OSError as error:
            problems.append(error)

    def folder(text: str) -> None:
        with replace_folder(tmp_path / "out", ANY) as fresh:
            (fresh / "inner").mkdir()
            (fresh / "inner/file").write_text(text)

    def read(_: str) -> None:
        assert (tmp_path / "file").is_file()
        assert (tmp_path / "out").is_dir()

    write_atomically(tmp_path / "file", "start")
    jobs = [(folder, "a"), (folder, "b"), (lambda text: write_atomically(tmp_path / "file", text), "c"), (read, "")]
    threads = [threading.Thread(target=run, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]
