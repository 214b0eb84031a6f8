"""Every kind of row, every kind of line that is none, and the file that has no row at all."""

import json

import pytest

from edgelora.data.rows import Row, read_rows
from edgelora.errors import DataError


def write(tmp_path, *lines):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return path


def test_every_kind_of_row(tmp_path):
    ask = {"role": "user", "content": "Zürich?"}
    rows = read_rows(
        write(
            tmp_path,
            {"prompt": "Zürich?", "completion": " ja "},
            {"messages": [{"role": "system", "content": "kurz"}, ask, {"role": "assistant", "content": "東京"}]},
            {"text": "plain"},
            {"text": "great", "label": "good"},
            {"text": "great", "label": 0},
            {"prompt": [ask], "completion": [{"role": "assistant", "content": "ja"}]},
        )
    )
    assert rows.problems == ()
    assert rows.rows == (
        Row(1, (ask,), " ja "),
        Row(2, ({"role": "system", "content": "kurz"}, ask), "東京"),
        Row(3, "", "plain"),
        Row(4, ({"role": "user", "content": "great"},), "good", label=True),
        Row(5, ({"role": "user", "content": "great"},), "0", label=True),
        Row(6, (ask,), "ja"),
    )


BAD = {
    b"": "the line is empty",
    b"   ": "the line is empty",
    b'{"text": "caf\xe9"}': "not UTF-8 at byte 13",
    b'{"text": "a"': "not JSON",
    b"[" * 100_000: "not JSON (nested more than 100 deep)",
    b'{"text": "a", "text": "b"}': "the key 'text' stands twice",
    b'{"text": "a", "x": NaN}': "NaN is no number",
    b"[1]": "a JSON list, not an object",
    b'{"txt": "a"}': "has the keys ['txt']",
    b'{"text": ""}': "text is empty",
    b'{"text": "a", "label": null}': "label is empty",
    b'{"text": "a", "label": true}': "label is empty",
    b'{"prompt": "a"}': "completion is missing",
    b'{"completion": "a"}': "prompt is missing",
    b'{"prompt": "a", "completion": " "}': "completion is missing, empty",
    b'{"prompt": "a", "completion": 3}': "completion is missing, empty or no string",
    b'{"messages": []}': "messages is []",
    b'{"messages": [{"role": "user", "content": "a"}]}': "the last message is of role 'user'",
    b'{"messages": [{"role": "assistant", "content": "a"}]}': "has no message before the answer",
    b'{"messages": [{"role": "user"}, {"role": "assistant", "content": "a"}]}': "message 0: content is missing",
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}': "the answer is empty",
    b'{"text": "\\ud800"}': "half of a surrogate pair",
}


@pytest.mark.parametrize("line", BAD, ids=lambda line: line[:40].decode("latin-1"))
def test_a_line_that_is_no_row_keeps_its_number_and_reason(tmp_path, line):
    rows = read_rows(write(tmp_path, {"text": "good"}, line, {"text": "good"}))
    assert [row.line for row in rows.rows] == [1, 3]
    (problem,) = rows.problems
    assert problem.line == 2
    assert BAD[line] in problem.reason


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n')
    assert [row.completion for row in read_rows(path).rows] == ["a", "b"]


def test_a_file_without_rows_names_the_first_problems(tmp_path):
    with pytest.raises(DataError, match=r"line 1: text is empty.*line 2: a JSON list.*line 3: not JSON.*and 1 more"):
        read_rows(write(tmp_path, {"text": ""}, [], b"{", b"x"))
    with pytest.raises(DataError, match="no usable row: it is empty"):
        read_rows(write(tmp_path))
    with pytest.raises(DataError, match="is not a file"):
        read_rows(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"prompt": "a", "completion": "b", "label": false}', "label: a preference row"),
        ('{"prompt": "a", "completion": "b", "label": true}', "label: a preference row"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}', "chosen, rejected: a preference row"),
        ('{"chosen": [], "rejected": []}', "chosen, rejected: a preference row"),
        ('{"prompt": "a", "completions": ["b"], "labels": [true]}', "completions: a preference row"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}',
            "weight 0",
        ),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 2}]}',
            "weight is 2",
        ),
        ('{"messages": [{"role": "user", "content": null}, {"role": "assistant", "content": "b"}]}', "content is None"),
        ('{"messages": [{"role": "user"}, {"role": "assistant", "content": "b"}]}', "content is missing"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "b"}]}',
            "part 0 is of type 'image'",
        ),
        ('{"prompt": "a", "completion": [{"role": "user", "content": "b"}]}', "the completion is of role 'user'"),
    ],
)
def test_rows_that_say_not_to_be_learned_are_refused_by_name(tmp_path, line, reason):
    path = tmp_path / "rows.jsonl"
    path.write_text(line + '\n{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    found = read_rows(path)
    assert [row.line for row in found.rows] == [2]
    assert reason in found.problems[0].reason
