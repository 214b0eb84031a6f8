import json

import pytest

from edgelora.evaluation.metrics import accuracy, exact_match, field_f1, is_json, json_valid, macro_f1


def test_exact_match_ignores_space_around_but_not_inside() -> None:
    assert exact_match(["a b", "ä", ""], [" a b\n", "ä", "x"]) == pytest.approx(2 / 3)
    assert exact_match(["a b"], ["a  b"]) == 0.0
    assert exact_match([], []) == 0.0


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError):
        exact_match(["a"], [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{}", True), ("[1]", True), (' {"a": 1}\n', True), ("1", False), ('"a"', False), ("{", False), ("", False)],
)
def test_is_json_counts_objects_and_arrays_alone(text: str, expected: bool) -> None:
    assert is_json(text) is expected


def test_json_nested_beyond_the_parser_is_not_valid() -> None:
    assert json_valid(["[" * 100_000, "{}"]) == 0.5


def test_field_f1_counts_pairs_over_all_answers() -> None:
    expected = ['{"a": 1, "b": "x"}', '{"c": [1, 2, 2]}']
    found = ['{"b": " x ", "a": "1"}', '{"c": [2, 1]}']
    # pairs: 2 + 3 expected, 2 + 2 found, right: b, and 1 and 2 of c
    assert field_f1(expected, found) == pytest.approx(2 * 3 / (5 + 4))


def test_field_f1_of_broken_answers_is_zero_and_of_equal_ones_is_one() -> None:
    text = json.dumps({"käse": {"größe": [{"a": None}, True]}, "leer": []}, ensure_ascii=False)
    assert field_f1([text], [text]) == 1.0
    assert field_f1([text], ["no json"]) == 0.0
    assert field_f1(['{"a": {"b": 1}}'], ['{"a.b": 1}']) == 0.0


def test_true_is_not_one() -> None:
    assert field_f1(['{"a": true}'], ['{"a": 1}']) == 0.0


def test_accuracy_and_macro_f1_weigh_rare_labels_differently() -> None:
    expected = ["a", "a", "a", "b"]
    found = ["a", "a", "a", "a"]
    assert accuracy(expected, found) == 0.75
    assert macro_f1(expected, found) == pytest.approx((6 / 7 + 0) / 2)


def test_macro_f1_counts_a_label_that_was_never_expected() -> None:
    assert macro_f1(["a", "a"], ["a", "z"]) == pytest.approx((2 / 3 + 0) / 2)
    assert macro_f1([], []) == 0.0
