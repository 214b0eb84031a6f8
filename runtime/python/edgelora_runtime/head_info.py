"""What the rows of an adapter's head mean: its labels, from whoever knows them.

adapter's folder, labels given -> HeadInfo

``docs/format.md`` ("Heads") is the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelora_runtime.check_manifest import PROBLEM_TYPES
from edgelora_runtime.errors import AdapterError
from edgelora_runtime.manifest import HeadInfo
from edgelora_runtime.names import has_control
from edgelora_runtime.parse_json import join_some, read_json, show
from edgelora_runtime.receipt import read_receipt

CONFIG_FILE = "config.json"

_ADVICE = "give labels, or take the file away"


def find_head_info(
    folder: Path,
    n_labels: int,
    where: str,
    *,
    trust: bool = False,
    listed: HeadInfo | None = None,
    labels: Sequence[str] | None = None,
) -> HeadInfo:
    """Labels of the head in ``folder``: of its receipt, else ``listed`` in a manifest, else the ``labels`` given, else
    of a ``config.json`` beside it, else LABEL_0 and so on.

    Raises AdapterError where two of the first three disagree, or their number is not ``n_labels``.
    """
    receipt = None if trust else read_receipt(folder)
    trained = None if receipt is None else receipt.head
    given = None if labels is None else HeadInfo(_checked(labels, where))
    sources = (("its receipt", trained), ("the manifest", listed), ("labels", given))
    known = [(name, head) for name, head in sources if head is not None]
    for name, head in known[1:]:
        if head.labels != known[0][1].labels:
            raise AdapterError(
                f"{where}: {name} has {_some(head.labels)}, but {known[0][0]} {_some(known[0][1].labels)}; the labels "
                "must be those of the training, in their order"
            )
    found = known[0][1] if known else _of_config(folder, where)
    if found is None:
        return HeadInfo(tuple(f"LABEL_{index}" for index in range(n_labels)))
    if len(found.labels) != n_labels:
        source = known[0][0] if known else CONFIG_FILE
        raise AdapterError(
            f"{where}: its head answers for {n_labels} labels, but {source} has {len(found.labels)} "
            f"({_some(found.labels)}); give as many"
        )
    return found


def _checked(labels: Sequence[str], where: str) -> tuple[str, ...]:
    """Labels as a caller gave them."""
    if isinstance(labels, str) or not labels or not all(isinstance(label, str) and label for label in labels):
        raise AdapterError(f"{where}: labels is {show(labels)}, expected a list of names")
    if any(has_control(label) for label in labels) or len(set(labels)) != len(labels):
        raise AdapterError(f"{where}: labels are {_some(labels)}, expected different names without control characters")
    return tuple(labels)


def _of_config(folder: Path, where: str) -> HeadInfo | None:
    """The labels that transformers wrote beside the adapter; None where there are none."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        return None
    config = read_json(path, AdapterError, _ADVICE)
    names: Any = config.get("id2label") if isinstance(config, dict) else None
    if names is None:
        return None
    if not isinstance(names, dict) or set(names) != {str(index) for index in range(len(names))}:
        raise AdapterError(f"{where}: {CONFIG_FILE}: id2label is {show(names)}, expected a label for each index")
    problem = config.get("problem_type") or PROBLEM_TYPES[0]
    if problem not in PROBLEM_TYPES:
        raise AdapterError(f"{where}: {CONFIG_FILE}: problem_type is {show(problem)}; {_ADVICE}")
    return HeadInfo(_checked([names[str(index)] for index in range(len(names))], where), problem)


def _some(labels: Sequence[str]) -> str:
    return join_some([show(label) for label in labels], ", ")
