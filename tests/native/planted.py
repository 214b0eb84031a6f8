"""Take one check after the other out of the native readers: ``python -m tests.native.planted BUILD``; a test must fail.

BUILD is a folder that the native runtime was built in. Knows nothing about what the checks guard against.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "runtime" / "native"
TESTS = tuple(
    f"tests/native/test_{name}.py"
    for name in ("readers", "adapter_folders", "artifact_files", "entry_lines", "codes_native")
)
COMPILE = ("c++", "-std=c++17", "-O0", "-DJSON_NO_IO", f"-I{NATIVE / 'src'}")
PATIENCE = 120  # seconds; what hangs has failed, too


@dataclass(frozen=True)
class Fault:
    """In ``file`` of the sources ``text``, which stands there once, is replaced."""

    file: str
    text: str
    instead: str


FAULTS = (
    # Lengths and offsets of a header, before anything is made of them.
    Fault("safetensors.cpp", "bytes.size() < kLengthBytes", "false"),
    Fault("safetensors.cpp", "header_bytes > std::min<std::uint64_t>(kLongestHeader, bytes.size() - kLengthBytes)",
          "header_bytes + kLengthBytes > bytes.size()"),
    Fault("safetensors.cpp", "size > 0 && count > kMostNumbers / size", "false"),
    Fault("safetensors.cpp", "shape.size() > kMostDimensions || ", ""),
    Fault("safetensors.cpp", "entry.end - entry.start != expected", "false"),
    Fault("safetensors.cpp", "entry->start != place || ", ""),
    Fault("safetensors.cpp", "|| entry->end > n_bytes", ""),
    Fault("safetensors.cpp", "if (place != n_bytes)", "if (false)"),
    Fault("safetensors.cpp", "offsets.size() != 2", "offsets.size() < 2"),
    Fault("safetensors.cpp", "return item.is_number_unsigned();", "return item.is_number();"),
    Fault("safetensors.cpp", "name.empty() || count_characters(name) > kLongestName || has_control(name)", "false"),
    Fault("safetensors.cpp", "if (!is_right) refuse", "if (false) refuse"),
    Fault("safetensors.cpp", 'if (content.substr(0, 1) != "{")', "if (false)"),
    # JSON that some reader of another language would read otherwise.
    Fault("parse_json.cpp", "content.size() > limit", "false"),
    Fault("parse_json.cpp", "frames_.size() == kDeepestJson", "false"),
    Fault("parse_json.cpp", "refuse_twice(frame.keys);", ""),
    Fault("parse_json.cpp", "find_bad_utf8(content)", "std::optional<int>()"),
    Fault("parse_json.cpp", "if (begins_with(content, kMark)) throw", "if (false) throw"),
    Fault("parse_json.cpp", "zero != content.npos", "false"),
    Fault("parse_json.cpp", "if (error.id == kNumberOverflow)", "if (false)"),
    Fault("characters.cpp", "(point < 0xd800 || point > 0xdfff)", "true"),
    Fault("characters.cpp", "point >= least[size] && ", ""),
    # Manifests: paths, counts, slots.
    Fault("check_files.cpp", "resolve_inside(folder, name)", "folder / name"),
    Fault("manifest.cpp", "resolve_inside(folder, std::string(kManifestFile));", ""),
    Fault("check_files.cpp", "if (found == expected.sha256) continue;", "continue;"),
    Fault("check_files.cpp", "(void)manifest.adapters.at(index);", "(void)index;"),
    Fault("manifest.cpp", "refuse(find_wrong_adapter(index, info, *base), where);", ""),
    Fault("manifest.cpp", "refuse(find_wrong_file(name, info), where);", ""),
    Fault("manifest.cpp", "content.size() > kLongest ? std::nullopt : ", ""),
    Fault("manifest.cpp", "if (!EntryLines::take_out(data) ||", "EntryLines::take_out(data);\n        if (false ||"),
    # Lines of a manifest that are left unread.
    Fault("entry_lines.cpp", "if (find_bad_utf8(content)) return std::nullopt;", ""),
    Fault("entry_lines.cpp", " || files.find('\\\\') != kNone", ""),
    Fault("entry_lines.cpp", "|| (place > 0 && !ends_with(lines.substr(0, place), kEnd))", ""),
    Fault("entry_lines.cpp", " || line.find(kName, found + 1) != kNone", ""),
    Fault("entry_lines.cpp", "*name != names_[index]", "false"),
    Fault("entry_lines.cpp", "all.rfind(key_of(name)) != place", "false"),
    Fault("entry_lines.cpp", "found.size() != 1", "false"),
    Fault("names.cpp", '|| has("..")', ""),
    Fault("names.cpp", 'name.substr(0, 1) == "/" || ', ""),
    Fault("names.cpp", 'name.find_first_of("\\\\:") != name.npos', "false"),
    Fault("names.cpp", "name.size() > kLongestPath || ", ""),
    Fault("names.cpp", "!(is_snapshot && is_within(real, blobs))", "!is_within(real, blobs)"),
    Fault("names.cpp", "!is_within(real, root)", "!is_within(real, root.parent_path())"),
    Fault("check_manifest.cpp", "value >= 1 && value <= largest", "value >= 1"),
    Fault("check_manifest.cpp", "token >= 0 && token < model.vocab_size", "token >= 0"),
    Fault("check_manifest.cpp", "info.bytes < 0 || ", ""),
    Fault("check_manifest.cpp", "pieces.size < kSmallestPiece || ", ""),
    Fault("check_manifest.cpp", " || pieces.size > kLargestPiece", ""),
    Fault("check_manifest.cpp", "found != (bytes + pieces.size - 1) / pieces.size", "false"),
    Fault("check_manifest.cpp", "if (part.offset != end)", "if (false)"),
    Fault("check_manifest.cpp", "if (end != slot.out_features)", "if (false)"),
    Fault("check_manifest.cpp", "!manifest_.files.has(name)", "false"),
    Fault("check_manifest.cpp", 'info.path != "adapters/" + info.name', "false"),
    Fault("check_manifest.cpp", "++counts[name] == 2", "false"),
    # Configurations, patterns, receipts, factors.
    Fault("patterns.cpp", "pattern.node_->cost() > kDearest", "false"),
    Fault("patterns.cpp", "++depth_ > kDeepest", "false"),
    Fault("patterns.cpp", "points.size() > kLongest", "false"),
    Fault("adapter_config.cpp", "rank >= 1 && rank <= kLargestRank", "rank >= 1"),
    Fault("adapter_config.cpp", "alpha > 0 && alpha <= kLargestAlpha", "alpha > 0"),
    Fault("adapter_config.cpp", "|| patterns.size() > kMostPatterns", ""),
    Fault("adapter_config.cpp", "token >= 0 && token <= kLargestToken", "token >= 0"),
    Fault("adapter_config.cpp", "&& tokens.size() <= kLongestInvocation", ""),
    Fault("open_adapter.cpp", "if (largest < manifest.model.vocab_size)", "if (true)"),
    Fault("check_receipt.cpp", "&& value->size() <= kMostTokens", ""),
    Fault("check_receipt.cpp", "&& ids->size() == logprobs->size()", ""),
    Fault("adapter.cpp", "if (!are_finite(values, tensor.count()))", "if (false)"),
    Fault("adapter.cpp", "a->rows != rank || b->columns != rank", "false"),
    Fault("adapter.cpp", "tensor.shape.size() != (is_gain ? 1 : 2) || ", ""),
    Fault("adapter.cpp", "item.in_features != place.in_features || ", ""),
    Fault("code_rows.cpp", "shape[0] < 1 || ", ""),
    Fault("code_rows.cpp", "if (shape[1] <= static_cast<std::int64_t>(kScaleBytes)) return false;", ""),
    Fault("code_rows.cpp", "!std::isfinite(scale) || ", ""),
    Fault("code_rows.cpp", " || !(scale > 0)", ""),
    Fault("code_rows.cpp", ".substr(0, codes_of(tensor))", ""),
    Fault("code_rows.cpp", ".find(kNoCode) == std::string_view::npos", ".empty() || true"),
    Fault("receipt.cpp", "receipt.fingerprint != ours.fingerprint", "false"),
    Fault("receipt.cpp", "if (found == *receipt.weights)", "if (true)"),
)  # fmt: skip

SOUND = Fault("spec.cpp", "constexpr double kLeastLikeness = 0.6;", "constexpr double kLeastLikeness = 0.6;")


def main() -> int:
    """Every fault that no test sees is told; exits 1 where there is one."""
    build = Path(sys.argv[1]).resolve()
    os.chdir(ROOT)
    signal.signal(signal.SIGALRM, _too_long)
    unseen = []
    with tempfile.TemporaryDirectory() as made:
        subprocess.run([*COMPILE, "-c", str(NATIVE / "tests/readers.cpp"), "-o", f"{made}/readers.o"], check=True)
        (Path(made) / "libedgelora.so").symlink_to(build / "libedgelora.so")  # for answers, without any fault
        assert not is_seen(SOUND, build, Path(made)), "a test fails without any fault"
        for fault in FAULTS if len(sys.argv) < 3 else [item for item in FAULTS if item.file == sys.argv[2]]:
            seen = is_seen(fault, build, Path(made))
            print(f"{'seen' if seen else 'NOT SEEN'}: {fault.file}: {fault.text}", flush=True)
            unseen += [] if seen else [fault]
    print(f"{len(unseen)} faults that no test sees")
    return 1 if unseen else 0


def is_seen(fault: Fault, build: Path, made: Path) -> bool:
    """Whether a test fails in a program with this fault."""
    source = made / fault.file
    source.write_text(planted(fault), encoding="utf-8")
    # What a file defines is not looked for in the library behind it.
    parts = [source, made / "readers.o", build / "libedgelora_core.a", "-lutf8proc", "-lpcre2-8", "-ldl", "-lpthread"]
    subprocess.run([*COMPILE, *map(str, parts), "-o", str(made / "readers")], check=True)
    os.environ["EDGELORA_NATIVE_BUILD"] = str(made)
    signal.alarm(PATIENCE)  # a reader that never ends has failed, too: it is seen as one that is gone
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return pytest.main(["-q", "-x", "-p", "no:cacheprovider", *TESTS]) != 0
    except TimeoutError:
        return True
    finally:
        signal.alarm(0)


def planted(fault: Fault) -> str:
    """The source with the fault in it."""
    source = (NATIVE / "src" / fault.file).read_text(encoding="utf-8")
    assert source.count(fault.text) == 1, f"{fault.file} has {fault.text!r} {source.count(fault.text)} times"
    return source.replace(fault.text, fault.instead)


def _too_long(*_: object) -> NoReturn:
    raise TimeoutError


if __name__ == "__main__":
    raise SystemExit(main())
