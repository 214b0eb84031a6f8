"""adapter_config.json that is none: one line from whoever reads its fields, and no traceback."""

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

from edgelora.adapter.foreign.stored import read_stored
from edgelora.adapter.foreign.whole import needs_merge
from edgelora.adapter.lineage import read_source
from edgelora.adapter.make_plain import is_foreign
from edgelora.adapter.plain import read_plain
from edgelora.adapter.task import find_task
from edgelora.errors import AdapterError
from edgelora.library.entry import describe, list_files
from edgelora_runtime.adapter_config import read_config, read_fields
from tests.tiny import write_adapter

BROKEN = {
    "[]": r"adapter_config\.json holds \[\], expected an object; save the adapter again",
    "null": "holds None, expected an object; save the adapter again",
    '{"r": 1, "r": 2}': "is not JSON",
    "{": r"is not JSON \(.*\); save the adapter again",
    " " * (4 << 20) + "{}": "longer than",
}
READERS: dict[str, Callable[[Path], object]] = {
    "fields": read_fields,
    "config": read_config,
    "stored": read_stored,
    "source": read_source,
    "plain": read_plain,
    "task": find_task,
    "entry": lambda folder: describe(folder, "a", list_files(folder), datetime.datetime.now(datetime.UTC)),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_object_is_one_line(tmp_path: Path, reader: str) -> None:
    folder = write_adapter(tmp_path / "a")
    path = folder / "adapter_config.json"
    text = path.read_text()
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    READERS[reader](folder)  # a byte order mark is nothing
    for content, message in BROKEN.items():
        path.write_text(content)
        with pytest.raises(AdapterError, match=message):
            READERS[reader](folder)
        assert not needs_merge(folder) and not is_foreign(folder, {})
    path.unlink()
    with pytest.raises(AdapterError, match=r"has no adapter_config\.json; expected a folder saved by PEFT"):
        READERS[reader](folder)
