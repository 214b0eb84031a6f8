"""Adapters from other places and to them: published folders on a web server, repositories of a hub.

address, names -> what was Added; each Entry -> a repository
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from edgelora.errors import AdapterError, ConfigError
from edgelora.library.change import Added, add
from edgelora.library.entry import KEPT_FILES, Entry, list_files
from edgelora.library.fetch import ATTEMPTS, TIMEOUT, check_address, fetch_file, fetch_text
from edgelora.library.index import INCOMING, find
from edgelora.library.publish import INDEX, LARGEST_INDEX, Published, parse_published, publish
from edgelora_runtime.files import reserve, temporary_folder

HUB = "hf:"
_REPOSITORY_ADVICE = f"expected {HUB}OWNER/NAME, or {HUB}OWNER/NAME@REVISION"


def pull(
    library: Path,
    source: str,
    names: Sequence[str] = (),
    tags: Sequence[str] = (),
    timeout: float = TIMEOUT,
    attempts: int = ATTEMPTS,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Added, ...]:
    """Bring adapters of a published folder into the library, all of them where no names are given.

    Each is added when its files are whole and are those of the index. Raises AdapterError where one cannot be had:
    those before it are there then, and what came of it is kept, so that the same call goes on. A repository of a hub is
    a published folder as ``push`` makes it, or one PEFT folder.
    """
    if source.startswith(HUB):
        return _pull_hub(library, source, names, tags)
    base = check_address(source)
    found = parse_published(fetch_text(base + INDEX, LARGEST_INDEX, timeout, attempts), base + INDEX)
    return tuple(_bring(library, base, item, tags, timeout, attempts, tell) for item in _choose(found, names))


def push(library: Path, entries: Sequence[Entry], target: str, private: bool = True) -> str:
    """Upload adapters to a repository of a hub as a published folder; gives its address.

    Raises ConfigError for a target that is no repository. Whoever may write there is huggingface_hub's matter.
    """
    owner_name, revision = _repository(target)
    from huggingface_hub import HfApi  # slow, and needed here alone

    api = HfApi()
    told = ", ".join(entry.name for entry in entries[:3]) + (" and more" if len(entries) > 3 else "")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "published"
        publish(library, entries, folder)
        try:
            api.create_repo(owner_name, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=owner_name, folder_path=folder, revision=revision, commit_message=f"Publish {told}"
            )
        except _hub_errors() as error:
            raise AdapterError(f"nothing was pushed to {target} ({_said(error)}); check name and login") from error
    return f"{api.endpoint}/{owner_name}"


def _choose(found: Sequence[Published], names: Sequence[str]) -> list[Published]:
    if not names:
        return list(found)
    chosen = [find([item.entry for item in found], name).key for name in names]
    return [item for item in found if item.entry.key in chosen]


def _bring(
    library: Path,
    base: str,
    item: Published,
    tags: Sequence[str],
    timeout: float,
    attempts: int,
    tell: Callable[[str], None],
) -> Added:
    # Parts are known by what they will be, so that an index that changes meanwhile loses nothing.
    incoming = library / INCOMING
    parts = {}
    for name, info in item.files.items():
        tell(f"{item.entry.name}: {name}, {info.bytes} bytes")
        part = parts[name] = incoming / info.sha256
        with reserve(part):  # of two commands that want it one brings it
            fetch_file(f"{base}{item.path}/{name}", info, part, timeout, attempts)
    with temporary_folder(incoming) as fresh:
        for name, part in parts.items():
            shutil.copyfile(part, fresh / name)
        entry = item.entry
        added = add(library, fresh, entry.name, (*entry.tags, *tags), entry.scores)
    for part in parts.values():
        part.unlink(missing_ok=True)
    return added


def _pull_hub(library: Path, source: str, names: Sequence[str], tags: Sequence[str]) -> tuple[Added, ...]:
    owner_name, revision = _repository(source)
    from huggingface_hub import snapshot_download

    wanted = [INDEX, *KEPT_FILES, *(f"adapters/*/{name}" for name in KEPT_FILES)]
    try:
        folder = Path(snapshot_download(owner_name, revision=revision, allow_patterns=wanted))
    except _hub_errors() as error:
        raise AdapterError(f"{source} cannot be had ({_said(error)}); check name and login") from error
    if not (folder / INDEX).is_file():
        return (add(library, folder, names[0] if names else owner_name.rpartition("/")[2], tags),)
    found = parse_published((folder / INDEX).read_bytes(), f"{source}/{INDEX}")
    chosen = _choose(found, names)
    for item in chosen:
        if list_files(folder / item.path) != item.files:
            raise AdapterError(f"{source}: {item.path} has other files than {INDEX} says; push it again")
    return tuple(
        add(library, folder / item.path, item.entry.name, (*item.entry.tags, *tags), item.entry.scores)
        for item in chosen
    )


def _repository(text: str) -> tuple[str, str | None]:
    if not text.startswith(HUB):
        raise ConfigError(f"{text!r} is no repository, {_REPOSITORY_ADVICE}")
    owner_name, _, revision = text.removeprefix(HUB).partition("@")
    if owner_name.count("/") != 1 or not all(owner_name.split("/")):
        raise ConfigError(f"{text!r} is no repository, {_REPOSITORY_ADVICE}")
    return owner_name, revision or None


def _hub_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    return HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
