from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from potstill.data.labelled import Row, examples_of
from potstill.errors import PotstillError


def rows(*labels: Any) -> list[Row]:
    return [Row(f"f:{number}", f"text {number}", label) for number, label in enumerate(labels, start=1)]


def test_classes_become_numbers() -> None:
    examples, names = examples_of(rows("no", "yes", " no ", "maybe"), "classification", None, "f")
    assert names == ["maybe", "no", "yes"]
    assert examples.labels.tolist() == [1, 2, 1, 0] and examples.labels.dtype == np.int64
    assert len(examples) == 4


def test_whole_numbers_keep_their_order() -> None:
    examples, names = examples_of(rows(10, 9, "2"), "classification", None, "f")
    assert (names, examples.labels.tolist()) == (["2", "9", "10"], [2, 1, 0])


def test_numbers_of_any_length_are_put_in_order() -> None:
    assert examples_of(rows("9" * 900, "10", "2", "1" + "0" * 899), "classification", None, "f")[1] == [
        "2",
        "10",
        "1" + "0" * 899,
        "9" * 900,
    ]


@pytest.mark.parametrize(
    ("kind", "labels", "numbers"),
    [
        ("classification", [0, "1", 1], [0, 1, 1]),  # numbers
        ("classification", ["no", "yes", "yes"], [0, 1, 1]),  # names
        ("multilabel", [["0"], [], [1, 0]], [[1, 0], [0, 0], [1, 1]]),  # lists of numbers
        ("multilabel", [["yes"], [], ["no"]], [[0, 1], [0, 0], [1, 0]]),  # lists of names
        ("multilabel", [[0, 1], [1, 1], [0, 0]], [[0, 1], [1, 1], [0, 0]]),  # one-hot lists
        ("multilabel", [[0.0, 1.0], [1, 1], [False, True]], [[0, 1], [1, 1], [0, 1]]),  # as transformers and numpy write them
        ("multilabel", [["0", "1"], ["1", "1"]], [[0, 1], [1, 1]]),  # out of a table
    ],
)
def test_names_for_numbers(kind: str, labels: list[Any], numbers: list[Any]) -> None:
    for names in (None, ["no", "yes"]):  # collected, and given by an earlier file
        examples, found = examples_of(rows(*labels), kind, names, "f", ["no", "yes"])
        assert (found, examples.labels.tolist()) == (["no", "yes"], numbers)


def test_the_names_are_the_set_also_where_the_data_has_fewer() -> None:
    examples, names = examples_of(rows(2, 0), "classification", None, "f", ["c", "b", "a"])
    assert (names, examples.labels.tolist()) == (["c", "b", "a"], [2, 0])
    given = [Row("f:1", ["a", "b"], ["B-x", "O"])]
    examples, names = examples_of(given, "tagging", None, "f", ["B-x", "O", "B-y"])
    assert (names, [tags.tolist() for tags in examples.labels]) == (["B-x", "O", "B-y"], [[0, 1]])


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        ("classification", [0, "yes"], "f:1: label '0' is outside the set of labels"),  # a number among names
        ("classification", [0, 2], "f:2: label '2' is outside the set of labels; known: no, yes"),  # a number too many
        ("classification", [0, "0"], "f: all 2 rows have the same label, '0'"),  # one class alone
        # One-hot lists of another length.
        ("multilabel", [[0, 1, 0], [1, 0, 0]], r"f:1: names label '0' twice: \[0, 1, 0\]; .*as many 0 and 1 as data.labels has names, 2"),
        ("multilabel", [[0.0, 1.0], [1.0]], r"f:1: the labels are \[0.0, 1.0\]; a one-hot list has as many"),  # one of another length
        ("multilabel", [[0.0, 1.0], [2.0, 1.0]], r"f:1: the labels are \[0.0, 1.0\]"),  # one that is none
    ],
)
def test_names_for_numbers_refused(kind: str, labels: list[Any], message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        examples_of(rows(*labels), kind, None, "f", ["no", "yes"])


def test_a_given_set_decides_the_numbers() -> None:
    examples, names = examples_of(rows("a", "a"), "classification", ["b", "a"], "f")
    assert (names, examples.labels.tolist()) == (["b", "a"], [1, 1])


def test_several_labels() -> None:
    examples, names = examples_of(rows(["sport", "news"], [], ["news"]), "multilabel", None, "f")
    assert names == ["news", "sport"]
    assert examples.labels.tolist() == [[1, 1], [0, 0], [1, 0]] and examples.labels.dtype == np.float32


def test_scores() -> None:
    examples, names = examples_of(rows(1, "2.5", -3.0), "regression", None, "f")
    assert names == []
    assert examples.labels.tolist() == [1, 2.5, -3] and examples.labels.dtype == np.float32


def test_tags_begin_with_outside() -> None:
    given = [Row("f:1", ["a", "b"], ["B-PER", "O"]), Row("f:4", ["c"], ["I-LOC"])]
    examples, names = examples_of(given, "tagging", None, "f")
    assert names == ["O", "I-LOC", "B-PER"]
    assert [tags.tolist() for tags in examples.labels] == [[2, 0], [1]]


def test_take_keeps_rows_together() -> None:
    examples = examples_of(rows("a", "b", "c"), "classification", None, "f")[0].take([2, 0])
    assert (examples.texts, examples.labels.tolist()) == (["text 3", "text 1"], [2, 0])
    tagged = examples_of([Row("f:1", ["a"], ["O"]), Row("f:2", ["b"], ["B-x"])], "tagging", None, "f")[0].take([1])
    assert (tagged.texts, [tags.tolist() for tags in tagged.labels]) == ([["b"]], [[1]])


@pytest.mark.parametrize(
    ("kind", "labels", "names", "message"),
    [
        ("classification", ["a", ""], None, "f:2: the label is missing"),  # an empty label
        ("classification", ["a", None], None, "f:2: the label is missing"),  # none at all
        ("classification", ["a", True], None, "f:2: the label is True; a label is a name or a whole number"),  # a truth value is no name
        ("classification", ["a", 1.5], None, "f:2: the label is 1.5"),  # nor is a fraction
        ("classification", ["a", "a"], None, r"f: all 2 rows have the same label, 'a'; at least two classes"),  # one class alone
        # Not of the given set.
        ("classification", ["good", "godo"], ["bad", "good"], "f:2: label 'godo' is outside the set of labels; did you mean 'good'"),
        ("multilabel", [["a"], "a"], None, "f:2: the labels are 'a', not a list"),  # a name instead of a list
        ("multilabel", [["a"], ["b", ""]], None, "f:2: the label is missing"),  # an empty label in a list
        ("multilabel", [["a"], ["a"]], None, "f: all 2 rows have"),  # all rows alike
        ("multilabel", [["c"]], ["a", "b"], "f:1: label 'c' is outside"),  # not of the given set
        ("multilabel", [["a"], ["b", "a", "b"]], None, r"f:2: names label 'b' twice: \['b', 'a', 'b'\]; write every label once$"),  # twice
        # One-hot lists, which are no lists of the names "0" and "1".
        ("multilabel", [[0, 1, 0], [1, 0, 0]], None, "f:1: names label '0' twice: .*; of one-hot lists of 0 and 1 give data.labels, the"),
        ("multilabel", [[0.0, 1.0], [1.0, 0.0]], None, r"f:1: the labels are \[0.0, 1.0\]; of one-hot lists of 0 and 1 give data.labels"),
        ("multilabel", [[True, False], [True, True]], None, "f:1: the labels are .*; of one-hot lists"),  # as truth values
        ("multilabel", [["a"], [["b"]]], None, r"f:2: the label is \['b'\]"),  # a list in a list
        ("classification", ["1", "0", "1.0"], None, "f:3: label '1.0' is '1' in an earlier row; write a label in one way"),  # two spellings
        ("classification", ["a", "9" * 5000], None, "f:2: the label has 5,000 characters: '999"),  # a text in the column of labels
        ("regression", [1, None], None, "f:2: the score is missing"),  # no score
        ("regression", [1, " "], None, "f:2: the score is missing"),  # a blank score
        ("regression", [1, "high"], None, "f:2: the score 'high' is not a number"),  # a word
        ("regression", [1, float("nan")], None, "f:2: the score nan is not a number"),  # NaN
        ("regression", [1, "inf"], None, "f:2: the score 'inf' is not a number"),  # infinity
        ("regression", [1, True], None, "f:2: the score True is not a number"),  # a truth value is no number
        ("regression", [1, [2]], None, r"f:2: the score \[2\] is not a number"),  # nor is a list
        ("regression", [1, 1e300], None, "f:2: the score 1e[+]300 is too large; a score lies between"),  # infinite in fp32
        ("regression", [1, "-1e39"], None, "f:2: the score '-1e39' is too large"),  # so is this one
        ("regression", [1, 1e20], None, "f:2: the score 1e[+]20 is too large"),  # infinite when it is squared
        ("regression", [1, 10**400], None, "f:2: the score 1000"),  # no float at all
        ("regression", [3, 3.0], None, "f: all 2 scores are 3"),  # all scores alike
        ("tagging", [["O"], ["O"]], None, "f: every tag is O"),  # no entity
        ("tagging", [["O"], ["B-x"]], ["O", "B-y"], "f:2: label 'B-x' is outside"),  # not of the given set
        ("classification", [], None, "f: holds no examples"),  # no rows
    ],
)
def test_refused(kind: str, labels: list[Any], names: list[str] | None, message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        examples_of(rows(*labels), kind, names, "f")


def test_one_text_and_a_pair_do_not_mix() -> None:
    with pytest.raises(PotstillError, match="f:2: some rows have one text and some a pair"):
        examples_of([Row("f:1", "a", "x"), Row("f:2", ("a", "b"), "y")], "classification", None, "f")
