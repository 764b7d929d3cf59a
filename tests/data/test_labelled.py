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
        ("regression", [1, None], None, "f:2: the score is missing"),  # no score
        ("regression", [1, " "], None, "f:2: the score is missing"),  # a blank score
        ("regression", [1, "high"], None, "f:2: the score 'high' is not a number"),  # a word
        ("regression", [1, float("nan")], None, "f:2: the score nan is not a number"),  # NaN
        ("regression", [1, "inf"], None, "f:2: the score 'inf' is not a number"),  # infinity
        ("regression", [1, True], None, "f:2: the score True is not a number"),  # a truth value is no number
        ("regression", [1, [2]], None, r"f:2: the score \[2\] is not a number"),  # nor is a list
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
