"""Files from a server of HTTP that is slow, breaks off or lies: what came is kept, gone on with, and held to its hash.

address, FileInfo -> a file
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from edgelora.errors import AdapterError, ConfigError
from edgelora_runtime.manifest import FileInfo, file_info

TIMEOUT = 20.0  # seconds without a byte
ATTEMPTS = 5  # without a new byte; one that brings some counts as the first again
WAIT = 0.5  # seconds before the second attempt, twice as many before each further one

_CHUNK = 1 << 18
_LOST = (urllib.error.URLError, http.client.HTTPException, OSError)
_REFUSED = (400, 401, 403, 404, 405, 410, 451)  # which asking again does not change


def check_address(address: str) -> str:
    """The address of a folder, with one ``/`` at its end; raises ConfigError for what is none of a web server."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{address!r} is no address, expected https://HOST/FOLDER/")
    return urllib.parse.urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/", query="", fragment=""))


def fetch_text(address: str, largest: int, timeout: float = TIMEOUT, attempts: int = ATTEMPTS) -> bytes:
    """A small file whose hash nobody knows; raises AdapterError where it cannot be had, or is larger than that."""
    reason = ""
    for attempt in range(attempts):
        time.sleep(WAIT * 2 ** (attempt - 1) if attempt else 0)
        try:
            with urllib.request.urlopen(address, timeout=timeout) as answer:
                content: bytes = answer.read(largest + 1)
                length = answer.headers.get("Content-Length")
            if len(content) > largest:
                raise AdapterError(f"{address} is larger than {largest} bytes; nothing was taken of it")
            if length is None or int(length) == len(content):
                return content
            reason = f"the connection broke off after {len(content)} of {length} bytes"
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code}"
            if error.code in _REFUSED:
                break
        except _LOST as error:
            reason = _reason(error, timeout)
    raise AdapterError(f"{address} cannot be had ({reason}); try again, or check the address")


def fetch_file(address: str, info: FileInfo, part: Path, timeout: float = TIMEOUT, attempts: int = ATTEMPTS) -> Path:
    """Bring a file of this size and hash to ``part``, going on with what is there of it.

    Raises AdapterError where it cannot be had; what came is kept for the next time. Bytes with another hash are not:
    they are asked for once more from the start, and then refused.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    left, was_wrong, reason = attempts, False, ""
    while left:
        held = part.stat().st_size if part.exists() else 0
        if held > info.bytes or (held == info.bytes and file_info(part).sha256 != info.sha256):
            part.unlink()
            if was_wrong:
                raise AdapterError(
                    f"{address} has other bytes than its index says, twice in a row (sha256 expected "
                    f"{info.sha256[:12]}…); ask whoever publishes it to publish it again"
                )
            was_wrong, held = True, 0
        elif held == info.bytes and part.exists():
            return part
        if left < attempts:
            time.sleep(WAIT * 2 ** (attempts - left - 1))
        try:
            _append(address, info.bytes, part, held, timeout)
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code}"
            if error.code in _REFUSED:
                break
            if error.code == 416:  # the server has fewer bytes than are here
                part.unlink(missing_ok=True)
        except _LOST as error:
            reason = _reason(error, timeout)
        has_come = part.exists() and part.stat().st_size > held
        left = attempts if has_come else left - 1
        reason = reason or "the connection broke off"
    kept = f"{part.stat().st_size} of {info.bytes} bytes are kept" if part.exists() else "nothing has come"
    raise AdapterError(f"{address} cannot be had ({reason}); {kept}, and the same command goes on from there")


def _append(address: str, size: int, part: Path, held: int, timeout: float) -> None:
    """Ask for what is missing and write it behind what is there, as far as it comes; one byte too many is written."""
    request = urllib.request.Request(address, headers={"Accept-Encoding": "identity"})
    if held:
        request.add_header("Range", f"bytes={held}-")
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        goes_on = answer.status == 206 and (answer.headers.get("Content-Range") or "").startswith(f"bytes {held}-")
        start = held if held and goes_on else 0  # a server without ranges begins anew
        if held and answer.status == 206 and not goes_on:
            raise urllib.error.URLError("the server sent another part than it was asked for")
        with part.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            # read() would wait for all that it asks for, and lose what has come where the rest does not.
            while chunk := answer.read1(min(_CHUNK, size + 1 - start)):
                stream.write(chunk)
                start += len(chunk)
                if start > size:
                    return


def _reason(error: BaseException, timeout: float) -> str:
    inner = getattr(error, "reason", error)
    if isinstance(inner, TimeoutError):
        return f"no byte came in {timeout:g} s"
    return " ".join(str(inner).split()) or type(inner).__name__
