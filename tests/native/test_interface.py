"""The C interface as another language meets it: every conformance and refuse case, errors, streams, threads, cancel.

Knows nothing about C++; ``interface.py`` calls the shared library through ctypes.
"""

import json
import math
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from ctypes import byref, c_char_p, c_float, c_int32, c_size_t, c_void_p, sizeof
from pathlib import Path
from typing import Any

import pytest

from tests.conformance_check import FOLDER, read_cases
from tests.native.cases import Cases
from tests.native.conftest import ROOT
from tests.native.interface import (
    ADAPTER,
    ARTIFACT,
    CANCELLED,
    INVALID_INPUT,
    UNSUPPORTED,
    GenerateOptions,
    Library,
    Model,
    NativeError,
    int32s,
    on_text,
    on_token,
)
from tests.test_refuse import FILE, content_of


@pytest.fixture(scope="module")
def cases(library: Library) -> Cases:
    return Cases(library)


@pytest.fixture(scope="module")
def model(library: Library) -> Model:
    return library.load(FOLDER / "tiny-float")


@pytest.mark.parametrize("kind", sorted({case["kind"] for case in read_cases()}))
def test_every_case_of_a_kind(cases: Cases, kind: str) -> None:
    wanted = [case for case in read_cases() if case["kind"] == kind]
    wrong = []
    for case in wanted:
        try:
            getattr(cases, kind)(case)
        except (AssertionError, NativeError) as error:
            wrong.append(f"{case.get('artifact', '')} {case['name']}: {error}"[:300])
    assert len(wanted) > 2
    assert wrong == []


def test_every_refuse_case(library: Library) -> None:
    wrong = []
    for case in FILE["cases"]:
        try:
            if case["kind"] == "pattern":
                found = c_int32()
                names = case["field"], case["pattern"], case["module"]
                library.call("match_module", *(name.encode() for name in names), byref(found))
                is_right = bool(found.value) is case["expected"]
            else:
                content = content_of(case)
                library.call("check_file", case["kind"].encode(), content, c_size_t(len(content)))
                is_right = bool(case.get("accepted"))
        except NativeError as error:
            message = str(error)
            is_right = case.get("message_has", "\0") in message and len(message) < 500 and message.isprintable()
        if not is_right:
            wrong.append(f"{case['kind']} {case['name']}")
    assert wrong == []


def test_versions(library: Library) -> None:
    header = (ROOT / "runtime/native/include/edgelora.h").read_text()
    assert f"#define EDGELORA_API_VERSION {library['api_version']()}\n" in header
    assert library["version"]().decode() == "0.1.0"


def test_nothing_else_is_exported(built: Path) -> None:
    command = ["nm", "--dynamic", "--defined-only", "--format=just-symbols", str(built / "libedgelora.so")]
    names = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    header = "".join(path.read_text() for path in (ROOT / "runtime/native/include").glob("*.h"))
    declared = set(re.findall(r"EDGELORA_API [^;]*?\b(edgelora_\w+)\(", header))
    assert len(declared) > 40
    assert names == declared


def test_the_example_of_the_page_compiles_and_answers(
    built: Path, onnxruntime: Path, model: Model, tmp_path: Path
) -> None:
    page = (ROOT / "runtime/native/README.md").read_text()
    (source,) = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    source = source.replace('"artifact"', f'"{FOLDER / "tiny-float"}"').replace('"support"', '"four"')
    (tmp_path / "example.c").write_text(source)
    words = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT / 'runtime/native/include'}"]
    library = [f"-L{built}", f"-Wl,-rpath,{built}", "-ledgelora"]
    subprocess.run(["gcc", *words, tmp_path / "example.c", "-o", tmp_path / "example", *library], check=True)
    environment = {**os.environ, "EDGELORA_ONNXRUNTIME": str(onnxruntime)}
    done = subprocess.run([tmp_path / "example"], capture_output=True, env=environment, check=True)
    answer = model.generate("My order is late", adapter="four").text
    assert done.stdout.decode() == answer.split("\0")[0] + "\n"


def test_info_tells_what_is_loaded(model: Model) -> None:
    info = model.info()
    assert info["manifest"] == json.loads((FOLDER / "tiny-float/manifest.json").read_text())
    assert (info["adapters"], info["adapter"]) == (["one", "four", "eight"], "none")
    assert info["has_tokenizer"] and info["has_template"] and info["onnxruntime"].startswith("1.")


def test_info_tells_of_threads_and_operators(library: Library) -> None:
    with_operators = library.load(FOLDER / "tiny-float", threads=2).info()
    without = library.load(FOLDER / "tiny-float", operators="").info()
    assert with_operators["manifest"]["graph"]["fused"], "there is a graph that needs them"
    assert (with_operators["threads"], with_operators["operators"]) == (2, True)
    assert 1 <= without["threads"] <= 4 and without["operators"] is False
    assert library.load(FOLDER / "tiny-web").info()["operators"] is False


@pytest.mark.parametrize("path", ["\x04" * 200, "folder/" * 200, "é" * 3000])
def test_an_error_about_a_long_path_is_one_line_of_bearable_length(library: Library, path: str) -> None:
    with pytest.raises(NativeError) as raised:
        library.load(Path(path))
    message = str(raised.value)
    assert message.isprintable() and len(message) < 500
    assert "…" in message
    assert not message.endswith("…"), "what to do is the end of it"


def test_what_cannot_be_loaded_is_refused(library: Library, tmp_path: Path) -> None:
    with pytest.raises(NativeError, match=r"manifest\.json") as caught:
        library.load(tmp_path)
    assert caught.value.code == ARTIFACT
    with pytest.raises(NativeError, match="libnone") as caught:
        library.load(FOLDER / "tiny-float", onnxruntime=tmp_path / "libnone.so")
    assert caught.value.code == UNSUPPORTED
    with pytest.raises(NativeError, match="threads is -1"):
        library.load(FOLDER / "tiny-float", threads=-1)


def test_null_is_refused_wherever_it_stands(library: Library, model: Model) -> None:
    for name, arguments in (
        ("load", (None, None, byref(c_void_p()))),
        ("load", (b"somewhere", None, None)),
        ("generate", (None, b"", c_size_t(0), None, byref(c_void_p()))),
        ("generate", (model.handle, None, c_size_t(1), None, byref(c_void_p()))),
        ("generate", (model.handle, b"x", c_size_t(1), None, None)),
        ("chat", (model.handle, None, None, byref(c_void_p()))),
        ("generate_ids", (model.handle, None, None, c_size_t(1), None, byref(c_void_p()))),
        ("encode", (model.handle, b"x", c_size_t(1), c_int32(0), None, None)),
        ("render", (model.handle, None, byref(c_char_p()), None)),
        ("check_file", (None, b"", c_size_t(0))),
    ):
        with pytest.raises(NativeError, match="is NULL") as caught:
            library.call(name, *arguments)
        assert caught.value.code == INVALID_INPUT, name
    for name in ("model_free", "generation_free", "error_free", "cancel_free", "cancel_set", "free"):
        library[name](None)
    assert library["generation_rows"](None) == 0
    assert library["load"](None, None, None, None) == INVALID_INPUT, "the caller may want no error"


def test_a_failure_leaves_no_size_behind(library: Library, model: Model) -> None:
    conversation, ids = library.conversation({"messages": []}), int32s([-1])
    for name, arguments in (
        ("decode", (model.handle, ids, c_size_t(1), c_int32(0))),
        ("model_info", (None,)),
        ("probe", (model.handle, b"nope")),
        ("render", (model.handle, byref(conversation))),
        ("labels", (model.handle, None)),
        ("classify", (model.handle, b'["x"]', None)),
        ("tag", (model.handle, b'["x"]', None)),
    ):
        text, size = c_char_p(b"left"), c_size_t(12345)
        with pytest.raises(NativeError):
            library.call(name, *arguments, byref(text), byref(size))
        assert (text.value, size.value) == (None, 0), name


@pytest.mark.parametrize("name", ["none", "one+four", "nope"])
def test_a_probe_of_no_adapter_names_those_that_are_there(library: Library, model: Model, name: str) -> None:
    with pytest.raises(NativeError, match=r"unknown adapter .*one, four, eight"):
        library.text("probe", model.handle, name.encode())


def test_text_that_is_no_utf8_and_json_that_is_none_are_refused(library: Library, model: Model) -> None:
    with pytest.raises(NativeError, match="prompt is no UTF-8 at byte 1"):
        library.call("generate", model.handle, b"a\xff", c_size_t(2), None, byref(c_void_p()))
    for messages in (b"[", b"{}", b"[]", b'[{"role": 1}]', b'[{"role": "user", "content": "\xff"}]'):
        with pytest.raises(NativeError, match="message") as caught:
            library.call("chat", model.handle, messages, None, byref(c_void_p()))
        assert caught.value.code == INVALID_INPUT
    for option in ("stop", "choices", "adapters"):
        with pytest.raises(NativeError, match=f"{option} is .*, expected a list of strings"):
            model.generate("x", **{option: [1]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0, "top_p": 0.0}, "temperature is -1.*; top_p is 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"stop": [""]}, "stop is"),
        ({"choices": []}, "choices is"),
        ({"choices": ["a"], "stop": ["b"]}, "choices and stop exclude each other"),
        ({"raw": 1, "date": "2026-01-02"}, "leave one out"),
        ({"date": "2026-13-02"}, "expected a day as YYYY-MM-DD"),
        ({"adapters": ["one", "four"]}, "2 adapters for 1 prompts"),
        ({"template": {"messages": 1}}, "cannot be set"),
    ],
)
def test_options_that_cannot_be_used_are_refused(model: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NativeError, match=message) as caught:
        model.generate("x", **options)
    assert caught.value.code == INVALID_INPUT


def test_an_older_caller_with_fewer_options_is_served(library: Library, model: Model) -> None:
    options = GenerateOptions()
    library["generate_options_init"](byref(options), c_size_t(GenerateOptions.adapter.offset))
    assert options.struct_size == GenerateOptions.adapter.offset
    options.adapter = b"not known to this caller"
    options.max_new_tokens = 3
    generation = c_void_p()
    library.call("generate", model.handle, b"fox", c_size_t(3), byref(options), byref(generation))
    library["generation_free"](generation)
    for size in (0, GenerateOptions.adapter.offset + 1, GenerateOptions.adapter.offset + 4):  # in half of a pointer
        options.struct_size = size
        with pytest.raises(NativeError, match=f"struct_size {size}, expected the size of the structure"):
            library.call("generate", model.handle, b"fox", c_size_t(3), byref(options), byref(generation))
    assert sizeof(options) > GenerateOptions.adapter.offset


def test_adapters_come_and_go(library: Library, model: Model) -> None:
    folder = FOLDER / "tiny-float/adapters/four"
    library.call("load_adapter", model.handle, b"mine", str(folder).encode(), c_int32(0))
    assert model.info()["adapters"] == ["one", "four", "eight", "mine"]
    assert model.generate("fox", adapter="mine") == model.generate("fox", adapter="four")
    library.call("set_adapter", model.handle, b"mine:0.5")
    assert model.generate("fox") == model.generate("fox", adapter="four:0.5")
    with pytest.raises(NativeError, match="is in use") as caught:
        library.call("unload_adapter", model.handle, b"mine")
    assert caught.value.code == ADAPTER
    library.call("set_adapter", model.handle, b"none")
    library.call("unload_adapter", model.handle, b"mine")
    with pytest.raises(NativeError, match="mine"):
        model.generate("fox", adapter="mine")


def test_a_batch_answers_as_its_rows_do_alone(model: Model) -> None:
    prompts, specs = ["fox", "Zürich 東京", "dog"], ["four", "none", "one:0.7+eight:0.3"]
    together = model.generate_batch(prompts, adapters=specs, max_new_tokens=8)
    alone = [
        model.generate(prompt, adapter=spec, max_new_tokens=8) for prompt, spec in zip(prompts, specs, strict=True)
    ]
    assert together == alone


@pytest.mark.parametrize("operators", [None, ""])
def test_what_is_no_number_is_refused_and_nothing_goes_on_from_it(library: Library, operators: str | None) -> None:
    model = library.load(FOLDER / "tiny-float", **({} if operators is None else {"operators": operators}))
    prompt, vast = [*range(5, 14)], "one:1e38"
    expected = model.generate_ids([prompt], adapter="one", max_new_tokens=8)
    calls = (
        lambda: model.generate_ids([prompt], adapter=vast),
        lambda: model.generate_ids([prompt, prompt[:4]], adapters=["none", vast]),
        lambda: model.logits(prompt, vast, [8]),
        lambda: model.generate("yes", adapter=vast, choices=["no", "maybe"]),
    )
    for call in calls:
        with pytest.raises(NativeError, match=r"^base computed nan where a number is due; give adapters sm") as caught:
            call()
        assert caught.value.code == ARTIFACT
        assert model.generate_ids([prompt], adapter="one", max_new_tokens=8) == expected


def test_a_callback_ends_an_answer(model: Model) -> None:
    whole = model.generate("fox", max_new_tokens=20)
    pieces: list[str] = []

    def take(_: int, piece: str) -> bool:
        pieces.append(piece)
        return len(pieces) < 3

    answer = model.generate("fox", max_new_tokens=20, on_text=on_text(take))
    assert answer.finish_reason == "cancelled"
    assert len(pieces) == 3 and answer.text == "".join(pieces) and whole.text.startswith(answer.text)
    tokens: list[int] = []
    ended = on_token(lambda _, token: tokens.append(token) is None and len(tokens) < 4)
    (by_ids,) = model.generate_ids([[5, 6, 7]], on_token=ended)
    assert (by_ids.token_ids, by_ids.finish_reason) == (tokens, "cancelled") and len(tokens) == 4


def test_a_callback_cannot_call_its_own_model(library: Library, model: Model) -> None:
    refused: list[str] = []

    def take(_: int, piece: str) -> bool:
        try:
            model.generate("dog")
        except NativeError as error:
            refused.append(str(error))
        assert model.encode("dog"), "text waits for no answer"
        return False

    model.generate("fox", max_new_tokens=4, on_text=on_text(take))
    assert "a callback calls the model" in refused[0]
    assert model.generate("fox", max_new_tokens=4).text


def _cancelled(library: Library) -> Iterator[c_void_p]:
    flag = c_void_p(library["cancel_create"]())
    yield flag
    library["cancel_free"](flag)


@pytest.fixture
def flag(library: Library) -> Iterator[c_void_p]:
    yield from _cancelled(library)


def test_another_thread_ends_an_answer_and_the_model_goes_on(library: Library, model: Model, flag: c_void_p) -> None:
    expected = model.generate("fox", max_new_tokens=200)
    n_tokens = len(expected.token_ids)
    assert n_tokens > 20, "there must be something to interrupt"
    started = threading.Event()

    def cancel() -> None:
        started.wait(60)
        library["cancel_set"](flag)

    def take(_: int, token: int) -> bool:
        started.set()
        time.sleep(0.05)
        return True

    other = threading.Thread(target=cancel)
    other.start()
    with pytest.raises(NativeError) as caught:
        model.generate("fox", max_new_tokens=200, cancel=flag, on_token=on_token(take))
    other.join()
    assert caught.value.code == CANCELLED
    with pytest.raises(NativeError, match="cancelled"):
        model.generate("fox", cancel=flag)
    library["cancel_reset"](flag)
    assert model.generate("fox", max_new_tokens=200, cancel=flag) == expected


def test_one_model_serves_many_threads(model: Model) -> None:
    specs = ["none", "one", "four", "eight", "four:0.5", "one:0.7+eight:0.3"]
    expected = {spec: model.generate("fox", adapter=spec, max_new_tokens=6) for spec in specs}
    wrong: list[str] = []

    def ask(offset: int) -> None:
        for index in range(4):
            spec = specs[(index + offset) % len(specs)]
            if model.generate("fox", adapter=spec, max_new_tokens=6) != expected[spec]:
                wrong.append(spec)

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len({answer.text for answer in expected.values()}) > 3


def test_logits_need_room_for_exactly_what_comes(library: Library, model: Model) -> None:
    (row,) = model.logits([1, 2, 3], "none", [2])
    assert len(row) == library["vocab_size"](model.handle) == 384
    assert all(map(math.isfinite, row))
    room, positions = (c_float * 10)(), (c_size_t * 1)(2)
    given = int32s([1, 2, 3]), c_size_t(3), None, positions, c_size_t(1), None, room, c_size_t(10)
    with pytest.raises(NativeError, match="n_logits is 10, expected 1 positions times 384"):
        library.call("logits", model.handle, *given)
