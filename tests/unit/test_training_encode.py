"""The loss covers exactly the completion, rendered as the runtime renders it; what cannot be used keeps its line."""

import json

import pytest
import tokenizers
from transformers import PreTrainedTokenizerFast

from edgelora.data.encode import encode_row, encode_rows
from edgelora.data.rows import Problem, Row, Rows, read_rows
from edgelora.errors import CheckpointError, DataError
from edgelora_runtime.text import Tokenizer

PAD, EOS, START, END = 0, 1, 2, 3
CHATML = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
# Opens the answer with a thinking block that a finished conversation does not keep.
THINKING = CHATML.replace("<s>assistant\n{% endif", "<s>assistant\n(thinks)\n{% endif")


def make_tokenizer(template: str | None = CHATML) -> Tokenizer:
    """Byte-level BPE without merges: one token a byte, so that ids can be counted by eye."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", "<eos>", "<s>", "</s>"]
    vocab = {token: index for index, token in enumerate([*special, *alphabet])}
    model = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    model.add_special_tokens(special)
    return Tokenizer.from_text(model.to_str(), template, eos_token="</s>", pad_token="<pad>")


def row(prompt: str, completion: str, line: int = 1) -> Row:
    return Row(line, ({"role": "user", "content": prompt},), completion)


@pytest.mark.parametrize("answer", ["ok", "東京 – ü", " padded ", "two\nlines\n", "{}"])
def test_loss_covers_the_completion_and_its_end_alone(answer):
    tokenizer = make_tokenizer()
    example = encode_row(row("Frage?", answer), tokenizer, (END, EOS))
    assert list(example.ids[: example.prompt_length]) == tokenizer.encode_chat(
        [{"role": "user", "content": "Frage?"}], add_generation_prompt=True
    )
    learned = example.ids[example.prompt_length :]
    assert learned[-1] == END
    assert tokenizer.decode(learned) == answer
    assert list(learned) == [*tokenizer.encode(answer, special=False), END]


def test_answer_follows_the_prompt_that_the_device_renders():
    tokenizer = make_tokenizer(THINKING)
    example = encode_row(row("a", "b"), tokenizer, (EOS, END))
    assert tokenizer.decode(example.ids[: example.prompt_length]).endswith("assistant\n(thinks)\n")
    assert list(example.ids[example.prompt_length :]) == [*tokenizer.encode("b", special=False), END]


def test_template_without_an_end_of_turn_gets_the_end_token():
    tokenizer = make_tokenizer("{% for m in messages %}{{ m['content'] }}:{% endfor %}")
    example = encode_row(row("a", "b"), tokenizer, (EOS,))
    assert list(example.ids) == [*tokenizer.encode("a:b", special=False), EOS]  # the ":" is no part of the answer
    assert example.prompt_length == 2


@pytest.mark.parametrize("answer", ["s", "/", "</", "assistant"])
def test_an_answer_like_a_part_of_the_end_token_ends_with_that_of_the_template(answer):
    assert encode_row(row("a", answer), make_tokenizer(), (EOS, END)).ids[-1] == END


# As Qwen3's: a finished answer gets an empty thinking block, unless the variable says that the prompt opens it.
QWEN3 = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{% if m['role'] == 'assistant' and loop.last %}(thinks)\n(thought)\n\n"
    "{% endif %}{{ m['content'] }}</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}(thinks)\n(thought)\n\n{% endif %}{% endif %}"
)


def test_what_a_template_writes_before_a_finished_answer_is_not_learned():
    tokenizer = make_tokenizer(QWEN3)
    example = encode_row(row("a", "b"), tokenizer, (END, EOS))
    assert tokenizer.decode(example.ids[: example.prompt_length]) == "user\na\nassistant\n"
    assert list(example.ids[example.prompt_length :]) == [*tokenizer.encode("b", special=False), END]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("answer", ["<s>19.99</s> now 9.99", "9.99</s>", "<pad>", "a<eos>b"])
def test_an_answer_with_the_text_of_a_special_token_is_a_problem(answer, raw):
    with pytest.raises(DataError, match="special token"):
        encode_row(row("How much?", answer), make_tokenizer(), (END, EOS), raw)
    encode_row(row("<s>How much?</s>", "9.99"), make_tokenizer(), (END, EOS), raw)


def test_an_answer_that_the_tokenizer_changes_is_a_problem():
    words = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(vocab={"[UNK]": 0, "[END]": 1, "paris": 2, "##1": 3, "?": 4}, unk_token="[UNK]")
    )
    words.normalizer = tokenizers.normalizers.Lowercase()
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.decoder = tokenizers.decoders.WordPiece()
    words.add_special_tokens(["[UNK]", "[END]"])
    tokenizer = Tokenizer.from_text(words.to_str())
    assert encode_row(row("? ", "paris1"), tokenizer, (1,)).ids == (4, 2, 3, 1)
    for answer in ("Paris", "paris\n", "paris ü"):
        with pytest.raises(DataError, match="decode to 'paris"):
            encode_row(row("? ", answer), tokenizer, (1,))


def test_without_template_prompt_and_completion_meet_raw():
    for tokenizer, raw in ((make_tokenizer(None), False), (make_tokenizer(), True)):
        example = encode_row(row("2+2=", "4"), tokenizer, (EOS,), raw)
        assert list(example.ids) == [*tokenizer.encode("2+2=4", special=False), EOS]
        assert example.prompt_length == 4


def test_plain_text_is_learned_from_its_second_token():
    tokenizer = make_tokenizer()
    example = encode_row(Row(1, "", "abc"), tokenizer, (EOS,))
    assert example.prompt_length == 1
    assert list(example.ids) == [*tokenizer.encode("abc"), EOS]


def test_rows_that_are_too_long_or_refused_keep_their_lines():
    refusing = "{% if messages|length > 2 %}{{ raise_exception('one turn only') }}{% endif %}" + CHATML
    turns = tuple({"role": role, "content": "x"} for role in ("user", "assistant", "user"))
    rows = Rows((row("a", "b", 2), row("a" * 80, "b", 3), Row(5, turns, "y")), (Problem(4, "not JSON"),))
    encoded = encode_rows(rows, make_tokenizer(refusing), (END,), max_length=60, raw=False, where="f", context=512)
    assert [example.line for example in encoded.examples] == [2]
    assert [problem.line for problem in encoded.problems] == [3, 4, 5]
    assert "more than --max-length 60" in encoded.problems[0].reason
    assert "one turn only" in encoded.problems[2].reason
    short = encode_rows(rows, make_tokenizer(refusing), (END,), max_length=200, raw=False, where="f", context=60)
    assert "the model holds 60" in short.problems[0].reason, "positions that the model has none of"


def test_nothing_left_is_refused():
    rows = Rows((row("a", "b", 7),), ())
    with pytest.raises(DataError, match=r"f has no row to train on: line 7: \d+ tokens, more than --max-length 3"):
        encode_rows(rows, make_tokenizer(), (END,), max_length=3, raw=False, where="f", context=512)
    with pytest.raises(CheckpointError, match="eos_token_id"):
        encode_rows(rows, make_tokenizer(), (), max_length=60, raw=False, where="f", context=512)


# Tools before the messages, calls and reasoning of an answer as text of their own.
TOOLS = (
    "{% if tools %}<s>tools\n{{ tools | tojson }}</s>\n{% endif %}{% for m in messages %}<s>{{ m['role'] }}\n"
    "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m['content'] or '' }}"
    "{% for call in m.tool_calls or [] %}[{{ call.function.name }} {{ call.function.arguments | tojson }}]{% endfor %}"
    "</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}
SCHEMA = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def read(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(item) for item in rows), encoding="utf-8")
    return read_rows(path)


@pytest.mark.parametrize("tools", [[SCHEMA], json.dumps([SCHEMA]), None])
@pytest.mark.parametrize(
    ("answer", "learned"),
    [
        ({"content": "hm"}, "hm"),
        ({"tool_calls": [CALL]}, '[weather {"city": "Zürich"}]'),
        ({"content": None, "tool_calls": [CALL], "reasoning_content": "think"}, '(think)[weather {"city": "Zürich"}]'),
        ({"content": "so", "reasoning_content": "think", "tool_calls": None}, "(think)so"),
    ],
)
def test_tools_calls_and_reasoning_are_rendered_as_transformers_does(tmp_path, tools, answer, learned):
    tokenizer = make_tokenizer(TOOLS)
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    messages += [{"role": "tool", "content": "3"}, {"role": "assistant", **answer}]
    (found,) = read(tmp_path, {"messages": messages, "tools": tools}).rows
    example = encode_row(found, tokenizer, (END, EOS))
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_str(tokenizer._tokenizer.to_str()))
    theirs.chat_template = TOOLS
    text = theirs.apply_chat_template(messages, tools=tools and [SCHEMA], tokenize=False)
    assert tokenizer.decode(example.ids, special=True) == text.removesuffix("\n")
    assert tokenizer.decode(example.ids[example.prompt_length :], special=True) == f"{learned}</s>"


def test_what_a_template_would_leave_out_of_a_row_is_a_problem(tmp_path):
    user, call = {"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [CALL]}
    rows = read(
        tmp_path,
        {"messages": [user, {"role": "assistant", "content": "b"}], "tools": [SCHEMA]},
        {"messages": [user, call]},
        {"messages": [user, call, {"role": "tool", "content": "3"}, {"role": "assistant", "content": "b"}]},
        {"messages": [user, {"role": "assistant", "content": "b", "reasoning_content": "c"}]},
        {"prompt": "a", "completion": "b"},
    )
    encoded = encode_rows(rows, make_tokenizer(), (END,), max_length=60, raw=False, where="f", context=512)
    assert [example.line for example in encoded.examples] == [5]
    for problem, word in zip(encoded.problems, ("tools", "tool_calls", "tool_calls", "reasoning_content"), strict=True):
        assert f"no place for {word}" in problem.reason
    raw = encode_rows(rows, make_tokenizer(), (END,), max_length=60, raw=True, where="f", context=512)
    assert [problem.line for problem in raw.problems] == [1, 2, 3, 4]


def test_special_tokens_in_tool_calls_are_a_problem(tmp_path):
    bad = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Z</s>x"}}}
    user = {"role": "user", "content": "a"}
    (found,) = read(tmp_path, {"messages": [user, {"role": "assistant", "tool_calls": [bad]}]}).rows
    with pytest.raises(DataError, match="special token"):
        encode_row(found, make_tokenizer(TOOLS), (END, EOS))


def test_text_parts_are_joined_and_learned(tmp_path):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    rows = read(tmp_path, {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": parts}]})
    (found,) = rows.rows
    tokenizer = make_tokenizer()
    example = encode_row(found, tokenizer, (END,))
    assert tokenizer.decode(example.ids) == "user\none\ntwo\nassistant\none\ntwo"
    assert tokenizer.decode(encode_row(found, tokenizer, (END,), raw=True).ids) == "one\ntwoone\ntwo"


def test_of_a_conversation_the_last_answer_is_learned_and_the_earlier_ones_are_counted(tmp_path):
    turns = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    talk = {"messages": [*turns, {"role": "assistant", "content": "d"}]}
    rows = read(tmp_path, talk, {"prompt": "a", "completion": "b"})
    encoded = encode_rows(rows, make_tokenizer(), (END, EOS), 512, raw=False, where="rows.jsonl", context=512)
    assert encoded.earlier_answers == 1
    first = encoded.examples[0]
    assert make_tokenizer().decode(first.ids[first.prompt_length :]) == "d"
