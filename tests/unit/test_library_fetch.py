"""Adapters over HTTP from a real server that stalls, breaks off, lies about bytes and knows no ranges."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgelora.cli import main
from edgelora.errors import AdapterError
from edgelora.library import change, fetch, transfer
from edgelora.library.fetch import fetch_file, fetch_text
from edgelora.library.index import INCOMING, read_index
from edgelora.library.publish import publish
from edgelora_runtime.manifest import file_info

ADAPTERS = Path(__file__).resolve().parents[2] / "runtime/conformance/tiny-int4/adapters"
WEIGHTS = "adapter_model.safetensors"
SIZE = 300_000


class Faults:
    """What happens to requests, first to last; ``asked`` are their ranges. No fault is the file, or its part."""

    def __init__(self) -> None:
        self.plan: list[str] = []
        self.asked: list[str | None] = []
        self.has_ranges = True


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, *given: Any, faults: Faults, **named: Any) -> None:
        self.faults = faults
        super().__init__(*given, **named)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.name != WEIGHTS and path.suffix != ".bin":
            super().do_GET()
            return
        self.faults.asked.append(self.headers.get("Range"))
        fault = self.faults.plan.pop(0) if self.faults.plan else ""
        content = path.read_bytes()
        start = 0
        if self.faults.has_ranges and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if fault.isdigit():
            self.send_error(int(fault))
            return
        if fault == "lie":
            content = bytes(len(content))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        half = content[start:][: (len(content) - start) // 2]
        if fault in ("cut", "stall"):
            self.wfile.write(half)
            self.wfile.flush()
            if fault == "stall":
                time.sleep(1.5)
            self.close_connection = True
            return
        self.wfile.write(content[start:] + (b"more" if fault == "more" else b""))


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    monkeypatch.setattr(fetch, "WAIT", 0.01)
    return Faults()


@pytest.fixture
def server(tmp_path: Path, faults: Faults) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder), faults=faults))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}", folder
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def file(server: tuple[str, Path]) -> tuple[str, Path]:
    address, folder = server
    (folder / "it.bin").write_bytes(os.urandom(SIZE))
    return f"{address}/it.bin", folder / "it.bin"


def brought(file: tuple[str, Path], part: Path, attempts: int = 3) -> bytes:
    return fetch_file(file[0], file_info(file[1]), part, timeout=0.5, attempts=attempts).read_bytes()


def test_what_breaks_off_or_stalls_is_gone_on_with(file: Any, faults: Faults, tmp_path: Path) -> None:
    faults.plan = ["cut", "stall", "503", "cut"]
    assert brought(file, tmp_path / "part") == file[1].read_bytes()
    assert faults.asked == [
        None, f"bytes={SIZE // 2}-", f"bytes={SIZE * 3 // 4}-", f"bytes={SIZE * 3 // 4}-", f"bytes={SIZE * 7 // 8}-",
    ]  # fmt: skip


def test_a_later_call_goes_on_where_this_one_gave_up(file: Any, faults: Faults, tmp_path: Path) -> None:
    part = tmp_path / "in/part"
    faults.plan = ["cut", "500", "500", "500"]
    with pytest.raises(
        AdapterError, match=rf"cannot be had \(HTTP 500\); {SIZE // 2} of {SIZE} bytes are kept, and the same"
    ):
        brought(file, part)
    faults.asked.clear()
    assert brought(file, part) == file[1].read_bytes()
    assert faults.asked == [f"bytes={SIZE // 2}-"]


def test_a_server_without_ranges_begins_anew(file: Any, faults: Faults, tmp_path: Path) -> None:
    faults.has_ranges = False
    faults.plan = ["cut"]
    assert brought(file, tmp_path / "part") == file[1].read_bytes()


@pytest.mark.parametrize("fault", ["lie", "more"])
def test_other_bytes_are_asked_for_once_more_and_then_refused(
    file: Any, faults: Faults, tmp_path: Path, fault: str
) -> None:
    if fault == "lie":
        faults.plan = ["lie"]
        assert brought(file, tmp_path / "part") == file[1].read_bytes()
        (tmp_path / "part").unlink()
    info = file_info(file[1])
    file[1].write_bytes(bytes(SIZE) if fault == "lie" else file[1].read_bytes() + b"more")
    with pytest.raises(AdapterError, match="has other bytes than its index says, twice in a row"):
        fetch_file(file[0], info, tmp_path / "part", timeout=0.5, attempts=3)
    assert not (tmp_path / "part").exists()


def test_a_part_of_an_older_upload_is_replaced(file: Any, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"old" * 100)
    assert brought(file, tmp_path / "part") == file[1].read_bytes()
    (tmp_path / "part").write_bytes(bytes(SIZE + 5))
    assert brought(file, tmp_path / "part") == file[1].read_bytes()


def test_what_is_missing_is_not_asked_for_again(file: Any, faults: Faults, tmp_path: Path) -> None:
    faults.plan = ["404"]
    with pytest.raises(AdapterError, match=r"HTTP 404\); nothing has come"):
        brought(file, tmp_path / "part")
    assert len(faults.asked) == 1
    with pytest.raises(AdapterError, match=r"/nowhere cannot be had \(HTTP 404\); try again, or check the address"):
        fetch_text(file[0].replace("it.bin", "nowhere"), 100)
    with pytest.raises(AdapterError, match=r"cannot be had \(.*refused"):
        fetch_text("http://127.0.0.1:9/index.json", 100, 0.5, 1)
    with pytest.raises(AdapterError, match="is larger than 10 bytes; nothing was taken of it"):
        fetch_text(file[0], 10)


@pytest.fixture
def published(server: tuple[str, Path], tmp_path: Path) -> str:
    mine = tmp_path / "mine"
    for name in ("one", "four"):
        change.add(mine, ADAPTERS / name, tags=("tiny",), scores={"acc": 0.5})
    publish(mine, read_index(mine), server[1] / "lib")
    return f"{server[0]}/lib"


def test_a_published_library_is_pulled_through_faults(
    published: str, faults: Faults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    faults.plan = ["cut", "stall", "lie"]
    words = [
        "library",
        "pull",
        published,
        "four",
        "--tag",
        "theirs",
        "--timeout",
        "0.5",
        "--library",
        str(other),
        "--json",
    ]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(item["name"], item["is_new"]) for item in told["pulled"]] == [("four", True)]
    (entry,) = read_index(other)
    assert (entry.tags, dict(entry.scores)) == (("theirs", "tiny"), {"acc": 0.5})
    assert (other / "adapters" / entry.key / WEIGHTS).read_bytes() == (ADAPTERS / "four" / WEIGHTS).read_bytes()
    assert os.listdir(other / INCOMING) == []
    assert [item.is_new for item in transfer.pull(other, published)] == [False, True]


def test_what_a_pull_brought_before_it_was_cut_short_is_not_brought_again(
    published: str, faults: Faults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    faults.plan = ["cut", "403"]
    words = ["library", "pull", published, "four", "--library", str(other)]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "cannot be had (HTTP 403)" in err and "the same command goes on from there" in err
    assert read_index(other) == ()
    faults.asked.clear()
    assert main(words) == 0
    size = (ADAPTERS / "four" / WEIGHTS).stat().st_size
    assert faults.asked == [f"bytes={size // 2}-"]


def test_other_files_than_the_index_says_are_refused(
    server: tuple[str, Path], published: str, faults: Faults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (server[1] / "lib/adapters").rglob(WEIGHTS):
        path.write_bytes(bytes(path.stat().st_size))
    assert main(["library", "pull", published, "--library", str(tmp_path / "other")]) == 2
    assert "has other bytes than its index says, twice in a row" in capsys.readouterr().err
    assert read_index(tmp_path / "other") == ()


def test_a_repository_is_pulled_as_huggingface_hub_has_it(
    server: tuple[str, Path], published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    repository = tmp_path / "hub/models--some-org--lib"
    shutil.copytree(server[1] / "lib", repository / "snapshots/0a1b")
    shutil.copytree(ADAPTERS / "one", tmp_path / "hub/models--some-org--one/snapshots/2c3d")
    for name, revision in (("lib", "0a1b"), ("one", "2c3d")):
        (tmp_path / f"hub/models--some-org--{name}/refs").mkdir()
        (tmp_path / f"hub/models--some-org--{name}/refs/main").write_text(revision)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    other = tmp_path / "other"
    assert [item.entry.name for item in transfer.pull(other, "hf:some-org/lib", ["four"])] == ["four"]
    assert [item.entry.name for item in transfer.pull(other, "hf:some-org/one")] == ["one"]
    with pytest.raises(AdapterError, match="hf:some-org/none cannot be had"):
        transfer.pull(other, "hf:some-org/none")
    next((repository / "snapshots/0a1b/adapters").rglob(WEIGHTS)).write_bytes(b"x")
    with pytest.raises(AdapterError, match=r"has other files than index\.json says; push it again"):
        transfer.pull(other, "hf:some-org/lib")


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub while it uploads a folder of small files; ``files`` are what came."""

    files: ClassVar[dict[str, bytes]] = {}
    made: ClassVar[list[Any]] = []

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer({"id": "some-org/lib", "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.made.append(json.loads(body))
            self._answer({"url": self._address, "name": "some-org/lib"})
        elif self.path.endswith("/preupload/main"):
            asked, how = json.loads(body)["files"], {"uploadMode": "regular", "shouldIgnore": False}
            self._answer({"files": [{"path": item["path"], **how} for item in asked]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer({"commitUrl": f"{self._address}/commit/0", "commitOid": "0" * 40, "success": True})
        else:
            self._answer({}, 404)

    @property
    def _address(self) -> str:
        return f"http://{self.headers['Host']}/some-org/lib"

    def _answer(self, data: Any, code: int = 200) -> None:
        content = json.dumps(data).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def test_a_library_is_pushed_as_it_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants
    from huggingface_hub.utils import reset_sessions

    mine = tmp_path / "mine"
    for name in ("one", "four"):
        change.add(mine, ADAPTERS / name)
    publish(mine, read_index(mine), tmp_path / "out")
    expected = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")
    }
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{httpd.server_address[1]}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    reset_sessions()  # one that a test made while it was offline stays so
    try:
        address = transfer.push(mine, read_index(mine), "hf:some-org/lib")
    finally:
        httpd.shutdown()
        httpd.server_close()
    with pytest.raises(AdapterError, match=r"nothing was pushed to hf:some-org/lib \(.*check name and login"):
        transfer.push(mine, read_index(mine), "hf:some-org/lib")  # the hub is gone
    with pytest.raises(AdapterError, match=r"nothing was pushed to hf:some org/lib"):
        transfer.push(mine, read_index(mine), "hf:some org/lib")
    assert address.endswith("/some-org/lib")
    assert Hub.made[0]["private"] is True
    assert Hub.files == expected
