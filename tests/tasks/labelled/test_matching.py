from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.tasks.base import Predictor
from potstill.tasks.labelled.matching import label_order, row_logits, same_labels, word_logits


def gives(logits: Any, labels: list[str], kind: str = "classification") -> Predictor:
    return Predictor(labels, kind, lambda texts: logits)


@pytest.mark.parametrize(
    ("others", "order"),
    [
        (["a", "b", "c"], [0, 1, 2]),  # the same order
        (["c", "a", "b"], [1, 2, 0]),  # another order
        (["C", "A", "B"], [1, 2, 0]),  # other capitals
    ],
)
def test_order(others: list[str], order: list[int]) -> None:
    assert label_order(["a", "b", "c"], others, "x") == order


@pytest.mark.parametrize(
    ("labels", "others", "numbered", "order"),
    [
        (["0", "1", "2"], ["LABEL_0", "LABEL_1", "LABEL_2"], [], [0, 1, 2]),  # the data's labels are the numbers
        (["no", "yes"], ["LABEL_0", "LABEL_1"], ["no", "yes"], [0, 1]),  # the user says what the numbers are
        (["no", "yes"], ["LABEL_0", "LABEL_1"], ["yes", "no"], [1, 0]),  # and that they are in another order than the alphabet's
        (["no", "yes"], ["1", "0"], ["no", "yes"], [1, 0]),  # numbers, which need not stand in their order
        (["no", "yes"], ["YES", "NO"], ["no", "yes"], [1, 0]),  # names count before numbers
        (["LABEL_1", "LABEL_0"], ["LABEL_0", "LABEL_1"], [], [1, 0]),  # the data's own names
    ],
)
def test_order_by_numbers(labels: list[str], others: list[str], numbered: list[str], order: list[int]) -> None:
    assert label_order(labels, others, "x", numbered) == order and same_labels(labels, others, numbered)


def test_a_regression_has_nothing_to_order() -> None:
    assert label_order([], ["LABEL_0"], "x") == []


def test_case_that_tells_labels_apart_counts() -> None:
    assert label_order(["a", "A"], ["A", "a"], "x") == [1, 0]
    with pytest.raises(PotstillError, match="only the model has 'b'"):
        label_order(["a", "A"], ["a", "b"], "x")


@pytest.mark.parametrize(
    ("others", "message"),
    [
        # One name differs.
        (
            ["a", "d"],
            "x: label sets differ: the model has 2 labels and the data 2; only the model has 'd', only the data has 'b'; name a model",
        ),
        (["a", "b", "c"], "the model has 3 labels and the data 2; only the model has 'c'; name"),  # one too many
        (["LABEL_0"], "the model has 1 labels and the data 2"),  # no names, and one too few
        (["LABEL_1", "LABEL_0"], "label sets differ"),  # names that look like none, in another order
        # No names: the alphabet says nothing of the numbers.
        (["LABEL_0", "LABEL_1"], "the model's labels have no names .*, and the data's are 'a', 'b'; give data.labels, the names in the"),
        (["0", "1"], "label sets differ"),  # numbers alike
        ([f"n{number}" for number in range(8)], "'n0', 'n1', 'n2', 'n3', 'n4' and 3 more"),  # more than an error lists
    ],
)
def test_other_labels(others: list[str], message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        label_order(["a", "b"], others, "x")
    assert not same_labels(["a", "b"], others)


def test_names_where_the_data_has_numbers() -> None:
    with pytest.raises(PotstillError, match="label sets differ: .*; name a model that was trained on these labels, or give data.labels"):
        label_order(["0", "1"], ["no", "yes"], "x")


def test_a_tagger_without_names() -> None:
    given = gives([np.array([[1, 2]])], ["LABEL_0", "LABEL_1"], "tagging")
    assert word_logits(given, ["O", "B-x"], [["a"]], "x", ["B-x", "O"])[0].tolist() == [[2, 1]]


def test_columns_follow_the_data() -> None:
    found = row_logits(gives([[1, 2], [3, 4]], ["b", "a"]), "classification", ["a", "b"], ["t", "u"], "x")
    assert found.tolist() == [[2, 1], [4, 3]]


def test_a_regression_has_one_column() -> None:
    for logits in ([[1.0], [2.0]], [1.0, 2.0]):
        assert row_logits(gives(logits, ["LABEL_0"], "regression"), "regression", [], ["t", "u"], "x").tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        # Another head.
        (gives([[1, 2]], ["a", "b"], "multilabel"), "x: needs a head for classification, and the model's is for multilabel"),
        (gives([[1, 2]], ["a", "b"]), r"x: the model gave logits \(1, 2\) for 2 texts; expected \(2, 2\)"),  # a text too few
        (gives([[1, 2, 3], [1, 2, 3]], ["a", "b"]), r"gave logits \(2, 3\)"),  # a logit too many
        (gives([[1, np.nan], [1, 2]], ["a", "b"]), "x: the logits of 1 of 2 texts hold NaN or infinity"),  # NaN in one text
        (gives([[1, np.inf], [1, np.inf]], ["a", "b"]), "x: the logits of 2 of 2 texts"),  # infinity in both
    ],
)
def test_refused(predictor: Predictor, message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        row_logits(predictor, "classification", ["a", "b"], ["t", "u"], "x")


def test_words() -> None:
    sentences = [["a", "b"], ["c"]]
    labels = ["O", "B-x"]
    given = [np.array([[1, 2], [3, 4]]), np.zeros((0, 2))]  # of the second sentence no word was seen
    first, second = word_logits(gives(given, ["B-x", "O"], "tagging"), labels, sentences, "x")
    assert first.tolist() == [[2, 1], [4, 3]] and second.shape == (0, 2)
    for wrong, message in (
        ([np.zeros((2, 2))], "gave 1 sentences of logits for 2"),
        ([np.zeros((3, 2)), np.zeros((1, 2))], r"gave logits \(3, 2\) for 2 words"),
        ([np.zeros((2, 3)), np.zeros((1, 3))], r"gave logits \(2, 3\)"),
        ([np.zeros((2, 2)), np.full((1, 2), np.nan)], "the logits of 1 of 2 sentences hold NaN"),
    ):
        with pytest.raises(PotstillError, match=message):
            word_logits(gives(wrong, labels, "tagging"), labels, sentences, "x")
