"""Rows from CSV and Parquet, and in the shapes of Alpaca and ShareGPT: equal to the same rows in JSON lines."""

import json
import sys

import pyarrow
import pyarrow.parquet
import pytest

from edgelora.data.rows import Row, read_rows
from edgelora.errors import DataError

ASK = {"role": "user", "content": "Zürich?"}


def lines(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_rows(path)


def table(tmp_path, text, name="rows.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def parquet(tmp_path, rows):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_alpaca_and_sharegpt_are_the_conversations_that_they_stand_for(tmp_path):
    found = lines(
        tmp_path,
        {"instruction": "Zürich?", "input": "", "output": "ja", "text": "all of it in one"},
        {"instruction": "Translate.", "input": "東京", "output": "Tokyo", "system": "kurz"},
        {"conversations": [{"from": "human", "value": "Zürich?"}, {"from": "gpt", "value": "ja"}]},
        {"conversations": [ASK, {"role": "assistant", "content": "ja"}], "system": "kurz"},
    )
    assert found.problems == ()
    system = {"role": "system", "content": "kurz"}
    assert found.rows == (
        Row(1, (ASK,), "ja"),
        Row(2, (system, {"role": "user", "content": "Translate.\n東京"}), "Tokyo"),
        Row(3, (ASK,), "ja"),
        Row(4, (system, ASK), "ja"),
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "a"}, "output is missing"),
        ({"instruction": 3, "output": "a"}, "instruction is missing"),
        ({"output": "a"}, "has the keys ['output']"),
        ({"instruction": "a", "output": " "}, "output is missing, empty"),
        ({"instruction": "a", "input": 3, "output": "b"}, "input is 3, expected text"),
        ({"instruction": "a", "output": "b", "history": [["c", "d"]]}, "holds history"),
        ({"instruction": "a", "output": "b", "label": True}, "a preference row"),
        ({"conversations": []}, "conversations is []"),
        ({"conversations": [{"from": "human"}]}, "turn 0 is {'from': 'human'}"),
        ({"conversations": [{"from": "bing", "value": "a"}]}, "turn 0 is from 'bing', expected one of system, human"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "the last message is of role 'user'"),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 0}]},
            "the answer has weight 0",
        ),
    ],
)
def test_rows_of_these_shapes_that_say_nothing_to_learn_are_named(tmp_path, row, reason):
    found = lines(tmp_path, {"text": "good"}, row)
    assert len(found.rows) == 1 and found.problems[0].line == 2
    assert reason in found.problems[0].reason


def test_a_csv_row_has_the_line_on_which_it_begins(tmp_path):
    text = '\ufeffid,prompt,completion\n1,"Zürich?",ja\n2,"two\nlines","say ""no"""\n3,only\n\n4,Zürich?,ja\n'
    found = read_rows(table(tmp_path, text.replace("\n", "\r\n")))
    assert found.rows == (
        Row(2, (ASK,), "ja"),
        Row(3, ({"role": "user", "content": "two\r\nlines"},), 'say "no"'),
        Row(7, (ASK,), "ja"),
    )
    assert [(problem.line, problem.reason) for problem in found.problems] == [
        (5, "has 2 cells, expected 3, as the first line has"),
        (6, "the line is empty"),
    ]


def test_tabs_labels_and_json_cells(tmp_path):
    assert read_rows(table(tmp_path, "text\tlabel\na, b\t0\n", "rows.TSV")).rows[0].completion == "0"
    messages = json.dumps([ASK, {"role": "assistant", "content": "ja"}]).replace('"', '""')
    found = read_rows(table(tmp_path, f'messages,tools\n"{messages}",\n"[1",\n'))
    assert found.rows == (Row(2, (ASK,), "ja"),)
    assert "messages is not JSON" in found.problems[0].reason
    found = read_rows(table(tmp_path, f"text\n{'a' * 200_000}\n"))
    assert len(found.rows[0].completion) == 200_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"text\ngood\ncaf\xe9\n", r"rows\.csv line 3: not UTF-8 at byte 13 of the file"),
        ("text\ngood\n'a\n\"b\n", r"line 4: no CSV \(a quoted cell does not end\)"),
        ('text\n"a"b\n', r"line 2: no CSV"),
        ("text,text\na,b\n", r"has the column 'text' twice"),
        ("prompt;completion\na;b\n", r"line 2: has the keys \['prompt;completion'\]; expected \{[^;]*$"),
        ("text,label\na,\n", r"line 2: label is empty"),
        ("text,prompt,completion\na,,\n", r"line 2: completion is missing"),
        ("text\n", "it is empty"),
        ("", "it is empty"),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_one_line(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        read_rows(table(tmp_path, text))


def test_a_json_list_gives_the_rows_of_json_lines(tmp_path):
    rows = [
        {"prompt": "Zürich?", "completion": "ja"},
        {"instruction": "Translate.", "input": "東京", "output": "Tokyo"},
    ]
    expected = lines(tmp_path, *rows)
    for text in (json.dumps(rows), "\ufeff" + json.dumps(rows, indent=2), "\n" + json.dumps([*rows, 7, None])):
        found = read_rows(table(tmp_path, text, "rows.json"))
        assert found.rows == expected.rows
    assert [(problem.line, problem.reason) for problem in found.problems] == [
        (3, "a JSON int, not an object"),
        (4, "a JSON NoneType, not an object"),
    ]
    assert read_rows(table(tmp_path, "\n".join(map(json.dumps, rows)), "lines.json")).rows == expected.rows


@pytest.mark.parametrize("text", ['[{"prompt": "a", "completion": "b"}', "[1] [2]", b"[\xff]", "[" * 5000])
def test_a_json_list_that_is_none_is_one_line(tmp_path, text):
    with pytest.raises(
        DataError, match=r"rows\.json is no JSON list \(.+\); expected \[row, row, \.\.\.\], or one row"
    ) as info:
        read_rows(table(tmp_path, text, "rows.json"))
    assert len(str(info.value)) < 500


def test_parquet_gives_the_rows_of_json_lines(tmp_path):
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    rows = [
        {"messages": [ASK, {"role": "assistant", "content": "ja", "weight": 1}], "id": 1},
        {"messages": [ASK, {"role": "assistant", "content": "ja", "tool_calls": [call]}], "id": 2},
        {"messages": None, "id": 3},
    ]
    expected, found = lines(tmp_path, *rows), read_rows(parquet(tmp_path, rows))
    assert found == expected
    assert found.problems[0].line == 3
    labels = read_rows(parquet(tmp_path, [{"text": "a", "label": 1}, {"text": "b", "label": None}]))
    assert labels.rows[0].completion == "1" and "label is empty" in labels.problems[0].reason


def test_parquet_that_cannot_be_read_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_rows(table(tmp_path, "PAR1 no more", "rows.parquet"))
    with pytest.raises(DataError, match=r"has no usable row: line 1: has the keys \['txt'\]"):
        read_rows(parquet(tmp_path, [{"txt": "a"}]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'edgelora\[parquet\]'"):
        read_rows(tmp_path / "rows.parquet")


def test_parquet_columns_that_python_has_no_values_for(tmp_path):
    def read(**columns):
        path = tmp_path / "rows.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        return read_rows(path)

    times = pyarrow.array([1_700_000_000_000_000_001, 5], pyarrow.timestamp("ns"))
    far = pyarrow.array([2**30, 0], pyarrow.date32())
    assert read(text=["a", "b"], at=times, day=far).rows == (Row(1, "", "a"), Row(2, "", "b"))
    texts = [b"good"] * 2000 + [b"caf\xe9"]
    broken = pyarrow.array(texts, pyarrow.binary()).cast(pyarrow.string(), safe=False)
    with pytest.raises(DataError, match=r"rows\.parquet row 2001: the column 'text' cannot be read \('utf-8' codec"):
        read(text=broken)
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"txet": ["a"]}), path)
    path.write_bytes(path.read_bytes().replace(b"txet", b"t\xe5et"))
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_rows(path)
    turns = [[{"role": "user", "content": "a", "at": 1}]]
    kind = pyarrow.list_(
        pyarrow.struct({"role": pyarrow.string(), "content": pyarrow.string(), "at": pyarrow.timestamp("ns")})
    )
    with pytest.raises(DataError, match=r"row 1: the column 'messages' cannot be read \(Nanosecond"):
        read(messages=pyarrow.array(turns, kind))


def test_parquet_that_is_damaged_is_one_line(tmp_path):
    path = parquet(tmp_path, [{"text": "abc" * 1000}, {"text": "d"}])
    whole = path.read_bytes()
    for content in (b"", whole[:-20], whole[:20] + bytes(60) + whole[80:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as Parquet") as caught:
            read_rows(path)
        assert "\n" not in str(caught.value)
