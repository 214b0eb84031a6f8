"""``edgelora library``: adapters in a folder by their content, found, compared, thinned out, given to others.

options -> exit code, lines or JSON
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgelora.artifact.about import About
from edgelora.artifact.store import add_adapter
from edgelora.cli.output import Json, emit, note, size, table
from edgelora.errors import ConfigError
from edgelora.library import change, publish, transfer
from edgelora.library.compare_two import compare_two
from edgelora.library.entry import SHOWN_KEY, Entry, list_files
from edgelora.library.fetch import ATTEMPTS, TIMEOUT
from edgelora.library.index import VARIABLE, default_library, find, folder_of, read_index
from edgelora.library.select import Wanted, order, parse_scores, select
from edgelora_runtime.manifest import FLOAT_STORE, read_manifest
from edgelora_runtime.parse_json import join_some
from edgelora_runtime.receipt import read_receipt

app = typer.Typer(rich_markup_mode=None)

Library = Annotated[
    Path | None,
    typer.Option("--library", metavar="FOLDER", help=f"The library.  [default: {VARIABLE}, else the user's data]"),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="An adapter's name, or the begin of its key.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Names, or the begins of keys.")]
Base = Annotated[str | None, typer.Option(help="A part of the base's name, or the begin of its fingerprint.")]
GridBegin = Annotated[str | None, typer.Option("--grid", help="The begin of the grid's fingerprint, or none.")]
Task = Annotated[str | None, typer.Option(help="What it is for, such as text-generation.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag that it has; may be repeated.")]
AtLeast = Annotated[list[str] | None, typer.Option("--at-least", metavar="SCORE=X", help="The least of a score.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and keep it.")]

_SHOWN_MODULES = 8


@app.command()
def add(
    adapter: Annotated[list[Path], typer.Argument(metavar="ADAPTER_DIR...", help="PEFT folders.")],
    name: Annotated[str | None, typer.Option(help="Its name.  [default: that of its folder]")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find it by; may be repeated.")] = None,
    score: Annotated[list[str] | None, typer.Option(metavar="SCORE=X", help="What it was measured at.")] = None,
    title: Annotated[str | None, typer.Option(help="For people: what it is called.")] = None,
    description: Annotated[str | None, typer.Option(help="For people: what it does, in a sentence.")] = None,
    license: Annotated[str | None, typer.Option(help="Its licence, such as apache-2.0.")] = None,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Copy adapters into the library. Content that is there already stays one adapter and gets the tags and scores.

    Example: edgelora library add adapters/legal --tag law --score exact_match=0.81
    """
    if name is not None and len(adapter) > 1:
        raise ConfigError(f"--name is one name, and there are {len(adapter)} adapters; add them one by one")
    about, scores = About(title, description, (), license), parse_scores(score or (), "--score")
    found = [change.add(_place(library), folder, name, tuple(tag or ()), scores, about) for folder in adapter]
    lines = [f"{'added' if one.is_new else 'has already'} {_short(one.entry)}" for one in found]
    emit(as_json, {"added": [{**one.entry.to_record(), "is_new": one.is_new} for one in found]}, lines)


@app.command("list")
def show_all(
    base: Base = None,
    grid: GridBegin = None,
    task: Task = None,
    tag: Tags = None,
    at_least: AtLeast = None,
    sort: Annotated[str, typer.Option(metavar="name|size|age|SCORE", help="What comes first.")] = "name",
    limit: Annotated[int | None, typer.Option(min=1, help="Most adapters that are shown.")] = None,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """List the adapters of the library."""
    wanted = Wanted(base, grid, task, tuple(tag or ()), (), parse_scores(at_least or (), "--at-least"))
    _show(_place(library), wanted, sort, limit, as_json)


@app.command()
def search(
    words: Annotated[
        list[str], typer.Argument(metavar="WORD...", help="Words of name, base, title, description, tags.")
    ],
    base: Base = None,
    grid: GridBegin = None,
    task: Task = None,
    tag: Tags = None,
    at_least: AtLeast = None,
    sort: Annotated[str, typer.Option(metavar="name|size|age|SCORE", help="What comes first.")] = "name",
    limit: Annotated[int | None, typer.Option(min=1, help="Most adapters that are shown.")] = None,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Find the adapters that all of the words are said of."""
    scores = parse_scores(at_least or (), "--at-least")
    _show(_place(library), Wanted(base, grid, task, tuple(tag or ()), tuple(words), scores), sort, limit, as_json)


@app.command()
def show(name: Name, library: Library = None, as_json: Json = False) -> None:
    """Tell everything of one adapter."""
    place = _place(library)
    entry = find(read_index(place), name)
    folder = folder_of(place, entry)
    files = {file: dataclasses.asdict(info) for file, info in list_files(folder).items()}
    record = {**entry.to_record(), "folder": str(folder), "receipt": read_receipt(folder) is not None}
    lines = [f"{field}: {_words(value)}" for field, value in record.items() if value not in (None, (), {}, "")]
    lines += [f"file: {file}, {size(info['bytes'])}, {info['sha256'][:SHOWN_KEY]}" for file, info in files.items()]
    emit(as_json, {**record, "files": files}, lines)


@app.command()
def remove(
    name: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names, or the begins of keys.")],
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Take adapters out of the library."""
    place = _place(library)
    gone = _named(read_index(place), name)
    change.remove(place, gone)
    emit(as_json, {"removed": _records(gone)}, [f"removed {_short(entry)}" for entry in gone])


@app.command()
def prune(
    base: Base = None,
    grid: GridBegin = None,
    task: Task = None,
    tag: Tags = None,
    below: Annotated[list[str] | None, typer.Option(metavar="SCORE=X", help="Those whose score is less.")] = None,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0, help="Those that were added before.")
    ] = None,
    dry_run: DryRun = False,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Remove every adapter that is all of what is given."""
    scores = parse_scores(below or (), "--below")
    wanted = Wanted(base, grid, task, tuple(tag or ()), below=scores, older_days=older_than)
    if wanted.is_anything:
        raise ConfigError(
            "prune removes what is described; give --base, --grid, --task, --tag, --below or --older-than"
        )
    place = _place(library)
    gone = select(read_index(place), wanted)
    _thin_out(place, gone, dry_run, as_json)


@app.command()
def deduplicate(dry_run: DryRun = False, library: Library = None, as_json: Json = False) -> None:
    """Keep one of the adapters that compute the same: equal factors in other files, or with other words around them."""
    place = _place(library)
    groups = change.find_equals(read_index(place))
    _thin_out(place, tuple(entry for group in groups for entry in group[1:]), dry_run, as_json)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="NAME", help="One adapter.")],
    second: Annotated[str, typer.Argument(metavar="NAME", help="The other.")],
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Say how far apart two adapters are: cosine and distance of what they add to the weights."""
    place = _place(library)
    entries = read_index(place)
    one, two = find(entries, first), find(entries, second)
    found = compare_two(one, two, (folder_of(place, one), folder_of(place, two)))
    lines = [f"{_short(one)}  |  {_short(two)}"]
    lines += [f"{field}: {_words(getattr(one, field))} | {_words(getattr(two, field))}" for field in found.other]
    shown = [("cosine", found.cosine), ("distance over the first one's norm", found.distance)]
    lines += [f"{what}: {'none, one of them is zero' if value is None else f'{value:.4f}'}" for what, value in shown]
    for entry, names in zip((one, two), found.only, strict=True):
        lines += [f"only {entry.name}: {join_some(names, ', ')}"] if names else []
    far = sorted(found.by_module.items(), key=lambda item: item[1])[:_SHOWN_MODULES]
    lines += [f"  {value:7.4f}  {module}" for module, value in far]
    emit(as_json, {"adapters": _records((one, two)), **dataclasses.asdict(found)}, lines)


@app.command("export")
def export_set(
    artifact: Annotated[Path, typer.Argument(help="Folder written by `edgelora export`.")],
    names: Names = None,
    tag: Tags = None,
    task: Task = None,
    store: Annotated[str, typer.Option(metavar="float32|float16|int8", help="As of `adapter add`.")] = FLOAT_STORE,
    share: Annotated[str | None, typer.Option(metavar="a|b", help="As of `adapter add`.")] = None,
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="As of `adapter add`.")] = True,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Add adapters of the library to an artifact; each is held to it as `edgelora adapter add` does."""
    place = _place(library)
    chosen = _chosen(place, names, tag, task)
    have = {*read_manifest(artifact).adapter_names}
    if taken := [entry.name for entry in chosen if entry.name in have]:
        raise ConfigError(f"{artifact} already has {join_some(taken, ', ')}; remove them first, or name others")
    infos = [add_adapter(artifact, entry.name, folder_of(place, entry), probe, store, share=share) for entry in chosen]
    lines = [f"added {info.name} (rank {info.rank}) to {artifact}" for info in infos]
    emit(as_json, {"artifact": str(artifact), "added": [dataclasses.asdict(info) for info in infos]}, lines)


@app.command("publish")
def publish_set(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="For a web server; an older one is replaced.")],
    names: Names = None,
    tag: Tags = None,
    task: Task = None,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Write adapters as a plain folder: `index.json` and their files, for any web server or CDN."""
    place = _place(library)
    chosen = _chosen(place, names, tag, task)
    publish.publish(place, chosen, out)
    total = sum(entry.bytes for entry in chosen)
    payload = {"folder": str(out), "adapters": _records(chosen), "bytes": total}
    emit(as_json, payload, [f"published {len(chosen)} adapters ({size(total)}) in {out}"])


@app.command()
def push(
    repository: Annotated[str, typer.Argument(metavar="hf:OWNER/NAME[@REVISION]", help="A repository of a hub.")],
    names: Names = None,
    tag: Tags = None,
    task: Task = None,
    private: Annotated[bool, typer.Option("--private/--public", help="Who may see a repository that is made.")] = True,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Upload adapters to a hub as `publish` writes them, with the login of huggingface_hub."""
    place = _place(library)
    chosen = _chosen(place, names, tag, task)
    address = transfer.push(place, chosen, repository, private)
    payload = {"address": address, "adapters": _records(chosen)}
    emit(as_json, payload, [f"pushed {len(chosen)} adapters to {address}"])


@app.command()
def pull(
    source: Annotated[
        str, typer.Argument(metavar="ADDRESS|hf:OWNER/NAME", help="A published folder, or a repository.")
    ],
    names: Names = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find it by; may be repeated.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a byte.")] = TIMEOUT,
    attempts: Annotated[int, typer.Option(min=1, help="Attempts that bring nothing new.")] = ATTEMPTS,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Bring adapters into the library; what breaks off is gone on with, and every file is held to its hash."""
    place = _place(library)
    found = transfer.pull(place, source, names or (), tuple(tag or ()), timeout, attempts, note)
    lines = [f"{'added' if one.is_new else 'has already'} {_short(one.entry)}" for one in found]
    payload = {"pulled": [{**one.entry.to_record(), "is_new": one.is_new} for one in found]}
    emit(as_json, payload, lines or [f"{source} has no adapters"])


def _place(library: Path | None) -> Path:
    return default_library() if library is None else library


def _named(entries: Sequence[Entry], names: Sequence[str]) -> tuple[Entry, ...]:
    return tuple({entry.key: entry for entry in (find(entries, name) for name in names)}.values())


def _chosen(place: Path, names: Sequence[str] | None, tag: Sequence[str] | None, task: str | None) -> tuple[Entry, ...]:
    entries = read_index(place)
    chosen = select(_named(entries, names) if names else entries, Wanted(task=task, tags=tuple(tag or ())))
    if not chosen:
        raise ConfigError(f"{place} has no such adapter; `edgelora library list` names them all")
    return chosen


def _records(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    return [entry.to_record() for entry in entries]


def _thin_out(place: Path, gone: Sequence[Entry], dry_run: bool, as_json: bool) -> None:
    if not dry_run:
        change.remove(place, gone)
    total = sum(entry.bytes for entry in gone)
    verb = "would remove" if dry_run else "removed"
    lines = [f"{verb} {_short(entry)}" for entry in gone]
    lines.append(f"{verb} {len(gone)} adapters, {size(total)}")
    emit(as_json, {"removed": _records(gone), "bytes": total, "dry_run": dry_run}, lines)


def _show(place: Path, wanted: Wanted, sort: str, limit: int | None, as_json: bool) -> None:
    entries = read_index(place)
    chosen = order(select(entries, wanted), sort)[:limit]
    now = datetime.datetime.now(datetime.UTC)
    rows = [("name", "key", "base", "grid", "task", "rank", "size", "tags", "scores", "age")]
    for entry in chosen:
        scores = " ".join(f"{name}={value:g}" for name, value in entry.scores.items())
        cells = (entry.name, entry.key[:SHOWN_KEY], entry.base or "", (entry.grid or "")[:8], entry.task or "")
        ranked = (str(entry.rank), size(entry.bytes), ",".join(entry.tags), scores, _age(entry.age_days(now)))
        rows.append((*cells, *ranked))
    nothing = f"{place} has no adapters" if not entries else f"none of {len(entries)} adapters is that"
    emit(as_json, {"library": str(place), "adapters": _records(chosen)}, table(rows) if chosen else [nothing])


def _short(entry: Entry) -> str:
    return f"{entry.name} ({entry.key[:SHOWN_KEY]}, {size(entry.bytes)})"


def _age(days: float) -> str:
    return f"{days:.0f} d" if days >= 1 else f"{24 * days:.0f} h" if days >= 1 / 24 else f"{1440 * days:.0f} min"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={item:g}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
