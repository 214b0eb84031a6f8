"""Reads the records of a data file, whatever it is written in: JSON lines, a JSON list, CSV or Parquet.

Path -> Record

Each has its number and its value, or the reason why it has none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgelora.errors import DataError
from edgelora_runtime.parse_json import JsonError, one_line, read_value, show

FORMATS = "JSON lines, one JSON list (.json), CSV (.csv, or .tsv with tabs) or Parquet (.parquet)"
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_COLUMNS = ("messages", "conversations", "tools")  # a cell can hold them as the text of JSON alone
_LONGEST_CELL = 2**31 - 1  # characters; the default of the csv module is shorter than documents are

# Number from 1 (of the line; of the row in a JSON list or a Parquet file) and the value, or why there is none.
Record = tuple[int, dict[str, Any] | str]


def read_records(path: Path) -> Iterator[Record]:
    """Every record of a file in its order; raises DataError where the file as a whole cannot be read."""
    if not path.is_file():
        raise DataError(f"{path} is not a file; expected rows as {FORMATS}")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix in _SEPARATORS:
        return _read_table(path, _SEPARATORS[suffix])
    content = path.read_bytes()
    # Lines are often named .json too; none of theirs is a list.
    is_list = suffix == ".json" and content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    return _read_list(path, content) if is_list else _read_lines(content)


def _read_list(path: Path, content: bytes) -> Iterator[Record]:
    try:
        values = read_value(content, len(content))
    except JsonError as error:
        raise DataError(f"{path} is no JSON list ({error}); expected [row, row, ...], or one row a line") from error
    for number, value in enumerate(values, start=1):
        yield number, value if isinstance(value, dict) else _no_object(value)


def _read_lines(content: bytes) -> Iterator[Record]:
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for number, line in enumerate(lines, start=1):
        yield number, _parse_line(number, line)


def _parse_line(number: int, line: bytes) -> dict[str, Any] | str:
    try:
        # A byte order mark may open the file; JSON itself allows none.
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    if not text:
        return "the line is empty"
    try:
        data = read_value(text)
    except JsonError as error:
        return f"not JSON ({error})"
    return data if isinstance(data, dict) else _no_object(data)


def _no_object(value: object) -> str:
    return f"a JSON {type(value).__name__}, not an object"


def _read_table(path: Path, separator: str) -> Iterator[Record]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} line {line}: not UTF-8 at byte {error.start} of the file; save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    number, columns = 1, None
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        for cells in reader:
            first, number = number, reader.line_num + 1
            if columns is None:
                columns = _check_columns(path, cells)
            elif not cells:
                yield first, "the line is empty"
            elif len(cells) != len(columns):
                yield first, f"has {len(cells)} cells, expected {len(columns)}, as the first line has"
            else:
                yield first, _open_cells(dict(zip(columns, cells, strict=True)))
    except csv.Error as error:
        reason = "a quoted cell does not end" if "unexpected end" in str(error) else one_line(error, named=False)
        raise DataError(f"{path} line {number}: no CSV ({reason}); quotes inside a cell are written twice") from error
    finally:
        csv.field_size_limit(before)


def _read_parquet(path: Path) -> Iterator[Record]:
    try:
        import pyarrow
        import pyarrow.parquet
        import pyarrow.types
    except ImportError as error:
        raise DataError(f"{path} is Parquet, which pyarrow reads; run `pip install 'edgelora[parquet]'`") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns, number = _check_columns(path, file.schema_arrow.names), 0
            for batch in file.iter_batches(batch_size=1024, use_threads=False):
                read = [
                    # No shape holds times, and Python has no value for some of them.
                    [None] * len(column)
                    if pyarrow.types.is_temporal(column.type)
                    else _read_column(path, number, name, column)
                    for name, column in zip(columns, batch.columns, strict=True)
                ]
                for values in zip(*read, strict=True):
                    number += 1
                    row = {name: _without_nulls(value) for name, value in zip(columns, values, strict=True)}
                    yield number, _open_cells(row)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # the last of names of columns
        raise DataError(f"{path} cannot be read as Parquet ({one_line(error, named=False)})") from error


def _read_column(path: Path, before: int, name: str, column: Iterable[Any]) -> list[Any]:
    """The values of a column of a batch, behind ``before`` rows of the file."""
    values: list[Any] = []
    try:
        for value in column:
            values.append(value.as_py())  # noqa: PERF401 - how many there are says which one cannot be read
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{path} row {before + len(values) + 1}: the column {show(name)} cannot be read "
            f"({one_line(error, named=False)}); write it as UTF-8 text, or leave it out"
        ) from error
    return values


def _check_columns(path: Path, names: Sequence[str]) -> Sequence[str]:
    if twice := [name for index, name in enumerate(names) if name in names[:index]]:
        raise DataError(f"{path} has the column {show(twice[0])} twice; leave one out")
    return names


def _open_cells(row: dict[str, Any]) -> dict[str, Any] | str:
    """The row with what its cells hold as JSON; an empty cell of these columns is none."""
    for name in _JSON_COLUMNS:
        cell = row.get(name)
        if not isinstance(cell, str):
            continue
        if not cell.strip():
            del row[name]
            continue
        try:
            row[name] = read_value(cell)
        except JsonError as error:
            return f"{name} is not JSON ({error})"
    return row


def _without_nulls(value: Any) -> Any:
    """Tables give every object of a column every key, null where it has none; such keys say nothing."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
