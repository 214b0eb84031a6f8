"""The loss covers exactly the completion, rendered as the runtime renders it; what cannot be used keeps its line."""

import pytest
import tokenizers

from edgelora.data import Problem, Row, Rows
from edgelora.errors import CheckpointError, DataError
from edgelora.training.encode import encode_row, encode_rows
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
    encoded = encode_rows(rows, make_tokenizer(refusing), (END,), max_length=60, raw=False, where="f")
    assert [example.line for example in encoded.examples] == [2]
    assert [problem.line for problem in encoded.problems] == [3, 4, 5]
    assert "more than --max-length 60" in encoded.problems[0].reason
    assert "one turn only" in encoded.problems[2].reason


def test_nothing_left_is_refused():
    rows = Rows((row("a", "b", 7),), ())
    with pytest.raises(DataError, match=r"f has no row to train on: line 7: \d+ tokens, more than --max-length 3"):
        encode_rows(rows, make_tokenizer(), (END,), max_length=3, raw=False, where="f")
    with pytest.raises(CheckpointError, match="eos_token_id"):
        encode_rows(rows, make_tokenizer(), (), max_length=60, raw=False, where="f")
