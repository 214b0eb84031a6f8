"""``edgelora-run`` from end to end: answers, exit codes, one line for whatever is wrong, a folder of its own.

Knows nothing about C++; the Python runtime says what the answers are.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgelora_runtime import load
from edgelora_runtime.manifest import file_info, read_manifest
from tests.conformance_check import FOLDER, read_cases
from tests.native.test_probe_native import logits_of, record, with_receipt

TINY = FOLDER / "tiny-float"
LARGEST_PROGRAM = 2_000_000  # bytes, as `make native` leaves it

TEXTS = [case for case in read_cases() if case["kind"] == "text" and case["artifact"] == "tiny-float"]
CHOICES = [case for case in read_cases() if case["kind"] == "choices" and case["artifact"] == "tiny-float"]


class Program:
    def __init__(self, path: Path, onnxruntime: Path) -> None:
        self.path = path
        self.environment = {**os.environ, "EDGELORA_ONNXRUNTIME": str(onnxruntime)}

    def run(self, *words: object, stdin: str | bytes | None = None) -> subprocess.CompletedProcess[str]:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        command = [self.path, *map(str, words)]
        source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if given is None else {"input": given}
        done = subprocess.run(command, capture_output=True, env=self.environment, timeout=900, **source)
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())

    def fails(self, code: int, *words: object, stdin: str | bytes | None = None) -> str:
        """What standard error says, in one line of bearable length."""
        done = self.run(*words, stdin=stdin)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("edgelora-run: ") and len(line) < 600
        return line.removeprefix("edgelora-run: ")


@pytest.fixture(scope="module")
def program(built: Path, onnxruntime: Path) -> Program:
    return Program(built / "edgelora-run", onnxruntime)


def words_of(case: dict[str, Any]) -> list[str]:
    words = ["--adapter", case["adapter"], "--max-new-tokens", str(case.get("max_new_tokens", 128))]
    words += ["--raw"] if case["raw"] else []
    for key, value in case.get("sampling", {}).items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    for stop in case.get("stop", ()):
        words += ["--stop", stop]
    return words


@pytest.mark.parametrize("case", TEXTS[:5], ids=lambda case: case["name"])
def test_answers_are_those_of_the_cases_streamed_and_as_json(program: Program, case: dict[str, Any]) -> None:
    done = program.run(TINY, "--prompt", case["prompt"], *words_of(case))
    assert (done.returncode, done.stdout, done.stderr) == (0, case["expected_text"] + "\n", "")
    done = program.run(TINY, f"--prompt={case['prompt']}", "--json", *words_of(case))
    assert json.loads(done.stdout) == {
        "results": [
            {
                "prompt": case["prompt"],
                "adapter": case["adapter"],
                "text": case["expected_text"],
                "token_ids": case["expected_ids"],
                "finish_reason": case["expected_reason"],
            }
        ]
    }


def test_choices_have_scores_in_json(program: Program) -> None:
    case = CHOICES[0]
    words = [word for choice in case["choices"] for word in ("--choices", choice)]
    done = program.run(TINY, "--prompt", case["prompt"], "--adapter", case["adapter"], *words)
    assert (done.returncode, done.stdout) == (0, case["expected_text"] + "\n")
    done = program.run(TINY, "--prompt", case["prompt"], "--adapter", case["adapter"], "--json", *words)
    (result,) = json.loads(done.stdout)["results"]
    assert list(result["choice_scores"]) == case["choices"]
    assert list(result["choice_scores"].values()) == pytest.approx(case["expected_scores"], abs=case["tolerance"])


def test_a_file_answers_each_line_with_its_adapter(program: Program, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "dog"}]
    path = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "fox"}, {"messages": messages, "adapter": "four:0.5"}]
    path.write_text("\n\n".join(map(json.dumps, lines)))
    done = program.run(TINY, "--file", path, "--adapter", "one", "--json", "--max-new-tokens", 6)
    assert done.returncode == 0, done.stderr
    with load(TINY) as model:
        expected = [
            model.generate("fox", adapter="one", max_new_tokens=6),
            model.chat(messages, adapter="four:0.5", max_new_tokens=6),
        ]
    results = json.loads(done.stdout)["results"]
    assert [(item["adapter"], item["prompt"]) for item in results] == [("one", "fox"), ("four:0.5", messages)]
    assert [item["text"] for item in results] == [answer.text for answer in expected]


def test_the_prompt_may_come_from_standard_input(program: Program) -> None:
    piped = program.run(TINY, "--max-new-tokens", 5, stdin="fox\n")
    assert piped.returncode == 0
    assert piped.stdout == program.run(TINY, "--max-new-tokens", 5, "--prompt", "fox").stdout


def test_a_conversation_changes_its_adapter_and_forgets(program: Program) -> None:
    said = "fox\n/adapter four\ndog\n/reset\n/stats\nfox\n/nothing\n/quit\nnever read\n"
    done = program.run(TINY, "--chat", "--max-new-tokens", 5, "--system", "Be brief.", stdin=said)
    assert done.returncode == 0, done.stderr
    system = {"role": "system", "content": "Be brief."}
    with load(TINY) as model:
        talk: list[dict[str, str]] = [system, {"role": "user", "content": "fox"}]
        first = model.chat(talk, max_new_tokens=5)
        talk += [{"role": "assistant", "content": first.text}, {"role": "user", "content": "dog"}]
        second = model.chat(talk, adapter="four", max_new_tokens=5)
        third = model.chat([system, {"role": "user", "content": "fox"}], adapter="four", max_new_tokens=5)
    assert done.stdout == "".join(f"{answer.text}\n" for answer in (first, second, third))
    notes = [line.removeprefix("edgelora-run: ") for line in done.stderr.splitlines()]
    assert notes[1] == "adapter four of none, one, four, eight"
    assert notes[3] == "a new conversation"
    assert notes[4].startswith("2 answers, 10 tokens, ") and "resident" in notes[4]
    assert notes[6].startswith("no command '/nothing'")
    assert len(notes) == 7


def test_a_conversation_ends_where_nobody_can_read_it(program: Program) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [program.path, TINY, "--chat", "--max-new-tokens", "5"],
            input=b"fox\nfox\n", stdout=full, stderr=subprocess.PIPE, env=program.environment, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"No space left on device" in done.stderr


def test_an_interrupt_ends_the_reading_of_a_message_and_keeps_the_conversation(program: Program) -> None:
    """A prompt takes as long as many tokens; Ctrl-C must not wait for it."""
    command = [program.path, TINY, "--chat", "--max-new-tokens", "100000"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=program.environment
    ) as running:
        assert running.stdin is not None and running.stdout is not None and running.stderr is not None
        running.stdin.write(b"fox\n")
        running.stdin.flush()
        assert running.stdout.read(1)  # it answers, for ever
        running.send_signal(signal.SIGINT)
        assert b"interrupted after " in running.stderr.readline()
        said, notes = running.communicate(b"/stats\n", timeout=60)
    assert running.returncode == 0 and said.endswith(b"\n")
    assert b"1 answers, " in notes


def test_an_artifact_answers_as_its_task_does(program: Program, tmp_path: Path) -> None:
    lines = tmp_path / "texts.jsonl"
    lines.write_text('{"text": "my order is late"}\n')
    topics = FOLDER / "encoder-topics"
    asked = program.run(topics, "--classify", "--prompt", "my order is late", "--json")
    for words in (("--prompt", "my order is late"), ("--file", lines)):
        assert program.run(topics, *words, "--json").stdout == asked.stdout
    told = json.loads(program.run(topics, "--file", lines, "--json", "--memory").stdout)
    assert told["results"] == json.loads(asked.stdout)["results"] and told["memory"]["resident"] > 0


def test_libraries_are_files_of_the_current_folder_too(program: Program, onnxruntime: Path, tmp_path: Path) -> None:
    (tmp_path / "my_ort.so").symlink_to(onnxruntime)
    (tmp_path / "my_ops.so").symlink_to(program.path.parent / "libedgelora_ops.so")
    words = ["--prompt", "fox", "--onnxruntime", "my_ort.so", "--operators", "my_ops.so", "--max-new-tokens", "3"]
    done = subprocess.run([program.path, TINY, *words], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_list_version_help_and_memory(program: Program) -> None:
    assert program.run(TINY, "--list").stdout == "none\none  rank 1\nfour  rank 4\neight  rank 8\n"
    assert program.run("--version").stdout == "edgelora-run 0.1.0\n"
    shown = program.run("--help").stdout
    assert "Usage: edgelora-run ARTIFACT" in shown and "--repetition-penalty X" in shown
    assert max(map(len, shown.splitlines())) <= 120
    done = program.run(TINY, "--prompt", "fox", "--memory", "--json", "--max-new-tokens", 2)
    memory = json.loads(done.stdout)["memory"]
    assert memory["resident"] == memory["private"] + memory["shared"]
    assert 1e6 < memory["anonymous"] <= memory["private"] < memory["resident"] < 1e9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no artifact"),
        (("{nothing}", "--prompt", "x"), "is not a folder"),
        (("{tiny}", "--promt", "x"), "no such option: --promt; did you mean --prompt?"),
        (("{tiny}", "--prompt"), "--prompt needs a value"),
        (("{tiny}", "again"), "unexpected 'again'"),
        (("{tiny}", "--prompt", "x", "--file", "y"), "exclude each other"),
        (("{tiny}", "--file", "{nothing}"), "none: No such file"),
        (("{tiny}", "--prompt", "x", "--adapter", "fuor"), "four"),
        (("{tiny}", "--prompt", "x", "--adapter", "one:x"), "weight"),
        (("{tiny}", "--prompt", "x", "--temperature", "-1"), "temperature is -1"),
        (("{tiny}", "--prompt", "x", "--temperature", "hot"), "--temperature is 'hot', expected a number"),
        (("{tiny}", "--prompt", "x", "--max-new-tokens", "0"), "expected a whole number from 1"),
        (("{tiny}", "--prompt", "x", "--seed", "-1"), "--seed is '-1'"),
        (("{tiny}", "--prompt", "x", "--template-var", "a=True"), "write a=true"),
        (("{tiny}", "--prompt", "x", "--json=1"), "--json takes no value"),
        (("{tiny}", "--prompt", "x", "--onnxruntime", "{nothing}"), "onnxruntime"),
        (("{tiny}", "--prompt", "x", "--threads", "9999"), "expected a whole number from 1 to 4096"),
        (("{tiny}", "--prompt", "x", "--threads", " 1"), "--threads is ' 1'"),
        (("{tiny}", "--prompt", "x", "--temperature", "0x1p-1"), "--temperature is '0x1p-1', expected a number"),
        (("{tiny}", "--chat", "--raw"), "leave out --raw"),
        (("{tiny}", "--list", "--verify"), "exclude each other"),
        (("{tiny}", "--list", "--memory"), "--memory is for answers"),
        (("{tiny}", "--chat", "--temperature", "-1"), "temperature is -1"),
        (("{tiny}", "--chat", "--date", "x"), "date is 'x'"),
        (("{tiny}", "--chat", "--stop="), "stop is ['']"),
        (("{tiny}", "--embed", "--prompt", "x"), "--embed: {tiny} is for text-generation; give none of the three"),
        (("{topics}", "--tag", "--prompt", "x"), "--tag: {topics} is for text-classification; give --classify"),
        (("{topics}", "--chat"), "makes no text"),
        (("{topics}", "--classify", "--prompt", "x", "--top-p", "0.5"), "make no text"),
        (("{topics}", "--prompt", "x", "--max-new-tokens", "5"), "makes no text"),
        (("{images}", "--prompt", "x"), "which this program has no input for"),
        (("{tiny}",), "no prompt"),
    ],
)
def test_bad_usage_and_bad_input_end_with_2_and_one_line(
    program: Program, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    places = {name: FOLDER / f"encoder-{name}" for name in ("topics", "images")}
    places |= {"tiny": TINY, "nothing": tmp_path / "none"}
    given = [word.format(**places) for word in words]
    assert message.format(**places) in program.fails(2, *given)


def test_a_file_names_the_lines_that_hold_no_prompt(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "x"}\n[1]\n{"question": "x"}\nno\n{"prompt": "x", "adapter": 3}\n')
    line = program.fails(2, TINY, "--file", path)
    assert "line 2: a JSON array" in line and "line 3: has the keys" in line and "and 1 more" in line
    path.write_text('{"prompt": NaN}\n')
    assert "line 1: not JSON (NaN is no number of JSON); expected" in program.fails(2, TINY, "--file", path)
    path.write_text("\n\f\n")
    assert "is empty" in program.fails(2, TINY, "--file", path)


def test_text_that_is_no_utf8_is_refused(program: Program) -> None:
    assert "no UTF-8 at byte 1" in program.fails(2, TINY, stdin=b"a\xff")
    done = subprocess.run(
        [program.path, TINY, "--prompt", b"\xff"], capture_output=True, env=program.environment, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"") and b"--prompt is no UTF-8" in done.stderr


def test_verify_accepts_what_is_sound(program: Program, tmp_path: Path) -> None:
    assert program.run(TINY, "--verify").returncode == 0
    copy = shutil.copytree(TINY, tmp_path / "copy")
    adapter = copy / "adapters/one/adapter_model.safetensors"
    content = adapter.read_bytes()
    adapter.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    told = program.fails(2, copy, "--prompt", "x", "--adapter", "one")
    assert "adapter_model.safetensors" in told, "small files are hashed before they are used"
    assert "adapter_model.safetensors" in program.fails(1, copy, "--verify"), "the base can be used, that adapter not"
    os.truncate(copy / "weights.bin", 100)
    done = program.run(copy, "--verify", "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (1, False)
    (copy / "manifest.json").write_text("{}")
    assert "manifest.json" in program.fails(2, copy, "--verify"), "no artifact at all"


def seal(folder: Path, *names: str) -> None:
    """Record in the manifest that these files are as they are now."""
    manifest = read_manifest(folder)
    files = {**manifest.files, **{name: file_info(folder / name) for name in names}}
    (folder / "manifest.json").write_text(dataclasses.replace(manifest, files=files).to_json(), encoding="utf-8")


def test_a_probe_that_is_answered_otherwise_ends_verify_with_1(program: Program, tmp_path: Path) -> None:
    copy = shutil.copytree(TINY, tmp_path / "copy")
    shutil.rmtree(copy / "adapters/four")
    base, four = logits_of("none"), logits_of("four")
    with_receipt(copy / "adapters/four", record(base, four))
    seal(copy, "adapters/four/receipt.json")
    assert program.run(copy, "--verify").returncode == 0
    shutil.rmtree(copy / "adapters/four")
    with_receipt(copy / "adapters/four", record(base, four + 4 * np.sin(np.arange(len(four)))))
    assert "receipt.json" in program.fails(2, copy, "--prompt", "x", "--adapter", "four"), (
        "not the bytes that the manifest has"
    )
    seal(copy, "adapters/four/receipt.json")
    assert "does not do what its receipt says" in program.fails(1, copy, "--verify")
    done = program.run(copy, "--verify", "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (1, False)
    assert "receipt says" in json.loads(done.stdout)["problem"]


def test_what_only_onnxruntime_refuses_is_a_fault_of_the_program(program: Program, tmp_path: Path) -> None:
    """A graph that was written so and opens: nobody who runs it can put it right."""
    copy = shutil.copytree(TINY, tmp_path / "copy")
    graph = onnx.load(copy / "decoder.fused.onnx", load_external_data=False)
    node = next(node for node in graph.graph.node if node.op_type == "LowRank")
    next(item for item in node.attribute if item.name == "slot").i = 99
    onnx.save(graph, copy / "decoder.fused.onnx")
    seal(copy, "decoder.fused.onnx")
    words = (copy, "--prompt", "fox", "--adapter", "one", "--operators", program.path.with_name("libedgelora_ops.so"))
    assert "onnxruntime says" in (line := program.fails(70, *words))
    assert "blocks have fewer slots than the graph" in line


def test_the_reader_of_the_answer_may_leave(program: Program) -> None:
    command = [program.path, TINY, "--prompt", "fox", "--max-new-tokens", "200"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=program.environment
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 0


def test_an_interrupt_ends_it_with_130(program: Program) -> None:
    command = [program.path, TINY, "--chat"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=program.environment
    ) as running:
        assert running.stdin is not None and running.stdout is not None
        running.stdin.write(b"fox\n")
        running.stdin.flush()
        running.stdout.read(1)
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert running.returncode == 130
        assert said.endswith(b"edgelora-run: interrupted\n")


def test_it_is_small_and_needs_nothing_but_glibc(program: Program) -> None:
    assert program.path.stat().st_size < LARGEST_PROGRAM
    shown = subprocess.run(["ldd", program.path], capture_output=True, text=True, check=True).stdout
    needed = {line.split()[0].split("/")[-1] for line in shown.splitlines()}
    assert {name for name in needed if not name.startswith(("linux-vdso", "ld-linux", "libc.", "libm."))} == set()


def test_a_folder_with_onnxruntime_beside_the_program_needs_no_setting(
    program: Program, onnxruntime: Path, tmp_path: Path
) -> None:
    copy = shutil.copy(program.path, tmp_path / "edgelora-run")
    (tmp_path / onnxruntime.name).symlink_to(onnxruntime)
    environment = {key: value for key, value in os.environ.items() if key != "EDGELORA_ONNXRUNTIME"}
    command = [copy, TINY, "--prompt", "fox", "--max-new-tokens", "3"]
    done = subprocess.run(command, capture_output=True, env=environment, stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
